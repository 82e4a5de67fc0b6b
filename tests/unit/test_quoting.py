"""Names and texts in SQL are quoted by `common.quoting`, and nowhere else."""

import ast
import re
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.quoting import identifier, json_key, literal
from common.settings import ROOT

FOLDERS = ("common", "connectors", "expectations", "transforms", "warehouse", "pipeline",
           "portal", "dags", "muara")  # fmt: skip
NO_SQL = {
    "connectors/readers/files/places/imap.py": "a folder's name, quoted as IMAP has it",
    "muara/cli/city.py": "a line of TOML",
}
STATEMENT = re.compile(r"\b(SELECT|FROM|WHERE|AS|AND|CASE|SET|ATTACH|COPY|LOAD|DATE|TIMESTAMP)\b")
ANY = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def test_no_sql_is_quoted_by_hand():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in NO_SQL
        for line in quoted_by_hand(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("code", [
    """f'SELECT "{name}" FROM x'""",
    """f"SELECT \\"{name}\\" FROM x\"""",
    """f"WHERE source = '{name}'\"""",
    """f"COPY x TO '{path}.csv'\"""",
    """f"ATTACH 'ducklake:sqlite:{path}' AS lake\"""",
    """f'{one}."{two}"'""",
    '''f"""SELECT * FROM read_csv('{folder}/{name}.csv')"""''',
    """"SELECT " f"json_extract(x, '$.{name}')\"""",
])  # fmt: skip
def test_a_hand_that_quotes_is_seen(code):
    assert list(quoted_by_hand(code))


def quoted_by_hand(code: str) -> set[int]:
    """Lines of f-strings where an expression stands between quotation marks of SQL."""
    return {
        part.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.JoinedStr)
        for place, part in enumerate(node.values)
        if isinstance(part, ast.FormattedValue) and _is_between_marks(node, place)
    }


def _is_between_marks(node: ast.JoinedStr, place: int) -> bool:
    texts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
    before, after = "".join(texts[:place]), "".join(texts[place + 1 :])
    if before[-1:] in ("'", '"') and after[:1] == before[-1:]:
        return True
    is_open = before.count("'") % 2 or before.count('"') % 2
    return bool(is_open and STATEMENT.search(before + after))


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_what_is_quoted_comes_back(text):
    name, value, by_key = (
        duckdb.sql(f"SELECT 1 AS {identifier(text)}").columns[0],
        duckdb.execute(f"SELECT {literal(text)}").fetchone()[0],
        duckdb.execute(
            f"SELECT json_extract_string(to_json(struct_pack({identifier(text)} := 'x')), "
            f"{json_key(text)})"
        ).fetchone()[0],
    )
    assert (name, value, by_key) == (text, text, "x")


def test_a_path_may_hold_an_apostrophe(tmp_path):
    path = Path(tmp_path / "o'clock.csv")
    duckdb.execute(f"COPY (SELECT 1 AS one) TO {literal(path)}")
    assert path.exists()

"""Five hundred ways out of `muara sql`, of rules, row filters and comparisons: none is one.

`tests/escapes.txt` has them, a JSON text a line, by kind.
"""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from common.definition import Comparison, load_sources
from common.errors import DefinitionError, MuaraError, QueryRefused, WarehouseFault
from common.given_sql import check_expression, check_query
from common.settings import ROOT, Settings
from expectations.suite import load_rules, may_judge_by
from tests.world import Cameras, monitor
from warehouse import guest as guests
from warehouse.comparison import check, may_compare_by
from warehouse.guest import guest
from warehouse.guest.__main__ import ROWS_OF, sees
from warehouse.shares import load_contracts, may_choose_by

ESCAPES = [
    json.loads(line)
    for line in (ROOT / "tests" / "escapes.txt").read_text().splitlines()
    if not line.startswith("#")
]
NO_STATEMENT = re.compile(r"\s*|-- nothing|\w+|\w+ '[^']*'")
"""Within an expression: nothing, a column's name (BEGIN), a text of a type (ATTACH 'x')."""
CANARY = "canary-3274010101900001"
LEGACY = "Simpang Kenari"
WITHOUT_A_CHECK = guests.START.replace(
    "process.main()", "process.check_query = lambda *said: None; process.main()"
)


class House:
    """A warehouse, and what nobody may reach from its questions."""

    def __init__(self, folder: Path):
        cameras = Cameras(folder)
        cameras.hold(monitor(1), monitor(2, name=LEGACY))
        cameras.sync()
        cameras.execute(f"UPDATE Monitors SET Name = '{CANARY}' WHERE Id = 2")
        self.settings, self.root = cameras.settings, folder
        home = self.settings.home
        for name in ("canary.txt", "canary.csv", "canary.json", "canary.parquet"):
            (home / name).write_text(f'{{"a": "{CANARY}"}}\n')
        lake = home / "lake"
        self.places = {
            "home": home, "lake": lake, "catalog": lake / "catalog.sqlite", "data": lake / "data",
            "legacy": cameras.database, "canary": home / "canary.txt", "target": folder / "made",
            "key": home / "secrets" / "pseudonym.key",
        }  # fmt: skip
        # The catalog is what it reads: its keys of data files are kept back by the check alone.
        self.secrets = [CANARY, self.settings.pseudonym_key[:16]]

    def aimed(self, escape: str) -> str:
        for name, place in self.places.items():
            escape = escape.replace(f"{{{name}}}", str(place))
        return escape

    def everything(self) -> dict[str, str]:
        """Every file and what it holds, but for what SQLite makes and removes beside a catalog that
        is read: the index of its log, and a log that is empty."""
        return {
            str(path): sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.suffix != ".log" and not path.name.endswith("-shm")
            and (path.stat().st_size or not path.name.endswith("-wal"))
        }  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House(tmp_path_factory.mktemp("o'house"))


def answers(settings: Settings, queries: list[str]):
    """What is said to each; another process takes over where one ended."""
    waiting = list(queries)
    while waiting:
        with guest(settings) as one:
            while waiting and one.process.poll() is None:
                try:
                    yield waiting[0], one.ask(waiting[0], 20)
                except MuaraError as error:
                    yield waiting[0], error
                waiting.pop(0)


def test_there_are_more_than_three_hundred():
    assert len(set(ESCAPES)) == len(ESCAPES) > 300


def test_none_passes_as_a_question(house):
    before = house.everything()
    said = list(answers(house.settings, [house.aimed(one) for one in ESCAPES]))
    passed = [query for query, answer in said if not isinstance(answer, QueryRefused)]
    assert len(said) == len(ESCAPES)
    assert passed == []
    assert house.everything() == before


def test_none_does_harm_where_nothing_checks_what_is_asked(house, monkeypatch):
    """The process holds by itself: what it gave up is not DuckDB's to give back."""
    monkeypatch.setattr(guests, "START", WITHOUT_A_CHECK)
    before = house.everything()
    said = list(answers(house.settings, [house.aimed(one) for one in ESCAPES]))
    told = [query for query, answer in said if any(one in str(answer) for one in house.secrets)]
    ran = [query for query, answer in said if isinstance(answer, guests.Answer)]
    assert len(said) == len(ESCAPES)
    assert len(ran) > 20  # the check was off
    assert told == []
    assert house.everything() == before


@pytest.mark.parametrize("sees", [may_judge_by, may_choose_by, may_compare_by])
def test_none_passes_within_an_expression(house, sees):
    forms = ("{}", "({})", "EXISTS ({})", "1 IN ({})", "true) OR EXISTS ({}) OR (true",
             "true; {}; --", "true UNION ALL {} --", "CASE WHEN true THEN ({}) END")  # fmt: skip
    passed = []
    for escape in map(house.aimed, ESCAPES):
        if NO_STATEMENT.fullmatch(escape):
            continue
        for form in forms:
            try:
                check_expression(form.replace("{}", escape), sees)
                passed.append(form.replace("{}", escape))
            except QueryRefused:
                pass
    assert passed == []


REFUSED = (
    "getvariable('inner_key') IS NOT NULL", "true) OR (true", "EXISTS (FROM '/etc/passwd')",
    "EXISTS (FROM lake.ops.ledger)", "state = 'open' -- ", "true; DROP TABLE lake.core.camera",
    "keyed(nik) IS NULL", "true) ORDER BY (SELECT 1", "true UNION ALL FROM lake.core.person",
)  # fmt: skip


@pytest.mark.parametrize("condition", REFUSED)
def test_a_rule_is_refused_when_it_is_read(tmp_path, condition):
    rules = yaml.safe_load((ROOT / "expectations" / "cctv.yml").read_text())
    rules["streams"]["monitor"][0]["expect_rows_to_satisfy"]["condition"] = condition
    (tmp_path / "cctv.yml").write_text(yaml.safe_dump(rules))
    settings = Settings(home=tmp_path, expectations=tmp_path)
    with pytest.raises(DefinitionError, match="installed_in_future: its condition is refused"):
        load_rules(settings, load_sources(settings)["cctv"])


@pytest.mark.parametrize("argument", [
    {"row_condition": "true; DROP TABLE x"}, {"query": "SELECT 1"}, {"unexpected_rows_query": "x"},
    {"column": "a\" FROM read_text('x') --"}, {"column_list": ["a", 1]},
])  # fmt: skip
def test_an_expectation_is_told_no_sql(tmp_path, argument):
    rules = yaml.safe_load((ROOT / "expectations" / "cctv.yml").read_text())
    rule = rules["streams"]["monitor"][0]
    del rule["expect_rows_to_satisfy"]
    rule["expect_column_values_to_not_be_null"] = {"column": "latitude"} | argument
    (tmp_path / "cctv.yml").write_text(yaml.safe_dump(rules))
    settings = Settings(home=tmp_path, expectations=tmp_path)
    with pytest.raises(DefinitionError, match=r"installed_in_future: (argument|column)"):
        load_rules(settings, load_sources(settings)["cctv"])


@pytest.mark.parametrize("condition", REFUSED)
def test_a_row_filter_is_refused_when_it_is_read(tmp_path, condition):
    contract = yaml.safe_load((ROOT / "warehouse/contracts/bp4d.odcs.yaml").read_text())
    facts = contract["schema"][0].setdefault("customProperties", [])
    facts[:] = [one for one in facts if one["property"] != "rowFilter"]
    facts.append({"property": "rowFilter", "value": condition})
    (tmp_path / "bp4d.odcs.yaml").write_text(yaml.safe_dump(contract))
    with pytest.raises(DefinitionError, match="rowFilter is refused"):
        load_contracts(Settings(home=tmp_path, contracts=tmp_path))


@pytest.mark.parametrize("condition", REFUSED)
def test_a_comparison_is_refused_before_it_runs(condition):
    asked = Comparison(stream="a.b", key={"nik": "nik"}, columns={"name": condition})
    with pytest.raises(DefinitionError, match="compare name"):
        check(asked, "a.c")


def test_what_asks_too_much_ends(house):
    limits = {"query_seconds": 3}
    too_much = [
        "SELECT repeat('x', 1500000000)",
        "SELECT count(*) FROM range(100000000000) AS a, range(100000000000) AS b",
        "SELECT string_agg(repeat('x', 1000), '') FROM range(100000000)",
        "SELECT repeat('x', 90000000)",
    ]
    said = answers(house.settings.model_copy(update=limits), too_much)
    assert [type(answer) for _, answer in said] == [QueryRefused] * len(too_much)


def test_questions_are_answered_while_a_load_writes(tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(monitor(1))
    cameras.sync()
    counts = []
    with guest(cameras.settings) as one:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(cameras.settings.home)], cwd=ROOT
        )
        while writer.poll() is None:
            (row,) = one.ask("SELECT count(*) FROM lake.ops.ledger", 1).rows
            counts.append(row[0])
        (last,) = one.ask("SELECT count(*) FROM lake.ops.ledger", 1).rows
    assert writer.returncode == 0
    assert counts == sorted(counts)
    assert last == [7]


WRITES = """
import sys
from pathlib import Path
from common.settings import Settings
from warehouse.catalog import transaction, writing
settings = Settings(home=Path(sys.argv[1]))
for number in range(6):
    with writing(settings) as connection, transaction(connection):
        connection.execute("INSERT INTO lake.ops.ledger FROM lake.ops.ledger LIMIT 1")
"""


KINDS = {
    "MAP {DATE '2026-01-01': 1}": {"2026-01-01": 1},
    "['a', NULL]": ["a", None],
    "{'a': {'b': [TIME '01:00']}}": {"a": {"b": ["01:00:00"]}},
    "170141183460469231731687303715884105727": 170141183460469231731687303715884105727,
    "1.50::DECIMAL(9, 2)": "1.50",
    "'300000-01-01'::DATE": "300000-01-01",
    "'00000000-0000-0000-0000-000000000001'::UUID": "00000000-0000-0000-0000-000000000001",
    "'12:00:00+07'::TIMETZ": "12:00:00+07:00",
    "TIMESTAMPTZ '2026-01-01 00:00:00+00'": "2026-01-01 00:00:00+00:00",
    "'a'::BLOB": "b'a'",
    "true": True,
}


def test_every_kind_of_value_is_told(house):
    said = list(answers(house.settings, [f"SELECT {kind}" for kind in KINDS]))
    assert [answer.rows for _, answer in said] == [[[value]] for value in KINDS.values()]


@pytest.mark.parametrize("spoilt", [None, b"", b"no database" * 1000])
def test_a_catalog_that_is_none_is_said(tmp_path, spoilt):
    settings = Cameras(tmp_path).settings
    catalog = settings.home / "lake" / "catalog.sqlite"
    catalog.unlink()
    if spoilt is not None:
        catalog.write_bytes(spoilt)
    with pytest.raises(WarehouseFault), guest(settings):
        pass


def test_what_is_documented_can_be_asked(house):
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = [
        query
        for page in pages
        if "decisions" not in page.parts
        for query in re.findall(r'muara sql "([^"]+)"', page.read_text())
    ]
    assert len(found) > 8
    for query in found:
        check_query(query, sees, ROWS_OF)
    ours = [one for one in found if "parks" not in one]
    said = dict(answers(house.settings, ours))
    assert [one for one, answer in said.items() if isinstance(answer, MuaraError)] == []

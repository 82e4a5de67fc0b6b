"""Great Expectations writes the SQL of rules once: the next night asks what was kept."""

import subprocess
import sys

import duckdb
import pytest

from common import kept as written_once
from common.errors import DefinitionError
from common.settings import ROOT
from expectations import engine
from expectations.runner import validate
from tests.spec.test_rules import rule
from tests.world import Cameras, monitor

POSITIVE = rule(rule="positive", expect_column_values_to_be_between={"column": "n", "min_value": 1})
EVEN = rule(rule="even", expect_rows_to_satisfy={"condition": "n % 2 = 0"})


@pytest.fixture(autouse=True)
def another_process(monkeypatch):
    """As if nothing had been written in this one."""
    monkeypatch.setattr(written_once, "_made", {})


@pytest.fixture
def asked(monkeypatch):
    """How often Great Expectations was asked."""
    times = []
    ask = engine.ask
    monkeypatch.setattr(engine, "ask", lambda *a, **k: times.append(a) or ask(*a, **k))
    return times


def broken(rules, kept, kind="INT", rows="(-1), (2), (3)"):
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE staged AS SELECT row_number() OVER () AS _row, n::{kind} AS n "
            f"FROM (VALUES {rows}) AS t (n); CREATE VIEW typed AS FROM staged"
        )
        validate(connection, rules, where="test", kept=kept)
        return connection.execute("SELECT _row, rule FROM broken ORDER BY ALL").fetchall()


FOUND = [(1, "even"), (1, "positive"), (3, "even")]


def test_what_is_kept_finds_the_same_and_asks_nobody(tmp_path, asked, monkeypatch):
    kept = tmp_path / "rules" / "test.json"
    assert broken([POSITIVE, EVEN], kept) == FOUND
    monkeypatch.setattr(written_once, "_made", {})
    assert broken([POSITIVE, EVEN], kept) == FOUND
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rules": [EVEN, POSITIVE]},
        {"rules": [POSITIVE, rule(rule="even", expect_rows_to_satisfy={"condition": "n < 3"})]},
        {"rules": [POSITIVE, EVEN], "kind": "BIGINT"},
    ],
)
def test_other_rules_or_columns_are_written_anew(tmp_path, asked, change):
    kept = tmp_path / "test.json"
    broken([POSITIVE, EVEN], kept)
    anew = broken(**change, kept=None)
    written_once._made.clear()
    assert broken(**change, kept=kept) == anew
    assert len(asked) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"another": []}'])
def test_a_file_that_cannot_be_used_is_replaced(tmp_path, asked, content):
    kept = tmp_path / "test.json"
    kept.write_text(content)
    assert broken([POSITIVE, EVEN], kept) == FOUND
    assert kept.read_text() != content
    assert [one.name for one in tmp_path.iterdir()] == ["test.json"]


def test_an_expectation_that_names_no_rows_is_refused():
    mean = rule(rule="mean", expect_column_mean_to_be_between={"column": "n", "min_value": 0})
    with pytest.raises(DefinitionError, match=r"mean: .* does not tell which rows break it"):
        broken([EVEN, mean], None)


@pytest.mark.parametrize(
    ("condition", "said"),
    [("nowhere = 1", "BinderException"), ("CAST('x' || n AS INT) = 1", "ConversionException")],
)
def test_a_rule_that_cannot_be_run_is_named_without_a_value(condition, said):
    wrong = rule(rule="wrong", expect_rows_to_satisfy={"condition": condition})
    with pytest.raises(DefinitionError, match=rf"rule wrong cannot be run \({said}\)"):
        broken([EVEN, wrong], None)


@pytest.mark.parametrize(
    ("kind", "mostly", "found"),
    [
        ("expect_column_values_to_not_be_null", 0.8, []),
        ("expect_column_values_to_not_be_null", 0.81, [(5, "mostly")]),
        ("expect_column_values_to_be_unique", 0.5, []),
        ("expect_column_values_to_be_unique", 0.51, [(1, "mostly"), (2, "mostly")]),
    ],
)
def test_what_holds_mostly_may_be_broken_by_few(kind, mostly, found):
    """Of all rows, or of those that have a value, as Great Expectations counts them."""
    most = rule(rule="mostly", **{kind: {"column": "n", "mostly": mostly}})
    assert broken([most], None, rows="(1), (1), (2), (3), (NULL)") == found


NEXT_NIGHT = """
import sys
from datetime import date
from pathlib import Path
from common.definition import load_sources
from common.settings import Settings
from pipeline.sync import sync
settings = Settings(home=Path(sys.argv[1]), today=date(2026, 11, 24))
source = load_sources(settings)["cctv"]
account = sync(settings, source, source.stream("monitor"), lambda _: f"sqlite:///{sys.argv[2]}")
print(account.inserted, "great_expectations" in sys.modules)
"""


def test_the_next_night_does_not_import_great_expectations(tmp_path):
    world = Cameras(tmp_path)
    world.hold(monitor(1))
    world.sync()
    world.hold(monitor(1), monitor(2))
    done = subprocess.run(
        [sys.executable, "-c", NEXT_NIGHT, world.settings.home, world.database],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "1 False"


@pytest.mark.parametrize(
    ("kind", "values", "rows", "expectation"),
    [
        ("INT", "(1), (2), (3)", [3], {"in_set": {"value_set": [1, 2]}}),
        ("DECIMAL(9,2)", "(1.5), (2.5)", [2], {"not_be_in_set": {"value_set": [2.5]}}),
        ("VARCHAR", "('L'), ('it''s'), ('x%')", [1], {"in_set": {"value_set": ["it's", "x%"]}}),
        ("DATE", "('1899-12-31'), ('1900-01-01')", [1], {"between": {"min_value": "1900-01-01"}}),
        ("INT", "(1), (1), (2)", [1, 2], {"unique": {}}),
    ],
)
def test_values_stand_in_the_sql_whatever_their_type(kind, values, rows, expectation):
    ((name, arguments),) = expectation.items()
    name = name if name.startswith("not_") else f"be_{name}"
    one = rule(rule="r", **{f"expect_column_values_to_{name}": {"column": "n", **arguments}})
    assert broken([one], None, kind, values) == [(row, "r") for row in rows]

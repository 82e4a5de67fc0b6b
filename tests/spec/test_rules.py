"""Rules on tiny tables: each one that follows from a definition is broken once, and a rule across
rows says whom it implicates."""

from dataclasses import dataclass
from datetime import date

import duckdb
import ibis
import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection as Connection

from common.definition import Source, Stream, load_sources
from common.settings import Settings
from expectations.runner import Finding, validate
from expectations.suite import Rule, implied
from transforms.standardise.typed import typed

SETTINGS = Settings()
STREAMS = [
    (source, stream) for source in load_sources(SETTINGS).values() for stream in source.streams
]
IDS = [f"{source.name}.{stream.name}" for source, stream in STREAMS]
STRANGE = "?!"


def rule(**fields) -> Rule:
    return Rule.model_validate({"severity": "critical", "reason": "", "origin": ""} | fields)


@dataclass
class Judged:
    findings: list[Finding]
    broken: list[tuple[int, str]]


def judge(rows: str, rules: list[Rule], connection: Connection | None = None) -> Judged:
    """What the rules make of `rows`, a SQL query of typed rows."""
    connection = connection or duckdb.connect()
    connection.execute(f"CREATE TABLE staged AS {rows}; CREATE VIEW typed AS FROM staged")
    connection.execute("CREATE VIEW known AS FROM typed")
    findings = validate(connection, rules, where="test")
    broken = connection.execute("SELECT _row, rule FROM broken ORDER BY ALL").fetchall()
    return Judged(findings, broken)


# One NIK, two people; the second was entered later, the third as late as the second.
TWICE = (
    "SELECT * FROM (VALUES (1, 'a', 2020), (2, 'a', 2021), (3, 'b', 2020)) AS t (_row, nik, year)"
)
TIED = "SELECT * FROM (VALUES (1, 'a', 2020), (2, 'a', 2020)) AS t (_row, nik, year)"
SHARED = "nik NOT IN (SELECT nik FROM known GROUP BY ALL HAVING count(*) > 1)"
UNIQUE = {"rule": "nik_twice", "expect_rows_to_satisfy": {"condition": SHARED}}


@pytest.mark.parametrize(
    ("rows", "implicates", "broken"),
    [
        (TWICE, "all", [1, 2]),
        (TWICE, {"among": ["nik"], "spare": "first", "by": "year"}, [2]),
        (TWICE, {"among": ["nik"], "spare": "last", "by": "year"}, [1]),
        (TIED, {"among": ["nik"], "spare": "first", "by": "year"}, [1, 2]),
        (TIED, {"among": ["nik"], "spare": "last", "by": "year"}, [1, 2]),
    ],
)
def test_a_rule_across_rows_says_whom_it_implicates(rows, implicates, broken):
    judged = judge(rows, [rule(**UNIQUE, implicates=implicates)])
    assert judged.broken == [(row, "nik_twice") for row in broken]
    assert judged.findings == [Finding("nik_twice", "critical", len(broken))]


def test_stock_uniqueness_implicates_all():
    stock = rule(rule="nik_twice", expect_column_values_to_be_unique={"column": "nik"})
    assert judge(TWICE, [stock]).broken == [(1, "nik_twice"), (2, "nik_twice")]


def test_a_row_that_is_rejected_anyway_is_no_rival():
    too_early = rule(rule="too_early", expect_rows_to_satisfy={"condition": "year > 2020"})
    once = rule(**UNIQUE, implicates={"among": ["nik"], "spare": "first", "by": "year"})
    assert judge(TWICE, [once, too_early]).broken == [
        (1, "nik_twice"), (1, "too_early"), (3, "too_early"),
    ]  # fmt: skip


def test_more_rules_than_fit_one_pass():
    rules = [rule(rule=f"not_{n}", expect_rows_to_satisfy={"condition": f"n <> {n}"})
             for n in range(150)]  # fmt: skip
    judged = judge("SELECT range AS _row, range AS n FROM range(150)", rules)
    assert judged.broken == sorted((n, f"not_{n}") for n in range(150))


def test_the_unknown_holds():
    both = [
        rule(rule="a", expect_rows_to_satisfy={"condition": "n > 0"}),
        rule(rule="b", expect_column_values_to_be_between={"column": "n", "min_value": 0}),
    ]
    assert judge("SELECT 1 AS _row, NULL::INT AS n", both).broken == []


def sent_of(column, value: str) -> str:
    """A value that the column takes."""
    if column.values:
        return next(iter(column.values))
    if column.formats:
        return date(2020, 2, 1).strftime(column.formats[0])
    return {"integer": "7", "decimal": "7", "boolean": "1", "date": "2020-02-01",
            "timestamp": "2020-02-01 10:00:00", "json": "{}"}.get(column.type, value)  # fmt: skip


@pytest.mark.parametrize(("source", "stream"), STREAMS, ids=IDS)
def test_what_follows_from_a_definition_is_found_and_nothing_else(source: Source, stream: Stream):
    """Row 0 is sound; each other row breaks one rule, in the column that it names."""
    rules = [one for one in implied(stream) if "lake.ref" not in str(one.arguments)]
    sound = {column.name: sent_of(column, "x") for column in stream.columns.values()}
    rows, expected = [{**sound, "_rows_with_key": 1}], []

    def breaks(name: str, **changed) -> None:
        expected.append((len(rows), name))
        rows.append({**sound, "_rows_with_key": 1, **changed})

    breaks("key_shared", _rows_with_key=2)
    breaks("key_missing", **{stream.key[0]: None})
    for column in stream.columns.values():
        if column.required and column.name not in stream.key:
            breaks(f"{column.name}_missing", **{column.name: None})
        for end in ("unreadable", "unknown"):
            if f"{column.name}_{end}" in {one.rule for one in rules}:
                breaks(f"{column.name}_{end}", **{column.name: STRANGE})
                if column.name in stream.key:
                    expected.append((len(rows) - 1, "key_missing"))
    judged = judge_sent(rows, stream, rules)
    assert judged.broken == sorted(expected)


def judge_sent(rows: list[dict], stream: Stream, rules: list[Rule]) -> Judged:
    """What the rules make of rows as sent (text under our names)."""
    schema = pa.schema([("_row", pa.int64()), ("_rows_with_key", pa.int64()),
                        *((name, pa.string()) for name in stream.names)])  # fmt: skip
    numbered = [{"_row": place, **row} for place, row in enumerate(rows)]
    with duckdb.connect() as connection:
        connection.register("arrow", pa.Table.from_pylist(numbered, schema=schema))
        connection.execute("CREATE TABLE sent AS FROM arrow")
        sent = ibis.duckdb.from_connection(connection).table("sent")
        return judge(ibis.to_sql(typed(sent, stream), dialect="duckdb"), rules, connection)

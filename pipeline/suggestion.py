"""Rules that a stream's own past suggests: what every row of its good nights had in common.

A suggestion may hold numbers, rounded outwards, and codes of up to four characters that many rows
share; never what could be a person's own value. It starts as `info`, which counts and touches no
row, until somebody who knows the office makes it more.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import ibis
import yaml

from common import clock
from common.definition import Column, Source, Stream
from common.errors import DefinitionError
from common.quoting import identifier, literal
from common.settings import Settings
from expectations.suite import Rule, load_rules
from transforms.standardise.typed import typed
from warehouse.catalog import reading
from warehouse.tables import landing_name

NIGHTS = 60
CODE = "^[0-9A-Z]{1,4}$"
CODES_AT_MOST, ROWS_PER_CODE, SHAPES_AT_MOST = 30, 5, 3
SAME_NUMBER = 0.5
"""An integer that differs in more than this share of the rows numbers them: no range of it."""
MARGIN = 0.1
ENOUGH_ROWS = 30
WORDS = {
    "expect_table_row_count_to_be_between": (
        "Jumlah baris tidak seperti biasanya",
        "Periksa apakah kiriman lengkap",
    ),
    "expect_column_values_to_not_be_null": (
        "Isian kosong, padahal biasanya terisi",
        "Isi bila diketahui",
    ),
    "expect_column_values_to_be_between": (
        "Nilai di luar kisaran yang biasa",
        "Periksa kembali nilainya",
    ),
    "expect_rows_to_satisfy": (
        "Tanggal lebih awal daripada biasanya",
        "Periksa kembali tanggalnya",
    ),
    "expect_column_values_to_be_in_set": (
        "Kode tidak termasuk yang biasa dipakai",
        "Periksa kembali kodenya",
    ),
    "expect_column_values_to_match_regex": (
        "Bentuk isian tidak seperti biasanya",
        "Periksa kembali penulisannya",
    ),
    "expect_column_value_lengths_to_be_between": (
        "Panjang isian tidak seperti biasanya",
        "Periksa kembali penulisannya",
    ),
}
"""Per expectation: what is wrong, what to correct, in the agency's words."""
NUMBERS, MOMENTS = ("integer", "decimal"), ("date", "timestamp")


@dataclass(frozen=True)
class Past:
    """What the suggestions are taken from: good nights, and row versions that broke no rule."""

    nights: int
    versions: int
    fewest_rows: int
    most_rows: int
    by_weekday: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Suggestions:
    past: Past
    rules: list[Rule]

    def as_yaml(self, stream: str) -> str:
        """Ready to paste into the source's file of rules."""
        entries = [
            {"rule": rule.rule, rule.kind: rule.arguments, "severity": rule.severity,
             "reason": rule.reason, "origin": rule.origin, "plain": rule.plain,
             "remedy": rule.remedy}
            for rule in self.rules
        ]  # fmt: skip
        return yaml.safe_dump(
            {"streams": {stream: entries}},
            sort_keys=False,
            allow_unicode=True,
            width=100,
            default_flow_style=None,
        )


def suggest(settings: Settings, source: Source, stream: Stream) -> Suggestions:
    """Rules for the stream that hold for its past and that it does not have yet.

    Raises DefinitionError when the stream has no past.
    """
    with reading(settings) as connection:
        past = _past(connection, source, stream)
        reason = f"seen in {past.nights} night(s), {past.versions:,} row versions"
        origin = f"muara expectations suggest, {clock.today(settings)}"
        found = [
            Rule.model_validate({**one, **_words(one), "severity": "info", "origin": origin,
                                 "reason": "; ".join(filter(None, (reason, remark)))})
            for one, remark in _suggested(connection, stream, past)
        ]  # fmt: skip
    known = load_rules(settings, source)[stream.name]
    names = {rule.rule for rule in known}
    subjects = {_subject(rule) for rule in known}
    return Suggestions(past, [rule for rule in found if rule.rule not in names
                              and _subject(rule) not in subjects])  # fmt: skip


def _words(entry: dict[str, Any]) -> dict[str, str]:
    (kind,) = set(WORDS) & set(entry)
    return dict(zip(("plain", "remedy"), WORDS[kind], strict=True))


def _subject(rule: Rule) -> tuple[str, Any]:
    """Which expectation of which column."""
    return rule.kind, rule.arguments.get("column") or rule.arguments.get("condition")


def _past(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> Past:
    """Also makes the view `past`: typed row versions of good nights."""
    connection.execute(
        f"""
        CREATE TEMP TABLE good AS
        SELECT batch_id, night, extracted FROM lake.ops.ledger
        WHERE source = {literal(source.name)} AND stream = {literal(stream.name)}
            AND outcome = 'loaded'
            AND night > (SELECT max(night) FROM lake.ops.ledger) - {NIGHTS}
        """
    )
    nights, fewest, most = connection.execute(
        "SELECT count(DISTINCT night), min(extracted), max(extracted) FROM good"
    ).fetchall()[0]
    if not nights:
        raise DefinitionError(
            "nothing was loaded yet",
            where=f"{source.name}.{stream.name}",
            next_step=f"`muara sync {source.name} {stream.name}`, best on several nights.",
        )
    backend = ibis.duckdb.from_connection(connection)
    landing = backend.table(
        landing_name(source, stream).split(".")[1], database=("lake", "landing")
    )
    sound = landing.filter(
        landing["_op"].isin(["insert", "update"]),
        landing["_flags"].length() == 0,
        landing["_batch_id"].isin(backend.table("good")["batch_id"]),
    )
    query = ibis.to_sql(typed(sound, stream), dialect="duckdb")
    connection.execute(f"CREATE TEMP VIEW past AS {query}")
    (versions,) = connection.execute("SELECT count(*) FROM past").fetchall()[0]
    by_weekday = connection.execute(
        "SELECT dayname(night), min(extracted), max(extracted) FROM good "
        "GROUP BY 1, dayofweek(night) ORDER BY dayofweek(night)"
    ).fetchall()
    return Past(nights, versions, fewest, most, {day: (low, high) for day, low, high in by_weekday})


def _suggested(
    connection: duckdb.DuckDBPyConnection, stream: Stream, past: Past
) -> Iterator[tuple[dict[str, Any], str]]:
    """Rules without severity, reason and origin, each with a remark for its reason."""
    if stream.strategy == "snapshot":
        yield _row_count(past)
    if past.versions < ENOUGH_ROWS:
        return
    for column in stream.columns.values():
        if column.name in stream.key:
            continue
        yield from _of_nulls(connection, column)
        if column.values is not None or column.codes or column.type in ("boolean", "json"):
            continue
        if column.type in NUMBERS:
            yield from _of_numbers(connection, column)
        elif column.type in MOMENTS:
            yield from _of_moments(connection, column)
        else:
            yield from _of_text(connection, column)


def _row_count(past: Past) -> tuple[dict[str, Any], str]:
    low = math.floor(past.fewest_rows * (1 - MARGIN))
    high = math.ceil(past.most_rows * (1 + MARGIN))
    days = ", ".join(f"{day} {low:,} to {high:,}" for day, (low, high) in past.by_weekday.items())
    return {
        "rule": "row_count_unusual",
        "expect_table_row_count_to_be_between": {"min_value": low, "max_value": high},
    }, f"rows by weekday: {days}"


def _of_nulls(
    connection: duckdb.DuckDBPyConnection, column: Column
) -> Iterator[tuple[dict[str, Any], str]]:
    ((share,),) = connection.execute(
        f"SELECT count(*) FILTER ({identifier(column.name)} IS NULL) / count(*) FROM past"
    ).fetchall()
    if share < 0.5 and not column.required:
        mostly = {} if share == 0 else {"mostly": round(max(0.0, 1 - 1.5 * share - 0.01), 2)}
        yield (
            {
                "rule": f"{column.name}_often_missing" if mostly else f"{column.name}_missing",
                "expect_column_values_to_not_be_null": {"column": column.name, **mostly},
            },
            f"{share:.1%} empty",
        )


def _of_numbers(
    connection: duckdb.DuckDBPyConnection, column: Column
) -> Iterator[tuple[dict[str, Any], str]]:
    name = identifier(column.name)
    low, high, distinct, rows = connection.execute(
        f"SELECT min({name}), max({name}), approx_count_distinct({name}), count({name}) FROM past"
    ).fetchall()[0]
    is_number_of_a_row = column.type == "integer" and distinct > rows * SAME_NUMBER
    if rows >= ENOUGH_ROWS and not is_number_of_a_row:
        yield (
            {
                "rule": f"{column.name}_unusual",
                "expect_column_values_to_be_between": {
                    "column": column.name,
                    "min_value": _outwards(float(low), math.floor),
                    "max_value": _outwards(float(high), math.ceil),
                },
            },
            "rounded outwards",
        )


def _outwards(number: float, rounded: Any) -> int | float:
    """To two digits, away from the range: not a row's own value."""
    if number == 0:
        return 0
    unit = 10.0 ** (math.floor(math.log10(abs(number))) - 1)
    value = round(rounded(number / unit) * unit, 10)
    return int(value) if value == int(value) else value


def _of_moments(
    connection: duckdb.DuckDBPyConnection, column: Column
) -> Iterator[tuple[dict[str, Any], str]]:
    low, rows = connection.execute(
        f"SELECT min(year({identifier(column.name)})), count({identifier(column.name)}) FROM past"
    ).fetchall()[0]
    if rows >= ENOUGH_ROWS:
        first = date(low - low % 10, 1, 1)
        yield (
            {
                "rule": f"{column.name}_too_early",
                "expect_rows_to_satisfy": {"condition": f"{column.name} >= DATE {literal(first)}"},
            },
            "to the decade",
        )


def _of_text(
    connection: duckdb.DuckDBPyConnection, column: Column
) -> Iterator[tuple[dict[str, Any], str]]:
    name = column.name
    codes = connection.execute(
        f"""
        SELECT {identifier(name)}, count(*) FROM past WHERE {identifier(name)} IS NOT NULL
        GROUP BY 1 ORDER BY 1 LIMIT {CODES_AT_MOST + 1}
        """
    ).fetchall()
    if 1 < len(codes) <= CODES_AT_MOST and all(
        re.fullmatch(CODE, code) and count >= ROWS_PER_CODE for code, count in codes
    ):
        yield {
            "rule": f"{name}_unknown",
            "expect_column_values_to_be_in_set": {
                "column": name, "value_set": [code for code, _ in codes],
            },
        }, f"each in at least {ROWS_PER_CODE} rows"  # fmt: skip
        return
    shapes = connection.execute(
        f"""
        SELECT regexp_replace(regexp_replace(regexp_replace({identifier(name)}, '[0-9]', '9', 'g'),
            '\\p{{Lu}}', 'A', 'g'), '\\p{{Ll}}', 'a', 'g') AS shape, count(*)
        FROM past WHERE {identifier(name)} IS NOT NULL
        GROUP BY 1 ORDER BY 2 DESC LIMIT {SHAPES_AT_MOST + 1}
        """
    ).fetchall()
    if 0 < len(shapes) <= SHAPES_AT_MOST and all(
        "9" in shape and count >= ROWS_PER_CODE for shape, count in shapes
    ):
        regex = "|".join(sorted(_regex(shape) for shape, _ in shapes))
        yield (
            {
                "rule": f"{name}_malformed",
                "expect_column_values_to_match_regex": {"column": name, "regex": f"^({regex})$"},
            },
            "shape of every value",
        )
        return
    shortest, longest = connection.execute(
        f"SELECT min(length({identifier(name)})), max(length({identifier(name)})) FROM past"
    ).fetchall()[0]
    if longest:
        yield {
            "rule": f"{name}_length_unusual",
            "expect_column_value_lengths_to_be_between": {
                "column": name, "min_value": shortest, "max_value": longest,
            },
        }, "length of every value"  # fmt: skip


def _regex(shape: str) -> str:
    """`9999-AA` → `[0-9]{4}\\-[A-Z]{2}`."""
    classes = {"9": "[0-9]", "A": "[A-Z]", "a": "[a-z]"}
    parts = []
    for run in re.finditer(r"(.)\1*", shape, re.DOTALL):
        kind = classes.get(run[1], re.escape(run[1]))
        parts.append(kind if len(run[0]) == 1 else f"{kind}{{{len(run[0])}}}")
    return "".join(parts)

"""The numbers of the model, counted in the mentions themselves; no truth is used.

m, the share of one person's pairs on a level, is counted over pairs that something else proves to
be one person (`Comparison.proven`: for names, the same number and day); u over random pairs. The
`expected` shares are worth EXPECTED_PAIRS pairs: a level that the data hardly shows keeps the
weight that a person set, and none is infinite. The prior is that of one resident among all: half of
those who are spoken of are in the registry, and nobody is more likely than another. Where no
registry is connected, the mentions themselves stand for the people of the city.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
from splink import SettingsCreator, block_on

from common.quoting import identifier, literal
from transforms.identity.mentions import REGISTRY
from transforms.identity.model import BLOCKING, COMPARISONS, TERMS, Comparison

EXPECTED_PAIRS = 50
RANDOM_PAIRS = 1_000_000
OTHER_NUMBERS = 16 * 9
"""Numbers that differ from a NIK in one digit."""
FEWEST_BEARERS = 5
"""A term that fewer residents bear is not kept: it would name them."""


def train(
    connection: duckdb.DuckDBPyConnection, comparisons: Sequence[Comparison] = COMPARISONS
) -> dict[str, Any]:
    """The model as Splink's settings, every parameter counted in table `mention`; table `term`
    (column_name, term, share) holds how frequent its terms are among residents, of all mentions
    where there is no resident, NULL being the share of each term that is not kept."""
    size, residents = connection.execute(
        f"SELECT count(*), count(*) FILTER (role = {literal(REGISTRY)}) FROM mention"
    ).fetchall()[0]
    people = f"role = {literal(REGISTRY)}" if residents else "true"
    _compare(
        connection,
        "proven_pair",
        " UNION ".join(
            f"""
            SELECT l.rowid AS a, r.rowid AS b FROM mention l JOIN mention r USING ({columns})
            WHERE l.mention_id < r.mention_id
                AND NOT (l.role = {literal(REGISTRY)} AND r.role = {literal(REGISTRY)})
            """
            for columns in ("nik", "sound, birth_date", "mother_nik, birth_date")
        ),
        (
            answer
            for one in comparisons
            for answer in (_level_of(one), f"{one.proven} AS {one.name}_proven")
        ),
    )
    # Places by id, for the order of rows is that of chance.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE placed AS SELECT rowid AS mention, "
        "row_number() OVER (ORDER BY mention_id) - 1 AS place FROM mention"
    )
    times = -(-RANDOM_PAIRS // max(size, 1))
    _compare(
        connection,
        "random_pair",
        f"""
        SELECT one.mention AS a, other.mention AS b
        FROM (SELECT first, (hash(first, time) % {size})::BIGINT AS second
            FROM range({size}) AS one(first), range({times}) AS many(time))
        JOIN placed AS one ON one.place = first JOIN placed AS other ON other.place = second
        WHERE first <> second
        """,
        map(_level_of, comparisons),
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE term (column_name VARCHAR, term VARCHAR, share DOUBLE)"
    )
    for column in TERMS:
        connection.execute(
            f"""
            INSERT INTO term
            WITH counted AS (
                SELECT {identifier(column)} AS term, count(*) AS bearers FROM mention
                WHERE {people} AND {identifier(column)} IS NOT NULL GROUP BY ALL)
            SELECT {literal(column)}, term, bearers / sum(bearers) OVER () FROM counted
            QUALIFY bearers >= {FEWEST_BEARERS}
            UNION ALL
            SELECT {literal(column)}, NULL,
                avg(bearers) FILTER (bearers < {FEWEST_BEARERS}) / sum(bearers)
            FROM counted
            """
        )
    creator = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="mention_id",
        comparisons=[_counted(connection, one) for one in comparisons],
        blocking_rules_to_generate_predictions=[block_on(*keys) for keys in BLOCKING],
        probability_two_random_records_match=1 / max(residents or size, 2),
        retain_matching_columns=False,
    )
    return creator.create_settings_dict("duckdb")


def _compare(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    pairs: str,
    asked: Iterable[str],
) -> None:
    """Table `name`: per pair of rows of `mention` (a, b) what is `asked` of both."""
    answers = ", ".join(asked)
    columns = sorted(set(re.findall(r"\b([a-z_]+)_l\b", answers)))
    said = ", ".join(f"l.{one} AS {one}_l, r.{one} AS {one}_r" for one in columns)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT {answers}
        FROM (SELECT {said} FROM ({pairs})
            JOIN mention l ON l.rowid = a JOIN mention r ON r.rowid = b)
        """
    )


def _level_of(one: Comparison) -> str:
    """The place of the level on which both are: 0 the first, NULL unknown."""
    places = " ".join(
        f"WHEN {level.when} THEN {place}" for place, level in enumerate(one.levels[:-1])
    )
    return f"""
        CASE WHEN {one.unknown} THEN NULL {places} ELSE {len(one.levels) - 1} END AS {one.name}"""


def _counted(connection: duckdb.DuckDBPyConnection, one: Comparison) -> dict[str, Any]:
    """A comparison as Splink wants it, with m and u."""
    expected = [EXPECTED_PAIRS * level.expected for level in one.levels]
    proven = _shares(connection, one, "proven_pair", f"{one.name}_proven", expected)
    strangers = _shares(connection, one, "random_pair", "true", [0.5] * len(one.levels))
    if one.name == "nik":
        # Random pairs show no stranger with one's number: it takes a wrong digit (the rest of m)
        # that makes it another resident's, and so many of the other numbers are (u of one digit).
        strangers[0] = (1 - proven[0]) * strangers[1] / OTHER_NUMBERS
    levels = [
        {
            "sql_condition": level.when if level.when == "ELSE" else f"({level.when})",
            "label_for_charts": level.label,
            "m_probability": m,
            "u_probability": level.strangers or u,
            **({"tf_adjustment_column": level.terms} if level.terms else {}),
        }
        for level, m, u in zip(one.levels, proven, strangers, strict=True)
    ]
    unknown = {"sql_condition": one.unknown, "label_for_charts": "unknown", "is_null_level": True}
    return {"output_column_name": one.name, "comparison_levels": [unknown, *levels]}


def _shares(
    connection: duckdb.DuckDBPyConnection,
    one: Comparison,
    pairs: str,
    where: str,
    added: list[float],
) -> list[float]:
    """Share of the pairs on each level, `added` counted as pairs too."""
    counted = dict(
        connection.execute(
            f"SELECT {one.name}, count(*) FROM {pairs} "
            f"WHERE {one.name} IS NOT NULL AND {where} GROUP BY ALL"
        ).fetchall()
    )
    total = sum(counted.values()) + sum(added)
    return [(counted.get(place, 0) + more) / total for place, more in enumerate(added)]

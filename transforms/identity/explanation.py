"""Why a pair weighs what it weighs: per comparison the level that both reach and its bits.

The weight of a pair is the prior and the bits of all its comparisons: log2 of how much more often
one person's records are on that level than strangers' (Fellegi and Sunter 1969), where a frequent
term says less than a rare one. It is what Splink sums; a test holds one against the other.
"""

from dataclasses import dataclass
from math import log2
from typing import Any

import duckdb

from common.quoting import identifier, literal


@dataclass(frozen=True)
class Evidence:
    """One comparison: its name, the label of the level, and what it adds to the weight."""

    comparison: str
    level: str
    bits: float


def prior(settings: dict[str, Any]) -> float:
    """Bits of any pair before it is compared."""
    share = settings["probability_two_random_records_match"]
    return log2(share / (1 - share))


def explain(connection: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> None:
    """Table `evidence` (mention_id_l, mention_id_r, comparison, level, bits) of the pairs in table
    `asked` (mention_id_l, mention_id_r), from tables `mention` and `term`; a comparison of which
    nothing is known has no bits and the level `unknown`."""
    said = " UNION ALL ".join(
        _of_one(place, one) for place, one in enumerate(settings["comparisons"])
    )
    columns = connection.execute("SELECT * FROM mention LIMIT 0").description
    sides = ", ".join(
        f"{side}.{identifier(name)} AS {identifier(f'{name}_{side}')}"
        for name, *_ in columns
        for side in ("l", "r")
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE beside_each_other AS
        SELECT {sides} FROM asked JOIN mention l ON l.mention_id = asked.mention_id_l
        JOIN mention r ON r.mention_id = asked.mention_id_r;
        CREATE OR REPLACE TEMP TABLE evidence AS
        SELECT * EXCLUDE (place) FROM ({said}) ORDER BY mention_id_l, mention_id_r, place
        """
    )


def _of_one(place: int, comparison: dict[str, Any]) -> str:
    levels = comparison["comparison_levels"]
    labels, bits = [], []
    for level in levels:
        when = "ELSE" if level["sql_condition"] == "ELSE" else f"WHEN {level['sql_condition']} THEN"
        labels.append(f"{when} {literal(level['label_for_charts'])}")
        bits.append(f"{when} {_bits(level)}")
    return f"""
        SELECT mention_id_l, mention_id_r, {place} AS place,
            {literal(comparison["output_column_name"])} AS comparison,
            CASE {" ".join(labels)} END AS level, CASE {" ".join(bits)} END::DOUBLE AS bits
        FROM beside_each_other"""


def _bits(level: dict[str, Any]) -> str:
    if level.get("is_null_level"):
        return "NULL"
    own = log2(level["m_probability"] / level["u_probability"])
    if not (column := level.get("tf_adjustment_column")):
        return str(own)
    share = f"""(SELECT coalesce(max(share) FILTER (term = {column}_l),
        max(share) FILTER (term IS NULL)) FROM term WHERE column_name = {literal(column)})"""
    return f"coalesce({log2(level['m_probability'])} - log2({share}), {own})"

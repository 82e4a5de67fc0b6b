"""Pairs of mentions that may be one person, found and weighed by Splink."""

from typing import Any

import duckdb
from splink import DuckDBAPI, Linker, block_on

from common.quoting import literal
from transforms.identity.mentions import COMPARED, REGISTRY
from transforms.identity.model import BLOCKING, TERMS, TWO_NUMBERS

LEAST_WEIGHT = -4
"""Bits below which a pair is nobody's concern."""
SIDES = ("new_resident", "new_other", "old_resident", "old_other")


def compare(connection: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> None:
    """Table `edge` (mention_id_l, mention_id_r, weight in bits) of all pairs that may be one
    person, at least one of them in table `changed` (mention_id), from tables `mention`, `fresh`
    (the changed among them) and `term`."""
    connection.execute(
        "CREATE OR REPLACE TABLE edge (mention_id_l VARCHAR, mention_id_r VARCHAR, weight DOUBLE)"
    )
    if connection.execute("SELECT count(*) FROM changed").fetchall() == [(0,)]:
        return
    _sides(connection)
    database = DuckDBAPI(connection)
    side = {name: database.register(name) for name in SIDES}
    linker = Linker(side["new_other"], settings, log_level=None)
    for column in TERMS:
        connection.execute(
            f"""
            CREATE OR REPLACE TABLE share_of_{column} AS
            SELECT {column}, coalesce(share, (SELECT any_value(share) FROM term
                WHERE column_name = {literal(column)} AND term IS NULL)) AS tf_{column}
            FROM (SELECT {column} FROM new_resident UNION SELECT {column} FROM new_other)
            LEFT JOIN (
                SELECT term AS {column}, share FROM term WHERE column_name = {literal(column)})
                USING ({column})
            WHERE {column} IS NOT NULL
            """
        )
        linker.table_management.register_term_frequency_lookup(
            database.register(f"share_of_{column}"), column
        )
    wanted: dict[str, Any] = {"threshold_match_weight": LEAST_WEIGHT, "warning_mode": "never"}
    between, within = linker.inference.predict_between, linker.inference.predict_within
    two_numbers = [block_on(*keys) for keys in TWO_NUMBERS]
    of_residents = wanted | {"blocking_rules_to_generate_predictions": two_numbers}
    found = (
        between(side["new_resident"], [side["new_other"], side["old_other"]], **wanted),
        between(side["new_other"], [side["old_resident"], side["old_other"]], **wanted),
        within(side["new_other"], **wanted),
        between(side["new_resident"], side["old_resident"], **of_residents),
        within(side["new_resident"], **of_residents),
    )
    for one in found:
        connection.execute(
            f"INSERT INTO edge SELECT mention_id_l, mention_id_r, match_weight "
            f"FROM {one.physical_name}"
        )
        one.drop_table_from_database_and_remove_from_cache()


def _sides(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables SIDES (mention_id, role, COMPARED): the changed mentions, and of all others those that
    share a block with one whom they are compared with; residents and others apart."""
    columns = ", ".join(("mention_id", "role", *COMPARED))
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE compared AS
        SELECT {columns} FROM fresh SEMI JOIN changed USING (mention_id);
        CREATE OR REPLACE TABLE new_resident AS FROM compared WHERE role = {literal(REGISTRY)};
        CREATE OR REPLACE TABLE new_other AS FROM compared WHERE role <> {literal(REGISTRY)};
        CREATE OR REPLACE TABLE old_resident AS FROM compared LIMIT 0;
        CREATE OR REPLACE TABLE old_other AS FROM compared LIMIT 0
        """
    )
    some_are_as_before = "SELECT (SELECT count(*) FROM mention) > (SELECT count(*) FROM compared)"
    if connection.execute(some_are_as_before).fetchall() == [(True,)]:
        connection.execute(
            f"""
            INSERT INTO old_resident
            SELECT {columns} FROM mention WHERE role = {literal(REGISTRY)}
                AND mention_id NOT IN (FROM changed)
                AND ({_share(BLOCKING, "new_other")} OR {_share(TWO_NUMBERS, "new_resident")});
            INSERT INTO old_other
            SELECT {columns} FROM mention WHERE role <> {literal(REGISTRY)}
                AND mention_id NOT IN (FROM changed) AND ({_share(BLOCKING, "compared")})
            """
        )
    connection.execute("DROP TABLE compared")


def _share(rules: tuple[tuple[str, ...], ...], table: str) -> str:
    """SQL: a mention is in a block of one of the table. Two blocks may have one hash: this only
    chooses who is asked by the rules themselves."""

    def same(keys: tuple[str, ...]) -> str:
        block, known = ", ".join(keys), " AND ".join(f"{key} IS NOT NULL" for key in keys)
        return f"hash({block}) IN (SELECT hash({block}) FROM {table} WHERE {known})"

    return " OR ".join(map(same, rules))

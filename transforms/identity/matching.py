"""Pairs of mentions that may be one person, found and weighed by Splink."""

from typing import Any

import duckdb
from splink import DuckDBAPI, Linker, block_on

from transforms.identity.mentions import COMPARED, REGISTRY
from transforms.identity.model import BLOCKING, TERMS, TWO_NUMBERS

RULES = tuple(
    keys
    for keys in dict.fromkeys((*BLOCKING, *TWO_NUMBERS))
    if not any(set(other) < set(keys) for other in (*BLOCKING, *TWO_NUMBERS))
)
"""Those that another does not imply."""
LEAST_WEIGHT = -4
"""Bits below which a pair is nobody's concern."""
SIDES = {
    "new_resident": f"FROM compared WHERE role = '{REGISTRY}'",
    "new_other": f"FROM compared WHERE role <> '{REGISTRY}'",
    "old_resident": f"FROM beside WHERE role = '{REGISTRY}'",
    "old_other": f"FROM beside WHERE role <> '{REGISTRY}'",
}


def compare(connection: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> None:
    """Table `edge` (mention_id_l, mention_id_r, weight in bits) of all pairs that may be one
    person, at least one of them in table `changed` (mention_id), from tables `mention`, `fresh`
    (the changed among them) and `term`."""
    connection.execute(
        "CREATE OR REPLACE TABLE edge (mention_id_l VARCHAR, mention_id_r VARCHAR, weight DOUBLE)"
    )
    if connection.execute("SELECT count(*) FROM changed").fetchall() == [(0,)]:
        return
    columns = ", ".join(("mention_id", "role", *COMPARED))
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE compared AS
        SELECT {columns} FROM fresh SEMI JOIN changed USING (mention_id);
        CREATE OR REPLACE TEMP TABLE beside AS FROM compared LIMIT 0
        """
    )
    some_are_as_before = "SELECT (SELECT count(*) FROM mention) > (SELECT count(*) FROM compared)"
    if connection.execute(some_are_as_before).fetchall() == [(True,)]:
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE block AS
            SELECT DISTINCT unnest({_blocks()}) AS block FROM compared;
            CREATE OR REPLACE TEMP TABLE near AS
            SELECT DISTINCT source_record_id, role FROM (
                SELECT source_record_id, role, unnest({_blocks()}) AS block FROM mention)
            SEMI JOIN block USING (block);
            INSERT INTO beside
            SELECT {columns} FROM (FROM mention SEMI JOIN near USING (source_record_id, role))
            ANTI JOIN changed USING (mention_id)
            """
        )
    for name, query in SIDES.items():
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")
    connection.execute("DROP TABLE compared; DROP TABLE beside")
    database = DuckDBAPI(connection)
    side = {name: database.register(name) for name in SIDES}
    linker = Linker(side["new_other"], settings, log_level=None)
    for column in TERMS:
        connection.execute(
            f"""
            CREATE OR REPLACE TABLE share_of_{column} AS
            SELECT {column}, coalesce(share, (SELECT any_value(share) FROM term
                WHERE column_name = '{column}' AND term IS NULL)) AS tf_{column}
            FROM (SELECT {column} FROM new_resident UNION SELECT {column} FROM new_other)
            LEFT JOIN (SELECT term AS {column}, share FROM term WHERE column_name = '{column}')
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


def _blocks() -> str:
    """SQL: hashes of the blocks that a mention is in; NULL for those of which it says too little.
    Two blocks may share a hash: this only chooses who is asked by the rules themselves."""
    return f"[{', '.join(map(_block, range(len(RULES))))}]"


def _block(rule: int) -> str:
    keys = RULES[rule]
    known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    return f"CASE WHEN {known} THEN hash({rule}, {', '.join(keys)}) END"

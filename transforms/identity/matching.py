"""Pairs of mentions that may be one person, found and weighed by Splink."""

from typing import Any

import duckdb
from splink import DuckDBAPI, Linker

from transforms.identity.mentions import REGISTRY
from transforms.identity.model import TERMS

LEAST_WEIGHT = -4
"""Bits below which a pair is nobody's concern."""


def compare(connection: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> None:
    """Table `edge` (mention_id_l, mention_id_r, weight in bits, probability) of all pairs that may
    be one person, from tables `mention` and `term`; never of two residents of the registry."""
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE resident AS FROM mention WHERE role = '{REGISTRY}';
        CREATE OR REPLACE TABLE other AS FROM mention WHERE role <> '{REGISTRY}'
        """
    )
    database = DuckDBAPI(connection)
    resident, other = database.register("resident"), database.register("other")
    linker = Linker(other, settings, log_level=None)
    for column in TERMS:
        connection.execute(
            f"""
            CREATE OR REPLACE TABLE share_of_{column} AS
            SELECT {column}, coalesce(share, (SELECT any_value(share) FROM term
                WHERE column_name = '{column}' AND term IS NULL)) AS tf_{column}
            FROM (SELECT DISTINCT {column} FROM mention WHERE {column} IS NOT NULL)
            LEFT JOIN (SELECT term AS {column}, share FROM term WHERE column_name = '{column}')
                USING ({column})
            """
        )
        linker.table_management.register_term_frequency_lookup(
            database.register(f"share_of_{column}"), column
        )
    found = (
        linker.inference.predict_between(
            resident, other, threshold_match_weight=LEAST_WEIGHT, warning_mode="never"
        ),
        linker.inference.predict_within(
            other, threshold_match_weight=LEAST_WEIGHT, warning_mode="never"
        ),
    )
    query = " UNION ALL ".join(
        f"""
        SELECT mention_id_l, mention_id_r, match_weight AS weight,
            match_probability AS probability FROM {one.physical_name}"""
        for one in found
    )
    connection.execute(f"CREATE OR REPLACE TABLE edge AS {query}")
    for one in found:
        one.drop_table_from_database_and_remove_from_cache()

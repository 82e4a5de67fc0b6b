"""Whether two warehouses hold the same, apart from run ids, times and random ids."""

from collections.abc import Iterable

import duckdb

from common.settings import Settings
from warehouse.catalog import reading

# What may differ between two runs over the same input: batch numbers, random ids, clock times.
RUN_COLUMNS = {
    "batch_id", "closed_batch_id", "first_batch_id", "changed_batch_id", "_batch_id",
    "quarantine_id", "run",
}  # fmt: skip
# The account of attempts differs by nature: a killed night has more of them. What judged a batch
# names the newest batches of the tables that its rules look at.
RUN_TABLES = {
    "ops.ledger", "ops.core_ledger", "ops.step", "ops.submission", "ops.judgement",
    "ops.fingerprint",
}  # fmt: skip


def content_hashes(settings: Settings) -> dict[str, tuple[int, str]]:
    """Table → (rows, hash of its content whatever the order)."""
    with reading(settings) as connection:
        return {
            table: hash_of(connection, f"lake.{table}", [f'"{name}"' for name in names])
            for table, names in compared_columns(connection).items()
        }


def compared_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Table → columns that two runs over the same input fill alike."""
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() "
        "WHERE database_name = 'lake' ORDER BY column_index"
    ).fetchall():
        if table not in RUN_TABLES and column not in RUN_COLUMNS:
            columns.setdefault(table, []).append(column)
    return columns


def hash_of(
    connection: duckdb.DuckDBPyConnection, rows: str, expressions: Iterable[str]
) -> tuple[int, str]:
    """How many rows, and the hash of these expressions over them whatever their order."""
    return connection.execute(
        f"SELECT count(*), coalesce(md5(string_agg(line, '' ORDER BY line)), '') FROM ("
        f"SELECT md5(CAST(row({', '.join(expressions)}) AS VARCHAR)) AS line FROM {rows})"
    ).fetchall()[0]

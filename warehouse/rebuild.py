"""Core built again from landing alone, and compared with core as it is.

Landing is the truth: replaying its batches in order through the same code must give the same core,
but for erased records, which landing no longer holds.
"""

from collections.abc import Callable

import duckdb

from common.definition import Source, Stream
from common.settings import Settings
from warehouse.catalog import attach, open_duckdb
from warehouse.merge import Conform, Typed, apply_batch
from warehouse.tables import landing_name, tables


def differences(
    settings: Settings,
    sources: dict[str, Source],
    typed_of: Callable[[Stream], Typed],
    conform_of: Callable[[Source, str], Conform],
) -> dict[str, int]:
    """Core table → rows that differ between core and its rebuild; empty when they are equal."""
    connection = open_duckdb(settings)
    try:
        attach(connection, settings, read_only=True)
        connection.execute("ATTACH ':memory:' AS rebuilt")
        connection.execute("CREATE SCHEMA rebuilt.core")
        core = [table for table in tables().values() if table.is_of_landing]
        for table in core:
            connection.execute(table.ddl("rebuilt"))
        for batch_id, night, source_name, stream_name in connection.execute(
            "SELECT batch_id, night, source, stream FROM lake.ops.ledger "
            "WHERE outcome = 'loaded' ORDER BY batch_id"
        ).fetchall():
            source = sources[source_name]
            stream = source.stream(stream_name)
            apply_batch(
                connection,
                landing=f"lake.{landing_name(source, stream)}",
                identity=(source_name, stream_name),
                batch_id=batch_id,
                night=night,
                typed=typed_of(stream),
                conform=conform_of(source, stream_name),
                target="rebuilt",
            )
        counts = {table.name: _count(connection, table.name) for table in core}
        return {name: count for name, count in counts.items() if count}
    finally:
        connection.close()


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM ("
        f"(SELECT * FROM lake.{name} EXCEPT ALL SELECT * FROM rebuilt.{name}) "
        f"UNION ALL (SELECT * FROM rebuilt.{name} EXCEPT ALL SELECT * FROM lake.{name})) "
        "WHERE source_record_id NOT IN (SELECT source_record_id FROM lake.ops.erasure)"
    ).fetchone()
    assert row is not None
    return int(row[0])

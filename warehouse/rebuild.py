"""Core built again from landing alone: compared with core as it is, or put in its place.

Landing is the truth: replaying its batches in order through the same code must give the same core,
but for erased records, which landing no longer holds.
"""

from collections.abc import Callable
from contextlib import closing

import duckdb

from common.definition import Source, Stream
from common.errors import WarehouseFault
from common.settings import Settings
from warehouse.catalog import (
    attach,
    forget_snapshots,
    naming_damage,
    open_duckdb,
    transaction,
    writing,
)
from warehouse.linking import LEFT
from warehouse.merge import Conform, Typed, apply_batch
from warehouse.tables import landing_name, tables

TypedOf = Callable[[Stream], Typed]
ConformOf = Callable[[Source, str], Conform]


def differences(
    settings: Settings, sources: dict[str, Source], typed_of: TypedOf, conform_of: ConformOf
) -> dict[str, int]:
    """Core table → rows that differ between core and its rebuild; empty when they are equal."""
    with naming_damage(settings), closing(open_duckdb(settings)) as connection:
        attach(connection, settings, read_only=True)
        _rebuild(connection, sources, typed_of, conform_of)
        counts = {name: _count(connection, name) for name in of_landing()}
        return {name: count for name, count in counts.items() if count}


def of_landing() -> list[str]:
    return [table.name for table in tables().values() if table.is_of_landing]


def can_be_made(table: str) -> bool:
    """Whether a table can be made again from what the warehouse holds elsewhere."""
    return table in of_landing() or table in LEFT or table.startswith(("mart.", "ref."))


def mend(
    settings: Settings,
    sources: dict[str, Source],
    typed_of: TypedOf,
    conform_of: ConformOf,
    damaged: set[str],
) -> list[str]:
    """Make these tables again: those of core from landing; marts, reference tables and what a
    linking leaves become empty, and whoever fills them does. Returns the tables made again.

    Past snapshots go with them, for they name the damaged files. Raises WarehouseFault when
    somebody was erased: landing no longer knows what core keeps of them for the counts of the past.
    """
    chosen = {name for name in damaged if can_be_made(name)}
    core = chosen.intersection(of_landing())
    if chosen.intersection(LEFT):
        chosen.update(LEFT)
    with writing(settings, "upkeep") as connection:
        if core:
            if connection.execute("FROM lake.ops.erasure LIMIT 1").fetchone():
                raise WarehouseFault(
                    "core cannot be made again from landing: people were erased since",
                    where=", ".join(sorted(core)),
                    next_step="restore a backup: `muara restore`.",
                )
            _rebuild(connection, sources, typed_of, conform_of)
        with transaction(connection):
            for name in sorted(chosen):
                connection.execute(f"DROP TABLE lake.{name}")
                connection.execute(tables()[name].ddl("lake"))
                if name in core:
                    connection.execute(f"INSERT INTO lake.{name} FROM rebuilt.{name}")
        if chosen:
            forget_snapshots(connection)
    return sorted(chosen)


def _rebuild(
    connection: duckdb.DuckDBPyConnection,
    sources: dict[str, Source],
    typed_of: TypedOf,
    conform_of: ConformOf,
) -> None:
    """Core in the catalog `rebuilt`, in memory."""
    connection.execute("ATTACH ':memory:' AS rebuilt")
    connection.execute("CREATE SCHEMA rebuilt.core")
    for name in of_landing():
        connection.execute(tables()[name].ddl("rebuilt"))
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


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM ("
        f"(SELECT * FROM lake.{name} EXCEPT ALL SELECT * FROM rebuilt.{name}) "
        f"UNION ALL (SELECT * FROM rebuilt.{name} EXCEPT ALL SELECT * FROM lake.{name})) "
        "WHERE source_record_id NOT IN (SELECT source_record_id FROM lake.ops.erasure)"
    ).fetchone()
    assert row is not None
    return int(row[0])

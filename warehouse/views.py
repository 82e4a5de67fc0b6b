"""`landing.<source>__<stream>_now`: what a stream last sent soundly, typed, one row per record.

Landing keeps text as sent and every version; these views are how people ask it, above all for
streams that join no core table. They live in the lake's catalog and hold no rows.
"""

from collections.abc import Callable
from hashlib import sha256

import duckdb
import ibis
import ibis.expr.types as ir

from common.definition import Source, Stream
from common.quoting import literal
from common.settings import Settings
from warehouse.catalog import reading, transaction, writing
from warehouse.tables import LANDING_COLUMNS, landing_name

TypedOf = Callable[[Stream], Callable[[ir.Table], ir.Table]]

NEWEST = """
    SELECT landed.* FROM {landing} AS landed SEMI JOIN (
        SELECT _record_id, max(_batch_id) FILTER (_op IN ('insert', 'update')) AS _batch_id
        FROM {landing} GROUP BY _record_id HAVING arg_max(_op, _batch_id) <> 'delete'
    ) AS newest USING (_record_id, _batch_id)
"""
"""The last sound version of every record that the source still has."""

IBIS_TYPES = {"BIGINT": "int64", "UUID": "uuid", "VARCHAR": "string", "VARCHAR[]": "array<string>"}


def set_up_views(
    settings: Settings, sources: dict[str, Source], typed_of: TypedOf, version: str
) -> None:
    """Create the views that are missing or were made by another definition, or by another
    `version` of the typing rules. When all are as they should be, nothing is locked or written."""
    wanted = {
        f"{landing_name(source, stream)}_now": (source, stream)
        for source in sources.values()
        for stream in source.streams
    }
    with reading(settings) as connection:
        there = _marks(connection)
    stale = {
        name: pair for name, pair in wanted.items() if there.get(name) != _mark(pair[1], version)
    }
    if not stale:
        return
    with writing(settings, "upkeep") as connection:
        with transaction(connection):
            for name, (source, stream) in stale.items():
                query = _query(source, stream, typed_of(stream))
                connection.execute(f"CREATE OR REPLACE VIEW lake.{name} AS {query}")
                mark = _mark(stream, version)
                connection.execute(f"COMMENT ON VIEW lake.{name} IS {literal(mark)}")


def _marks(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    return dict(
        connection.execute(
            "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() "
            "WHERE database_name = 'lake'"
        ).fetchall()
    )


def _mark(stream: Stream, version: str) -> str:
    """What the view was made of. Compared instead of its SQL, which takes 30 ms to write."""
    return sha256(f"{stream.model_dump_json()} {version} {NEWEST}".encode()).hexdigest()


def _query(source: Source, stream: Stream, typed: Callable[[ir.Table], ir.Table]) -> str:
    columns = {name: IBIS_TYPES[kind] for name, kind in LANDING_COLUMNS.items()}
    columns |= dict.fromkeys(stream.names, "string")
    rows = typed(ibis.table(columns, name="newest"))
    chosen = rows.select("_record_id", "_batch_id", "_flags", "_origin", *stream.names)
    newest = NEWEST.format(landing=f"lake.{landing_name(source, stream)}")
    return f"WITH newest AS ({newest}) SELECT * FROM ({ibis.to_sql(chosen, dialect='duckdb')})"

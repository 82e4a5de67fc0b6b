"""Core and its history: one landed batch brought into the core tables.

Used by the load and by a rebuild alike, so that core is always a function of landing. A version
that changed or vanished is closed, a new one opened; both are counted and checked.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir

from common.errors import Imbalance
from warehouse.tables import Table, tables

HELD = "held_in_quarantine"

Conform = Callable[[ir.Table, Callable[[str], ir.Table]], dict[str, ir.Table]]
"""(changed rows as typed columns, table by name) → core table name → its rows."""

Typed = Callable[[ir.Table], ir.Table]
"""Landing rows as text → their typed columns."""


def apply_batch(
    connection: duckdb.DuckDBPyConnection,
    *,
    landing: str,
    identity: tuple[str, str],
    batch_id: int,
    night: date,
    typed: Typed,
    conform: Conform,
    target: str,
) -> None:
    """Bring one landed batch into the core tables of catalog `target`.

    Used by the load and by a rebuild alike, so that core is always a function of landing. A held
    record is conformed again from its last sound version, with the flag `held_in_quarantine`.
    Raises Imbalance when core does not hold exactly what the batch conforms to.
    """
    if not _scalar(connection, f"SELECT count(*) FROM {landing} WHERE _batch_id = {batch_id}"):
        return
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE changed_record AS
        SELECT _record_id, _op FROM {landing} WHERE _batch_id = {batch_id};
        CREATE OR REPLACE TEMP TABLE held_row AS SELECT * FROM {landing} LIMIT 0;
        CREATE OR REPLACE TEMP VIEW changed_row AS
        SELECT * FROM {landing} WHERE _batch_id = {batch_id} AND _op IN ('insert', 'update')
        UNION ALL FROM held_row
        """
    )
    if _scalar(connection, "SELECT count(*) FROM changed_record WHERE _op = 'hold'"):
        connection.execute(
            f"""
            INSERT INTO held_row
            SELECT * REPLACE (list_append(_flags, '{HELD}') AS _flags) FROM {landing}
            WHERE _batch_id < {batch_id} AND _op IN ('insert', 'update')
                AND _record_id IN (SELECT _record_id FROM changed_record WHERE _op = 'hold')
            QUALIFY row_number() OVER (PARTITION BY _record_id ORDER BY _batch_id DESC) = 1
            """
        )
    backend = ibis.duckdb.from_connection(connection)

    def table(name: str) -> ir.Table:
        schema, short = name.split(".")
        return backend.table(short, database=("lake", schema))

    rows = typed(backend.table("changed_row", database=("temp", "main")))
    rows = rows.rename(source_record_id="_record_id", flags="_flags")
    for name, expression in conform(rows, table).items():
        own = tables()[name].own_columns
        columns = expression.select(*own, "flags")
        query = str(ibis.to_sql(columns, dialect="duckdb"))
        _merge(connection, tables()[name], query, identity, batch_id, night, target)


def _merge(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    conformed_rows: str,
    identity: tuple[str, str],
    batch_id: int,
    night: date,
    target: str,
) -> None:
    """Close what changed or vanished, open what is new, count both, check the result."""
    full = f"{target}.{table.name}"
    casts = ", ".join(
        f'CAST("{name}" AS {column.type}) AS "{name}"' for name, column in table.columns.items()
    )
    own = ", ".join([*(f'"{name}"' for name in table.own_columns), "flags"])
    key = " AND ".join(f'version."{part}" = closing."{part}"' for part in table.key)
    here = f"version.source = '{identity[0]}' AND version.stream = '{identity[1]}'"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE fresh AS SELECT {casts}, flags FROM ({conformed_rows});
        CREATE OR REPLACE TEMP TABLE current AS
        SELECT {own}, valid_from FROM {full} AS version
        WHERE valid_to IS NULL AND {here}
            AND source_record_id IN (SELECT _record_id FROM changed_record);
        """
    )
    # A first load has nothing to compare with; so does a stream of new records only.
    new_only = not _scalar(connection, "SELECT count(*) FROM current")
    opening = "fresh" if new_only else "opening"
    if not new_only:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE opening AS "
            f"SELECT {own} FROM fresh EXCEPT ALL SELECT {own} FROM current"
        )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE closing AS
        SELECT {", ".join(f'"{part}"' for part in table.key)},
            CASE WHEN source_record_id IN
                (SELECT _record_id FROM changed_record WHERE _op = 'delete')
                THEN 'deleted' ELSE 'replaced' END AS reason
        FROM (SELECT {own} FROM current EXCEPT ALL SELECT {own} FROM fresh)
        """
    )
    conformed, opened, closed = (
        int(_scalar(connection, f"SELECT count(*) FROM {name}"))
        for name in ("fresh", opening, "closing")
    )
    if closed:
        connection.execute(
            f"""
            DELETE FROM {full} AS version USING closing
            WHERE version.valid_to IS NULL AND version.valid_from = DATE '{night}'
                AND closing.reason = 'replaced' AND {here} AND {key};
            UPDATE {full} AS version
            SET valid_to = DATE '{night}', closed_batch_id = {batch_id},
                closed_reason = closing.reason
            FROM closing WHERE version.valid_to IS NULL AND {here} AND {key}
            """
        )
    if opened:
        connection.execute(
            f"""
            INSERT INTO {full}
            SELECT {own}, '{identity[0]}', '{identity[1]}', {batch_id}, DATE '{night}',
                NULL, NULL, NULL
            FROM {opening}
            """
        )
    held, keys = connection.execute(
        f"""
        SELECT count(*), count(DISTINCT ({", ".join(f'"{part}"' for part in table.key)}))
        FROM {full} AS version WHERE valid_to IS NULL AND {here}
            AND source_record_id IN (SELECT _record_id FROM changed_record)
        """
    ).fetchone() or (0, 0)
    records = int(_scalar(connection, "SELECT count(*) FROM changed_record WHERE _op <> 'delete'"))
    one_each = table.key == ("source_record_id",)
    if not held == keys == conformed or (one_each and held != records):
        raise Imbalance(
            f"the batch conforms to {records if one_each else conformed} records, {table.name} "
            f"holds {held}, {keys} of them distinct",
            where=".".join(identity),
            next_step="nothing was loaded; this is a fault of ours, please report it.",
        )
    if target == "lake":
        connection.execute(
            "INSERT INTO lake.ops.core_ledger VALUES (?, ?, ?, ?, ?, ?)",
            [batch_id, table.name, conformed, opened, closed, conformed - opened],
        )


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]

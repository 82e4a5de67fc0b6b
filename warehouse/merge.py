"""Core and its history: one landed batch brought into the core tables.

Used by the load and by a rebuild alike, so that core is always a function of landing. A version
that changed or vanished is closed, a new one opened; both are counted and checked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.backends.sql.datatypes import DuckDBType

from common.errors import DefinitionError, Imbalance, NightInPast
from common.quoting import identifier, literal
from warehouse.catalog import by_name, temporary
from warehouse.tables import Table, tables

HELD = "held_in_quarantine"


@dataclass(frozen=True)
class Gathered:
    """Rows of a core table that are made of other core tables, of records of any stream.

    `touched`: changed records (source_record_id) → those whose rows may now be other ones; `rows`:
    touched records → their rows, with `flags`, `source` and `stream`.
    """

    touched: Callable[[ir.Table], ir.Table]
    rows: Callable[[ir.Table], ir.Table]


Conform = Callable[[ir.Table, Callable[[str], ir.Table]], Mapping[str, ir.Table | Gathered]]
"""(changed rows as typed columns, table by name) → core table name → its rows, in the order in
which they are brought in: what is gathered sees the tables before it."""

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
            SELECT * REPLACE (list_append(_flags, {literal(HELD)}) AS _flags) FROM {landing}
            WHERE _batch_id < {batch_id} AND _op IN ('insert', 'update')
                AND _record_id IN (SELECT _record_id FROM changed_record WHERE _op = 'hold')
            QUALIFY row_number() OVER (PARTITION BY _record_id ORDER BY _batch_id DESC) = 1
            """
        )

    rows = typed(temporary(connection, "changed_row"))
    rows = rows.rename(source_record_id="_record_id", flags="_flags")
    changed = temporary(connection, "changed_record").select(source_record_id="_record_id")
    for name, made in conform(rows, by_name(connection, target)).items():
        columns = [*tables()[name].own_columns, "flags"]
        if isinstance(made, Gathered):
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE touched AS {_sql(made.touched(changed))}"
            )
            expression = made.rows(temporary(connection, "touched"))
            columns += ["source", "stream"]
        else:
            expression = made
        chosen = expression.select(*columns)
        require_exact(tables()[name], chosen.schema())
        query = _sql(chosen)
        is_own = expression is made
        _merge(connection, tables()[name], query, is_own, identity, batch_id, night, target)


def require_exact(table: Table, made: ibis.Schema) -> None:
    """Raises DefinitionError where the cast to a column's type would round a number or cut a time
    off, instead of failing."""
    for name, column in table.columns.items():
        given, kept = made[name], DuckDBType.from_string(column.type)
        rounds = given.is_floating() and not kept.is_floating()
        if given.is_decimal() and not kept.is_floating():
            rounds = given.scale > (kept.scale if kept.is_decimal() else 0)
        if rounds or (given.is_timestamp() and kept.is_date()):
            raise DefinitionError(
                f"{given} would be rounded to {column.type}",
                where=f"{table.name}.{name}",
                next_step="declare the `places` of its column in source.yml, or round it where it "
                "is conformed.",
            )


def _sql(expression: ir.Table) -> str:
    return str(expression.compile())


def _merge(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    conformed_rows: str,
    is_own: bool,
    identity: tuple[str, str],
    batch_id: int,
    night: date,
    target: str,
) -> None:
    """Close what changed or vanished, open what is new, count both, check the result.

    `is_own`: the rows are those of the batch's records; else of the records in `touched`, and each
    has the `source` and `stream` of its own.
    """
    full = f"{target}.{table.name}"
    casts = ", ".join(
        f"CAST({identifier(name)} AS {column.type}) AS {identifier(name)}"
        for name, column in table.columns.items()
    )
    compared = [*table.own_columns, "flags", *(() if is_own else ("source", "stream"))]
    own = ", ".join(identifier(name) for name in compared)
    whose = f", {literal(identity[0])}, {literal(identity[1])}" if is_own else ""
    here = "version.source_record_id IN (FROM touched)"
    if is_own:
        here = (
            f"version.source = {literal(identity[0])} AND version.stream = {literal(identity[1])} "
            "AND version.source_record_id IN (SELECT _record_id FROM changed_record)"
        )
    key = " AND ".join(
        f"version.{identifier(part)} = closing.{identifier(part)}" for part in table.key
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE fresh AS
        SELECT {casts}, {", ".join(compared[len(table.columns) :])} FROM ({conformed_rows});
        CREATE OR REPLACE TEMP TABLE current AS
        SELECT {own}, valid_from FROM {full} AS version
        WHERE valid_to IS NULL AND {here};
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
        SELECT {", ".join(identifier(part) for part in table.key)},
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
        if target == "lake":
            _require_forward(connection, table, identity, night)
        connection.execute(
            f"""
            DELETE FROM {full} AS version USING closing
            WHERE version.valid_to IS NULL AND version.valid_from = DATE {literal(night)}
                AND closing.reason = 'replaced' AND {here} AND {key};
            UPDATE {full} AS version
            SET valid_to = DATE {literal(night)}, closed_batch_id = {batch_id},
                closed_reason = closing.reason
            FROM closing WHERE version.valid_to IS NULL AND {here} AND {key}
            """
        )
    if opened:
        connection.execute(
            f"""
            INSERT INTO {full}
            SELECT {own}{whose}, {batch_id}, DATE {literal(night)}, NULL, NULL, NULL
            FROM {opening}
            """
        )
    held, keys = connection.execute(
        f"""
        SELECT count(*), count(DISTINCT ({", ".join(identifier(part) for part in table.key)}))
        FROM {full} AS version WHERE valid_to IS NULL AND {here}
        """
    ).fetchone() or (0, 0)
    records = int(_scalar(connection, "SELECT count(*) FROM changed_record WHERE _op <> 'delete'"))
    one_each = is_own and table.key == ("source_record_id",)
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


def _require_forward(
    connection: duckdb.DuckDBPyConnection, table: Table, identity: tuple[str, str], night: date
) -> None:
    """No version ends before it begins. Raises NightInPast."""
    if later := _scalar(
        connection, f"SELECT count(*) FROM current WHERE valid_from > DATE {literal(night)}"
    ):
        raise NightInPast(
            f"{later} rows of {table.name} began after {night}",
            where=".".join(identity),
            next_step="nothing was loaded; see docs/operating.md, 'A clock that was wrong'.",
        )


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]

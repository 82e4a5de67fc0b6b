"""The recorded shape of every source and the drifts seen, written with the batch that saw them.

A drift is stored once, when it is first seen; an unchanged night writes nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb

from common.settings import Settings
from common.shape import Drift, Shape
from warehouse.catalog import insert, transaction, writing


class Batch(Protocol):
    """What of a ledger row is needed to tell which batch saw a drift."""

    source: str
    stream: str
    batch_id: int
    night: Any
    definition_hash: str


@dataclass(frozen=True)
class Seen:
    """A drift as stored."""

    source: str
    stream: str
    batch_id: int
    drift: Drift
    downstream: tuple[str, ...]
    default: str
    state: str
    definition_hash: str


@dataclass(frozen=True)
class Report:
    """What a batch has to write: the shape where it changed, drifts first seen with what they
    touch and the default applied, drifts that are over."""

    shape: Shape | None = None
    first_seen: Sequence[tuple[Drift, Sequence[str], str]] = ()
    over: Sequence[Seen] = ()


def recorded_shape(connection: duckdb.DuckDBPyConnection, source: str, stream: str) -> Shape:
    """The shape as it last changed; empty before the first batch."""
    return dict(
        connection.execute(
            "SELECT column_name, declared_type FROM lake.ops.source_column "
            "WHERE source = ? AND stream = ? ORDER BY place",
            [source, stream],
        ).fetchall()
    )


def standing(
    connection: duckdb.DuckDBPyConnection, source: str | None = None, stream: str | None = None
) -> list[Seen]:
    """Drifts that are open or accepted, the oldest first; of one source or stream where named."""
    rows = connection.execute(
        """
        SELECT source, stream, batch_id, kind, column_name, likely_column, was_type, now_type,
            rows_touched, downstream, default_applied, state, definition_hash
        FROM lake.ops.drift WHERE state <> 'gone'
            AND source = coalesce(?, source) AND stream = coalesce(?, stream)
        ORDER BY batch_id, stream, kind, column_name
        """,
        [source, stream],
    ).fetchall()
    return [
        Seen(of, part, batch, Drift(*drift), tuple(downstream), default, state, definition)
        for of, part, batch, *drift, downstream, default, state, definition in rows
    ]


def write(connection: duckdb.DuckDBPyConnection, batch: Batch, report: Report) -> None:
    """In the batch's transaction."""
    here = [batch.source, batch.stream]
    if report.shape is not None:
        _write_shape(connection, batch, report.shape)
    drifts = [
        [*here, batch.batch_id, batch.night, one.kind, one.column, one.likely, one.was,
         one.now, one.rows, list(downstream), default, "open", batch.definition_hash]
        for one, downstream, default in report.first_seen
    ]  # fmt: skip
    insert(connection, "ops.drift", drifts)
    for seen in report.over:
        connection.execute(
            "UPDATE lake.ops.drift SET state = 'gone' WHERE source = ? AND stream = ? "
            "AND batch_id = ? AND kind = ? AND column_name = ?",
            [*here, seen.batch_id, seen.drift.kind, seen.drift.column],
        )


def _write_shape(connection: duckdb.DuckDBPyConnection, batch: Batch, shape: Shape) -> None:
    here = "source = ? AND stream = ?"
    before = {
        name: (kind, first, changed)
        for name, kind, first, changed in connection.execute(
            "SELECT column_name, declared_type, first_batch_id, changed_batch_id "
            f"FROM lake.ops.source_column WHERE {here}",
            [batch.source, batch.stream],
        ).fetchall()
    }
    if before:
        connection.execute(
            f"DELETE FROM lake.ops.source_column WHERE {here}", [batch.source, batch.stream]
        )
    now = batch.batch_id
    rows = []
    for place, (name, kind) in enumerate(shape.items(), start=1):
        known, first, changed = before.get(name, (kind, now, now))
        rows.append([batch.source, batch.stream, place, name, kind, first,
                     changed if known == kind else now])  # fmt: skip
    insert(connection, "ops.source_column", rows)


def accept(settings: Settings, *, source: str | None = None, up_to: int | None = None) -> int:
    """Mark open drifts as looked at: of one source, seen up to a batch, or all. Returns how many.

    What was stopped stays stopped until the definition fits.
    """
    with writing(settings) as connection:
        chosen = (
            "state = 'open' AND source = coalesce(?, source) AND batch_id <= coalesce(?, batch_id)"
        )
        values = [source, up_to]
        (count,) = connection.execute(
            f"SELECT count(*) FROM lake.ops.drift WHERE {chosen}", values
        ).fetchone() or (0,)
        if count:
            with transaction(connection):
                connection.execute(
                    f"UPDATE lake.ops.drift SET state = 'accepted' WHERE {chosen}", values
                )
        return int(count)

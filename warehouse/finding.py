"""What every rule found, batch by batch (`ops.finding`): counts only."""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import duckdb

CORE = "core"
"""Stands for the source of rules about the integrated tables."""


class Batch(Protocol):
    source: str
    stream: str
    batch_id: int
    night: date


@dataclass(frozen=True)
class Found:
    """One rule's counts, as of the newest batch that found something else than the one before."""

    source: str
    stream: str
    batch_id: int
    night: date
    rule: str
    severity: str
    rows_asked: int
    rows_broken: int


NEWEST = """
    FROM lake.ops.finding SEMI JOIN (
        SELECT source, stream, max(batch_id) AS batch_id FROM lake.ops.finding GROUP BY ALL
    ) AS newest USING (source, stream, batch_id)
"""


def write(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Record the table `finding` (place, rule, severity, rows_asked, rows_broken) if it differs
    from what is known. Call inside the batch's transaction."""
    columns = "rule, severity, rows_asked, rows_broken"
    known = f"SELECT {columns} {NEWEST} WHERE source = $source AND stream = $stream"
    here = {"source": batch.source, "stream": batch.stream}
    (differing,) = connection.execute(
        f"""
        SELECT count(*) FROM (
            (SELECT {columns} FROM finding EXCEPT {known}) UNION ALL
            ({known} EXCEPT SELECT {columns} FROM finding))
        """,
        here,
    ).fetchone() or (0,)
    if differing:
        connection.execute(
            f"""
            INSERT INTO lake.ops.finding
            SELECT $source, $stream, $batch_id, $night, {columns} FROM finding ORDER BY place
            """,
            {**here, "batch_id": batch.batch_id, "night": batch.night},
        )


def newest(connection: duckdb.DuckDBPyConnection) -> list[Found]:
    """What every rule of every stream and core table last found."""
    rows = connection.execute(f"SELECT * {NEWEST} ORDER BY source, stream").fetchall()
    return [Found(*row) for row in rows]

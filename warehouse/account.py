"""Reading the ledger: the newest attempt of every stream, and whether its account holds."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

COUNTS = (
    "extracted", "inserted", "updated", "unchanged", "deleted", "quarantined", "excluded",
    "flagged",
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One ledger row, as `muara status` shows it."""

    batch_id: int
    source: str
    stream: str
    night: date
    strategy: str
    outcome: str
    counts: dict[str, int]
    error: str | None
    committed_at: datetime
    fresh_as_of: date | None

    @property
    def balances(self) -> bool:
        homes = ("inserted", "updated", "unchanged", "quarantined", "excluded")
        return self.counts["extracted"] == sum(self.counts[name] for name in homes)


def attempts(
    connection: duckdb.DuckDBPyConnection, *, every: bool = False, after_batch: int = 0
) -> list[Attempt]:
    """The newest attempt per stream, or every one. `fresh_as_of` is the last night it was synced.

    A replay brings nothing new from a source: among the newest it appears only when it failed.
    """
    newest = (
        ""
        if every
        else "AND NOT (strategy = 'replay' AND outcome = 'loaded') "
        "QUALIFY row_number() OVER (PARTITION BY source, stream ORDER BY batch_id DESC) = 1"
    )
    rows = connection.execute(
        f"""
        SELECT batch_id, source, stream, night, strategy, outcome, {", ".join(COUNTS)},
            error_message, committed_at,
            max(night) FILTER (outcome = 'loaded' AND strategy <> 'replay')
                OVER (PARTITION BY source, stream ORDER BY batch_id)
        FROM lake.ops.ledger WHERE batch_id > {after_batch}
        {newest} ORDER BY batch_id
        """
    ).fetchall()
    return [_attempt(row) for row in rows]


def _attempt(row: tuple[Any, ...]) -> Attempt:
    head, counts, tail = row[:6], row[6 : 6 + len(COUNTS)], row[6 + len(COUNTS) :]
    batch_id, source, stream, night, strategy, outcome = head
    error, committed_at, fresh_as_of = tail
    return Attempt(
        batch_id, source, stream, night, strategy, outcome, dict(zip(COUNTS, counts, strict=True)),
        error, committed_at, fresh_as_of,
    )  # fmt: skip


def last_batch(connection: duckdb.DuckDBPyConnection, before: date | None = None) -> int:
    """The newest batch number, of nights `before` that one if it is given; 0 where none is."""
    row = connection.execute(
        "SELECT coalesce(max(batch_id), 0) FROM lake.ops.ledger "
        "WHERE $before IS NULL OR night < $before",
        {"before": before},
    ).fetchone()
    return int(row[0]) if row else 0


def has_loaded(connection: duckdb.DuckDBPyConnection, source: str, stream: str) -> bool:
    """Whether any batch of the stream ever loaded."""
    found = connection.execute(
        "SELECT 1 FROM lake.ops.ledger WHERE source = ? AND stream = ? AND outcome = 'loaded' "
        "LIMIT 1",
        [source, stream],
    )
    return found.fetchone() is not None

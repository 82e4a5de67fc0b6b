"""By what every row of a stream was last judged: the reason to judge it again, or not to.

Written with the batch that judged all there is of a stream, and only when it changed.
"""

from dataclasses import dataclass
from typing import Protocol

import duckdb


class Batch(Protocol):
    """What of a ledger row is needed to tell which batch judged."""

    source: str
    stream: str
    batch_id: int


@dataclass(frozen=True)
class Judgement:
    """`rules_hash`: SHA-256 of the stream's rules and typing. `context_hash`: SHA-256 of what its
    rules look at beside the row."""

    rules_hash: str
    context_hash: str


def last(connection: duckdb.DuckDBPyConnection, source: str, stream: str) -> Judgement | None:
    """What judged all rows of the stream last; None when that is not known."""
    row = connection.execute(
        "SELECT rules_hash, context_hash FROM lake.ops.judgement WHERE source = ? AND stream = ?",
        [source, stream],
    ).fetchone()
    return Judgement(*row) if row else None


def write(connection: duckdb.DuckDBPyConnection, batch: Batch, now: Judgement) -> None:
    """In the batch's transaction."""
    if last(connection, batch.source, batch.stream) == now:
        return
    connection.execute(
        "DELETE FROM lake.ops.judgement WHERE source = ? AND stream = ?",
        [batch.source, batch.stream],
    )
    connection.execute(
        "INSERT INTO lake.ops.judgement VALUES (?, ?, ?, ?, ?)",
        [batch.source, batch.stream, batch.batch_id, now.rules_hash, now.context_hash],
    )

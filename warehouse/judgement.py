"""By what every row of a stream was last judged: the reason to judge it again, or not to.

Written with the batch that judged all there is of a stream, and only when it changed.
"""

from dataclasses import dataclass, field

import duckdb

from common.settings import Settings
from warehouse.catalog import transaction, writing
from warehouse.fingerprint import Batch, Part


@dataclass(frozen=True)
class Judgement:
    """`rules_hash`: SHA-256 of the stream's rules, typing and waivers. `context_hash`: SHA-256 of
    what its rules look at beside the row. `parts`: all of it, one by one."""

    rules_hash: str
    context_hash: str
    parts: tuple[Part, ...] = field(default=(), compare=False)


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


def note(settings: Settings, source: str, stream: str, now: Judgement) -> None:
    """That all rows would be judged so as well, found without a batch."""
    with writing(settings, "replay") as connection:
        with transaction(connection):
            connection.execute(
                "UPDATE lake.ops.judgement SET rules_hash = ?, context_hash = ? "
                "WHERE source = ? AND stream = ?",
                [now.rules_hash, now.context_hash, source, stream],
            )

"""By what every row of a stream was last judged: the reason to judge it again, or not to.

Written with the batch that judged all there is of a stream, and only when it changed.
"""

from dataclasses import dataclass

import duckdb

from common.settings import Settings
from warehouse.catalog import attach, open_duckdb, transaction, writer_lock


@dataclass(frozen=True)
class Judgement:
    """`rules_hash`: SHA-256 of the stream's rules, typing and waivers. `context_hash`: SHA-256 of
    what its rules look at beside the row."""

    rules_hash: str
    context_hash: str


def last(connection: duckdb.DuckDBPyConnection, source: str, stream: str) -> Judgement | None:
    """What judged all rows of the stream last; None when that is not known."""
    row = connection.execute(
        "SELECT rules_hash, context_hash FROM lake.ops.judgement WHERE source = ? AND stream = ?",
        [source, stream],
    ).fetchone()
    return Judgement(*row) if row else None


def write(connection: duckdb.DuckDBPyConnection, source: str, stream: str, now: Judgement) -> None:
    """In the transaction of the batch that judged all rows of the stream so."""
    if last(connection, source, stream) == now:
        return
    connection.execute(
        "DELETE FROM lake.ops.judgement WHERE source = ? AND stream = ?", [source, stream]
    )
    connection.execute(
        "INSERT INTO lake.ops.judgement VALUES (?, ?, ?, ?)",
        [source, stream, now.rules_hash, now.context_hash],
    )


def note(settings: Settings, source: str, stream: str, now: Judgement) -> None:
    """That all rows would be judged so as well, found without a batch."""
    with writer_lock(settings):
        connection = open_duckdb(settings)
        try:
            attach(connection, settings)
            with transaction(connection):
                write(connection, source, stream, now)
        finally:
            connection.close()

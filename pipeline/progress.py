"""How far each stream is covered: files by content, cursors by stretches, tables by checksums."""

from datetime import datetime, timedelta

import duckdb

from common.definition import Source, Stream
from common.settings import Settings
from connectors.readers import Interval, Progress, Sums
from warehouse.catalog import reading


def progress_of(
    settings: Settings, source: Source, stream: Stream, asked: Interval | None = None
) -> Progress:
    """What a reader must know of earlier batches. Raises WarehouseFault without a warehouse."""
    if stream.strategy == "snapshot":
        return Progress()
    with reading(settings) as connection:
        match stream.strategy:
            case "files" | "mailbox":
                return Progress(
                    files=_files(connection, source, stream),
                    listed=_listed(connection, source, stream),
                )
            case "cursor":
                covered = covered_until(intervals(connection, source, stream), overlap_of(stream))
                return Progress(covered_until=covered, asked=asked)
            case _:
                return Progress(sums=_sums(connection, source, stream))


def _files(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> frozenset[tuple[str, str]]:
    """The content that each file had when it was last loaded: one that went back to what it was
    before that is read again."""
    return frozenset(
        connection.execute(
            "SELECT origin, arg_max(sha256, batch_id) FROM lake.ops.file "
            "WHERE source = ? AND stream = ? AND outcome = 'loaded' GROUP BY origin",
            [source.name, stream.name],
        ).fetchall()
    )


def _listed(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> frozenset[tuple[str, int, str]]:
    return frozenset(
        connection.execute(
            "SELECT origin, size_bytes, version FROM lake.ops.listing "
            "WHERE source = ? AND stream = ?",
            [source.name, stream.name],
        ).fetchall()
    )


def intervals(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> list[tuple[datetime | None, datetime]]:
    """The stretches that were loaded, by where they begin."""
    return connection.execute(
        "SELECT low_at, high_at FROM lake.ops.interval WHERE source = ? AND stream = ? "
        "AND outcome = 'loaded' ORDER BY low_at NULLS FIRST, high_at",
        [source.name, stream.name],
    ).fetchall()


def overlap_of(stream: Stream) -> timedelta:
    """How long after its stamp a row may still be committed."""
    return timedelta(minutes=stream.cursor.overlap_minutes if stream.cursor else 0)


def covered_until(
    loaded: list[tuple[datetime | None, datetime]], overlap: timedelta
) -> datetime | None:
    """The end of what is covered from the beginning without a gap; None when nothing is.

    `loaded` is ordered by where stretches begin. It is a union of stretches, never the largest
    timestamp seen: a failed night is simply read again. A stretch goes on only where it reaches
    back by the overlap, as each night's does: beside one that merely adjoins (a backfill), rows
    committed late would be lost. So a wider overlap reads once again what was read with a narrower.
    """
    end = None
    for low, high in loaded:
        if low is None or (end is not None and low <= end - overlap):
            end = high if end is None else max(end, high)
    return end


def _sums(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> Sums | None:
    found = connection.execute(
        "SELECT any_value(bits), any_value(shape), count(*) FROM lake.ops.checksum "
        "WHERE source = ? AND stream = ?",
        [source.name, stream.name],
    ).fetchone()
    if not found or not found[2]:
        return None
    table = connection.execute(
        "SELECT bucket, rows, sum FROM lake.ops.checksum WHERE source = ? AND stream = ?",
        [source.name, stream.name],
    ).to_arrow_table()
    return Sums(found[0], found[1], table)

"""What is not covered, and reading it: streams that did not load, stretches of cursors, files.

A gap is what was attempted and did not arrive, or a hole between what did. A night of zero rows is
a success; a night on which nothing ran is not known here.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import duckdb
import pyarrow as pa

from common.connection import Resolver
from common.definition import Source, Stream
from common.errors import MuaraError
from common.settings import Settings
from connectors.readers import Interval
from pipeline.progress import progress_of
from pipeline.sync import sync
from warehouse.catalog import reading


@dataclass(frozen=True)
class Gap:
    """One thing that is missing.

    `night`: the stream has not loaded since its attempt of night `since`, `attempts` of them; None
    and 0 when it was never tried. `stretch`: its cursor from `low` (None: the beginning) up to
    `high`. `file`: `origin` was refused, first in night `since`.
    """

    source: str
    stream: str
    kind: Literal["night", "stretch", "file"]
    what: str
    next_step: str
    since: date | None = None
    attempts: int = 0
    error: str | None = None
    low: datetime | None = None
    high: datetime | None = None
    origin: str | None = None

    @property
    def place(self) -> tuple[str, str, str, datetime | None, str | None]:
        """What makes two gaps the same one, on different days."""
        return self.source, self.stream, self.kind, self.low, self.origin


@dataclass(frozen=True)
class Repair:
    """What a repair closed and what remains; `failure` is the first error met."""

    closed: list[Gap]
    remaining: list[Gap]
    failure: MuaraError | None


def gaps(settings: Settings, sources: dict[str, Source]) -> list[Gap]:
    """Every gap of these sources' streams, in the order of the definitions.

    Raises WarehouseFault without a warehouse.
    """
    streams = [(source, stream) for source in sources.values() for stream in source.streams]
    with reading(settings) as connection:
        connection.register(
            "declared",
            pa.table(
                {
                    "source": [source.name for source, _ in streams],
                    "stream": [stream.name for _, stream in streams],
                    "strategy": [stream.strategy for _, stream in streams],
                }
            ),
        )
        found = [*_nights(connection), *_stretches(connection), *_files(connection)]
    order = [(source.name, stream.name) for source, stream in streams]
    return sorted(found, key=lambda gap: order.index((gap.source, gap.stream)))


def repair(
    settings: Settings,
    sources: dict[str, Source],
    resolve: Resolver,
    stream_name: str | None = None,
) -> Repair:
    """Read again what is missing. Any number of times: what has no gap is not touched.

    A stretch inside what is covered (a failed backfill) is read by itself. All else is what the
    next sync reads: a cursor goes on from where it is covered without a gap, less its overlap, so
    that rows committed late beside a hole are read with it; of files, only loaded ones are known.
    """

    def missing() -> list[Gap]:
        return [gap for gap in gaps(settings, sources) if stream_name in (None, gap.stream)]

    failure: MuaraError | None = None
    before = missing()
    for source_name, name in dict.fromkeys((gap.source, gap.stream) for gap in before):
        source = sources[source_name]
        stream = source.stream(name)
        try:
            for stretch in _inside(settings, source, stream, before):
                sync(settings, source, stream, resolve, interval=stretch)
            if any((gap.source, gap.stream) == (source_name, name) for gap in missing()):
                sync(settings, source, stream, resolve)
        except MuaraError as error:
            failure = failure or error
    remaining = missing()
    places = {gap.place for gap in remaining}
    return Repair([gap for gap in before if gap.place not in places], remaining, failure)


def _inside(settings: Settings, source: Source, stream: Stream, found: list[Gap]) -> list[Interval]:
    """The stretches to be read that lie inside what the stream's cursor covers."""
    covered = progress_of(settings, source, stream).covered_until
    return [
        Interval(gap.low, gap.high)
        for gap in found
        if (gap.source, gap.stream) == (source.name, stream.name)
        and gap.high and covered and gap.high <= covered
    ]  # fmt: skip


def _nights(connection: duckdb.DuckDBPyConnection) -> list[Gap]:
    """Streams whose newest attempt did not load, or that have none."""
    rows = connection.execute(
        """
        WITH attempt AS (
            SELECT declared.source, declared.stream, batch_id, night, error_code, error_message,
                max(batch_id) FILTER (outcome = 'loaded') OVER here AS loaded_batch_id,
                max(night) FILTER (outcome = 'loaded') OVER here AS loaded_night
            FROM declared LEFT JOIN (FROM lake.ops.ledger WHERE strategy <> 'replay') AS ledger
                USING (source, stream)
            WINDOW here AS (PARTITION BY declared.source, declared.stream))
        SELECT source, stream, any_value(loaded_night), min(night), count(batch_id),
            arg_max(error_code, batch_id), arg_max(error_message, batch_id)
        FROM attempt WHERE batch_id IS NULL OR batch_id > coalesce(loaded_batch_id, 0)
        GROUP BY source, stream
        """
    ).fetchall()
    return [_night(*row) for row in rows]


def _night(
    source: str,
    stream: str,
    loaded: date | None,
    since: date | None,
    attempts: int,
    code: str | None,
    message: str | None,
) -> Gap:
    last = f"last loaded for {loaded}" if loaded else "never loaded"
    if not attempts:
        return Gap(source, stream, "night", last, _next(source, stream))
    told, advice = _told(message or "", f"{source}.{stream}: ")
    what = f"{last}; {_times(attempts)} since {since}: {code}, {told}"
    return Gap(
        source, stream, "night", what, _next(source, stream, advice), since, attempts, code
    )  # fmt: skip


def _stretches(connection: duckdb.DuckDBPyConnection) -> list[Gap]:
    """What of a cursor is not covered: holes up to the end of what was ever loaded, and failed
    stretches less what later batches loaded of them. Overlapping ones are one gap."""
    rows = connection.execute(
        """
        WITH stretch AS (
            SELECT source, stream, batch_id, outcome,
                coalesce(low_at, TIMESTAMP '-infinity') AS low, high_at AS high
            FROM lake.ops.interval
            SEMI JOIN (FROM declared WHERE strategy = 'cursor') AS here USING (source, stream)),
        loaded AS (FROM stretch WHERE outcome = 'loaded'),
        wanted AS (
            SELECT source, stream, 0 AS after, TIMESTAMP '-infinity' AS low, max(high) AS high
            FROM loaded GROUP BY source, stream
            UNION ALL
            SELECT source, stream, batch_id, low, high FROM stretch WHERE outcome <> 'loaded'),
        covering AS (
            SELECT wanted.*, loaded.low AS covered_from, loaded.high AS covered_to
            FROM wanted JOIN loaded ON loaded.source = wanted.source
                AND loaded.stream = wanted.stream AND loaded.batch_id > wanted.after
                AND loaded.low < wanted.high AND loaded.high > wanted.low
            UNION ALL
            SELECT *, high, high FROM wanted),
        uncovered AS (
            SELECT source, stream, greatest(low, coalesce(max(covered_to) OVER (
                    PARTITION BY source, stream, after ORDER BY covered_from, covered_to
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), low)) AS rest_low,
                covered_from AS rest_high
            FROM covering),
        numbered AS (
            SELECT *, rest_low <= max(rest_high) OVER (
                PARTITION BY source, stream ORDER BY rest_low, rest_high
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS goes_on
            FROM uncovered WHERE rest_low < rest_high),
        island AS (
            SELECT *, count(*) FILTER (goes_on IS NOT TRUE) OVER (
                PARTITION BY source, stream ORDER BY rest_low, rest_high
                ROWS UNBOUNDED PRECEDING) AS number
            FROM numbered)
        SELECT source, stream, nullif(min(rest_low), TIMESTAMP '-infinity'), max(rest_high)
        FROM island GROUP BY source, stream, number ORDER BY min(rest_low)
        """
    ).fetchall()
    return [
        Gap(source, stream, "stretch", f"{Interval(low, high)} is not covered",
            _next(source, stream), low=low, high=high)
        for source, stream, low, high in rows
    ]  # fmt: skip


def _files(connection: duckdb.DuckDBPyConnection) -> list[Gap]:
    """Files that were refused or had to wait, and neither loaded under the same name since nor were
    taken away."""
    rows = connection.execute(
        """
        WITH seen AS (
            SELECT file.source, file.stream, origin, batch_id, night, file.error_message,
                max(batch_id) FILTER (file.outcome IN ('loaded', 'gone'))
                    OVER (PARTITION BY file.source, file.stream, origin) AS loaded_batch_id
            FROM lake.ops.file
            SEMI JOIN (FROM declared WHERE strategy IN ('files', 'mailbox')) AS here
                USING (source, stream)
            JOIN lake.ops.ledger USING (batch_id))
        SELECT source, stream, origin, min(night), count(DISTINCT batch_id),
            arg_max(error_message, batch_id)
        FROM seen WHERE batch_id > coalesce(loaded_batch_id, 0)
        GROUP BY source, stream, origin ORDER BY origin
        """
    ).fetchall()
    return [_file(*row) for row in rows]


def _file(
    source: str, stream: str, origin: str, since: date, attempts: int, message: str | None
) -> Gap:
    told, advice = _told(message or origin, f"{source}.{stream} ")
    what = f"{told}; {_times(attempts)} since {since}"
    return Gap(
        source, stream, "file", what, _next(source, stream, advice), since, attempts,
        origin=origin,
    )  # fmt: skip


def _times(attempts: int) -> str:
    return f"{attempts} attempt{'' if attempts == 1 else 's'}"


def _told(message: str, prefix: str) -> tuple[str, str]:
    """What happened, without the place that is said already, and what the error advised."""
    what, _, advice = message.partition(" Next: ")
    return what.removeprefix(prefix).removesuffix("."), advice


def _next(source: str, stream: str, advice: str = "") -> str:
    """What the error advised, then the command that reads it again."""
    command = f"`muara repair {source} {stream}`"
    return f"{advice.removesuffix('.')}, then {command}" if advice else command

"""Stretches of the past read again, one batch each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from common import clock
from common.connection import Resolver
from common.definition import Source, Stream
from common.errors import DefinitionError
from common.log import stage as mark
from common.settings import Settings
from connectors.readers import Interval, Progress, Pull, sql
from pipeline.sync import require_open_hours, sync
from warehouse.catalog import reading
from warehouse.load import Account


@dataclass(frozen=True)
class Step:
    """A stretch of a backfill. `is_loaded`: the newest attempt at exactly it loaded. `rows`: what
    the source holds of it now; `seconds`: what that costs at this stream's own speed so far."""

    interval: Interval
    is_loaded: bool
    rows: int | None = None
    seconds: float | None = None


def steps(
    settings: Settings,
    source: Source,
    stream: Stream,
    low: datetime,
    high: datetime,
    length: timedelta,
) -> list[Step]:
    """[low, high) in the source's own time, cut into stretches of `length`.

    Raises DefinitionError for streams that have no past to read, and for an empty or future time.
    """
    where = f"{source.name}.{stream.name}"
    if stream.strategy != "cursor":
        raise DefinitionError(
            f"strategy `{stream.strategy}` can only be read as it is now; only `cursor` has a past",
            where=where,
            next_step=f"`muara sync {source.name} {stream.name}`.",
        )
    tomorrow = datetime.combine(clock.today(settings), datetime.min.time()) + timedelta(days=1)
    if not low < high <= tomorrow:
        raise DefinitionError(
            f"{low} to {high} is no stretch of the past",
            where=where,
            next_step="give --from before --to, and --to not after today.",
        )
    with reading(settings) as connection:
        loaded = set(
            connection.execute(
                "SELECT low_at, high_at FROM lake.ops.interval WHERE source = ? AND stream = ? "
                "GROUP BY ALL HAVING arg_max(outcome, batch_id) = 'loaded'",
                [source.name, stream.name],
            ).fetchall()
        )
    found = []
    while low < high:
        end = min(low + length, high)
        found.append(Step(Interval(low, end), (low, end) in loaded))
        low = end
    return found


def estimate(
    settings: Settings, source: Source, stream: Stream, resolve: Resolver, chosen: list[Step]
) -> list[Step]:
    """The steps with their rows, counted by the source where it can, and seconds; nothing is read
    or written.

    Raises the SourceError family.
    """
    if stream.read.reader != "sql":
        return chosen
    require_open_hours(settings, source)
    mark("counting", source=source.name, stream=stream.name)
    pull = Pull(source, stream, resolve(stream.connection), settings, Progress())
    counts = sql.count(pull, [step.interval for step in chosen])
    with reading(settings) as connection:
        found = connection.execute(
            "SELECT sum(epoch(committed_at - started_at)) / sum(extracted) FROM lake.ops.ledger "
            "WHERE source = ? AND stream = ? AND outcome = 'loaded' AND extracted > 0 "
            "AND strategy <> 'replay'",
            [source.name, stream.name],
        ).fetchone()
    per_row = found[0] if found else None
    return [
        replace(step, rows=rows, seconds=None if per_row is None else rows * per_row)
        for step, rows in zip(chosen, counts, strict=True)
    ]


def backfill(
    settings: Settings, source: Source, stream: Stream, resolve: Resolver, chosen: list[Step]
) -> Iterator[Account]:
    """Read the steps one after another and yield each one's ledger row.

    Raises what `sync` raises at the first that fails: those before it are loaded.
    """
    for number, step in enumerate(chosen, start=1):
        mark("backfilling", source=source.name, stream=stream.name,
             step=f"{number} of {len(chosen)}")  # fmt: skip
        yield sync(settings, source, stream, resolve, interval=step.interval)

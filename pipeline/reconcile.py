"""Source and warehouse compared now, row by row where they may differ, and every difference named.

A difference is explained when its reason is known: the row is in quarantine or excluded, or it
changed since the last batch and the next one will bring it. One that no coming batch would mend is
unexplained, and an alarm.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from common import clock
from common.connection import Resolver
from common.definition import Source, Stream
from common.errors import Unreconciled
from common.log import log
from common.log import stage as mark
from common.quoting import identifier, literal
from common.settings import Settings
from connectors.readers import Progress, Pull, Sums, differing
from connectors.readers.sql.difference import bits_for, moved
from pipeline.progress import overlap_of, progress_of
from pipeline.sync import own_errors, require_open_hours
from transforms.standardise.typed import moment_in
from warehouse import reconcile as account
from warehouse import staging
from warehouse.catalog import require_night, transaction
from warehouse.load import key_bucket
from warehouse.reconcile import Difference, Reconciliation

NAMED_AT_MOST = 1000
OF_FILES = ("files", "mailbox")


@dataclass(frozen=True)
class Report:
    """The outcome as recorded, the records that differ (what is unexplained first, at most
    `NAMED_AT_MOST`), and how many rows of quarantine broke which rule."""

    outcome: Reconciliation
    differences: list[Difference]
    rules: dict[str, int]


def reconcile(settings: Settings, source: Source, stream: Stream, resolve: Resolver) -> Report:
    """Compare one stream with its source and record the outcome; `require_explained` raises.

    Raises the SourceError family (SourceResting outside the owner's hours), and WarehouseFault.
    """
    require_night(settings)
    outcome = Reconciliation(source.name, stream.name, clock.today(settings), clock.now())
    with own_errors(f"{source.name}.{stream.name}"):
        require_open_hours(settings, source)
        with (
            staging.staging(settings, source, stream) as area,
            transaction(area.connection),
        ):
            report = _compare(settings, area, resolve(stream.connection), outcome)
    outcome.reconciled_at = clock.now()
    account.record(settings, outcome)
    counts = {name: count for name, count in vars(outcome).items() if isinstance(count, int)}
    where = {"source": source.name, "stream": stream.name}
    log.info("reconciled", **where, **counts, **outcome.explained, **outcome.unexplained_kinds)
    return report


def _compare(
    settings: Settings, area: staging.Staging, url: str, outcome: Reconciliation
) -> Report:
    where = {"source": area.source.name, "stream": area.stream.name}
    account.hold(area)
    bits = bits_for(account.rows_held(area))
    held = Sums(bits, "content", account.sums(area, bits))
    mark("summed", **where)
    progress = progress_of(settings, area.source, area.stream)
    pull = Pull(area.source, _as_it_is(area.stream), url, settings)
    staging.stage(area, ((piece.rows, piece.origin) for piece in differing(pull, held)))
    staging.withdraw(area, pull.failed_files)
    staging.judge_duplicates(area)
    mark("pulled", **where)
    account.arrive(area)
    if area.stream.strategy in OF_FILES:
        account.set_aside_superseded(area)
    account.compare(area, pull.buckets if pull.scope == "buckets" else None, bits)
    account.explain(area, _will_come(pull, area, progress), _of_files(area.stream))
    outcome.method = "sums" if pull.scope == "buckets" else "rows"
    outcome.source_rows, outcome.rows_pulled = pull.present or 0, pull.extracted
    account.take_account(area, outcome)
    mark("compared", **where)
    return Report(
        outcome,
        account.name_differences(area, NAMED_AT_MOST),
        account.rules_of_quarantine(area),
    )


def _as_it_is(stream: Stream) -> Stream:
    """The stream, read without regard to what was read before."""
    if stream.strategy in OF_FILES:
        return stream
    return stream.model_copy(update={"strategy": "snapshot", "cursor": None})


def _will_come(pull: Pull, area: staging.Staging, progress: Progress) -> str:
    """SQL for `warehouse.reconcile.explain`: whether the stream's next batch brings a difference.

    A snapshot's next batch reads everything and brings whatever differs from what landed.
    """
    match area.stream.strategy:
        case "cursor":
            return _from_the_cursor_on(area.stream, progress)
        case "checksum":
            return _in_moved_buckets(pull, area, progress)
        case "files" | "mailbox":
            return _in_new_files(pull, area, progress)
        case _:
            return "true"


def _from_the_cursor_on(stream: Stream, progress: Progress) -> str:
    """The rows that the next batch reads: stamped where the cursor is not covered, or, in a
    database, not at all. It never learns of a deletion."""
    assert stream.cursor is not None
    if progress.covered_until is None:
        return "_there IS NOT NULL"
    low = progress.covered_until - overlap_of(stream)
    sent = f"raw.{identifier(stream.columns[stream.cursor.column].name)}"
    is_new = f"coalesce({moment_in(sent)} >= TIMESTAMP {literal(low)}, false)"
    if stream.read.reader == "sql":  # a zero date is no stamp
        is_new = f"({sent} IS NULL OR starts_with({sent}, '0000-00-00') OR {is_new})"
    return f"_there IS NOT NULL AND {is_new}"


def _in_moved_buckets(pull: Pull, area: staging.Staging, progress: Progress) -> str:
    """The source says itself where it changed since: its sums there are not those it gave when a
    batch last read it."""
    if progress.sums is None:
        return "true"
    bits = progress.sums.bits
    asked = account.key_buckets(area, bits)
    found = moved(replace(pull, progress=progress), asked) if asked else []
    if found is None:  # it would be summed in another way, so all of it is read
        return "true"
    area.connection.register("moved", pa.table({"bucket": pa.array(found, pa.int64())}))
    key = [f"coalesce(raw.{identifier(part)}, ours.{identifier(part)})" for part in area.stream.key]
    return f"{key_bucket(key, bits)} IN (SELECT bucket FROM moved)"


def _in_new_files(pull: Pull, area: staging.Staging, progress: Progress) -> str:
    states = [
        (file.origin, file.outcome if (file.origin, file.sha256) not in progress.files else "known")
        for file in pull.files
        if file.outcome != "gone"
    ]
    origins, found = zip(*states, strict=True) if states else ((), ())
    area.connection.register(
        "file_now",
        pa.table({"origin": pa.array(origins, pa.string()), "state": pa.array(found, pa.string())}),
    )
    new = "(SELECT origin FROM file_now WHERE state = 'loaded')"
    return f"coalesce(raw._origin IN {new}, false) OR coalesce(ours._origin IN {new}, false)"


def _of_files(stream: Stream) -> dict[str, str]:
    """Reasons that only files have: one that loaded and was taken away, or is unreadable now."""
    if stream.strategy not in OF_FILES:
        return {}
    return {
        "file_gone": "_kind = 'extra' AND ours._origin NOT IN (SELECT origin FROM file_now)",
        "file_unreadable": "_kind = 'extra' AND ours._origin IN "
        "(SELECT origin FROM file_now WHERE state IN ('failed', 'waiting'))",
    }


def require_explained(outcomes: Iterable[Reconciliation]) -> None:
    """Raises Unreconciled when something is unexplained; it names counts and kinds only."""
    alarms = [outcome for outcome in outcomes if outcome.unexplained]
    if not alarms:
        return
    kinds = {kind for outcome in alarms for kind in outcome.unexplained_kinds}
    raise Unreconciled(
        "; ".join(
            f"{outcome.source}.{outcome.stream}: "
            + ", ".join(f"{count} {kind}" for kind, count in outcome.unexplained_kinds.items())
            for outcome in alarms
        ),
        next_step="; ".join(f"{kind}: {account.NEXT_STEPS[kind]}" for kind in sorted(kinds)) + ".",
    )

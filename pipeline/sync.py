"""The way of one stream: read → stage → expectations → one transaction of the lake."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Protocol

import duckdb

from common import clock, scratch
from common.connection import Resolver
from common.definition import Source, Stream
from common.errors import (
    BatchStopped,
    MuaraError,
    SourceMalformed,
    SourceResting,
    SourceShapeChanged,
    WarehouseFault,
)
from common.failures import ours
from common.lock import alone
from common.log import log
from common.log import stage as mark
from common.settings import Settings
from connectors.readers import Interval, Pull, read
from connectors.readers.files import originals
from expectations.queries import kept_of
from expectations.runner import Finding, validate
from expectations.suite import columns_named_in, load_rules
from pipeline import drift
from pipeline.judging import judgement_of
from pipeline.progress import progress_of
from transforms.conform import conform_of
from transforms.standardise.typed import VERSION, typed
from warehouse import quarantine, staging
from warehouse.backup import copy
from warehouse.catalog import reading, require_night, set_up, tidy
from warehouse.copies import copies, copy_catalog
from warehouse.drift import Report, recorded_shape
from warehouse.load import Account, FileRecord, Reach, load, record_failure, unread
from warehouse.reference import load_reference
from warehouse.views import set_up_views


def sync(
    settings: Settings,
    source: Source,
    stream: Stream,
    resolve: Resolver,
    *,
    accept_deletions: bool = False,
    interval: Interval | None = None,
) -> Account:
    """Sync one stream and return its ledger row.

    `interval` reads that stretch of a cursor instead of what is new (a backfill). A failed or
    stopped attempt is recorded in the ledger too, then its error is raised (see common.errors).
    Files that cannot be read are recorded and raised after the good ones loaded.
    """
    account = new_account(settings, source, stream, stream.strategy)
    log.info("sync_started", source=source.name, stream=stream.name)
    pull = None
    try:
        with own_errors(f"{source.name}.{stream.name}"):
            require_open_hours(settings, source)
            with _alone(settings, source, stream):
                pull = Pull(
                    source,
                    stream,
                    resolve(stream.connection),
                    settings,
                    progress_of(settings, source, stream, interval),
                )
                supply = FromSource(pull, account)
                run(settings, source, stream, account, supply, accept_deletions=accept_deletions)
    except MuaraError as error:
        log_failure(account, error)
        with unrecorded_is_logged(account):
            bounds = _bounds((pull and pull.interval) or interval)
            record_failure(settings, account, error, bounds, _stopped_by(pull, error))
        raise
    if supply.unreadable:
        log_failure(account, supply.unreadable)
        raise supply.unreadable
    return account


def _alone(settings: Settings, source: Source, stream: Stream) -> AbstractContextManager[int]:
    """What was read first is also loaded first, or the older reading would undo the newer."""
    return alone(
        settings,
        f"sync.{source.name}.{stream.name}",
        what="another sync of this stream",
        next_step="wait for it to end; what it reads need not be read again.",
    )


def new_account(settings: Settings, source: Source, stream: Stream, strategy: str) -> Account:
    """A ledger row of tonight, nothing counted yet. Raises NightInPast."""
    require_night(settings, "replay")
    return Account(
        source=source.name,
        stream=stream.name,
        night=clock.today(settings),
        strategy=strategy,
        definition_hash=source.fingerprint,
        started_at=clock.now(),
    )


def require_open_hours(settings: Settings, source: Source) -> None:
    """Raises SourceResting outside the hours in which the owner lets us in."""
    now = datetime.now(settings.zone).time()
    if source.window and not source.window.holds(now):
        raise SourceResting(
            f"may be read from {source.window.start:%H:%M} to {source.window.end:%H:%M} only",
            where=source.name,
            next_step="run it then, or agree other hours with the owner and change `window`.",
        )


def _bounds(interval: Interval | None) -> tuple[datetime | None, datetime] | None:
    return (interval.low, interval.high) if interval else None


def _stopped_by(pull: Pull | None, error: MuaraError) -> Report:
    """The drifts of a batch that was stopped: they may be why."""
    if not (pull and pull.drifts and isinstance(error, SourceShapeChanged | BatchStopped)):
        return Report()
    with reading(pull.settings) as connection:
        return drift.report(connection, pull, stopped=True)


def log_failure(account: Account, error: MuaraError) -> None:
    log.error(
        "sync_failed",
        source=account.source,
        stream=account.stream,
        error=error.code,
        text=str(error),
    )


@contextmanager
def unrecorded_is_logged(account: Account) -> Iterator[None]:
    """An attempt that cannot even be recorded (the disk is full, the lock is not free) still ends
    with the error that stopped it."""
    try:
        with own_errors(f"{account.source}.{account.stream}"):
            yield
    except MuaraError as error:
        log.error("failure_not_recorded", source=account.source, stream=account.stream,
                  error=error.code, text=str(error))  # fmt: skip


@contextmanager
def own_errors(where: str) -> Iterator[None]:
    """DuckDB and the disk speak our language, without their texts: those may quote a row."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise WarehouseFault(
            "the batch needs more memory than it may take",
            where=where,
            next_step="set a larger `batch_memory_limit`; nothing of this batch was loaded.",
        ) from None
    except (duckdb.Error, OSError) as error:
        raise ours(error, where) from None


class Supply(Protocol):
    """Whence the rows of a batch come: from a source, or from the warehouse itself.

    `bring` stages them; afterwards `extracted` is its own count of them and `announced` that of
    whom it asked. `whole` says whether they are all there is of the stream.
    """

    extracted: int
    announced: int | None
    whole: bool

    def bring(self, area: staging.Staging) -> None: ...

    def judge(self, findings: list[Finding]) -> None: ...

    def files(self) -> list[FileRecord]: ...

    def reach(self) -> Reach: ...

    def drifts(self, connection: duckdb.DuckDBPyConnection) -> Report: ...


class FromSource:
    """What a reader pulls."""

    announced: int | None = None
    extracted = 0
    whole = True

    def __init__(self, pull: Pull, account: Account) -> None:
        self.pull, self.account = pull, account
        self.unreadable: SourceMalformed | None = None

    def bring(self, area: staging.Staging) -> None:
        pull = self.pull
        pull.known_shape = recorded_shape(area.connection, pull.source.name, pull.stream.name)
        staging.stage(area, ((piece.rows, piece.origin) for piece in read(pull)))
        staging.withdraw(area, pull.failed_files)
        self.extracted, self.announced = pull.extracted, pull.announced
        self.whole = pull.scope == "all"

    def judge(self, findings: list[Finding]) -> None:
        drift.judge(self.pull, findings)
        if unreadable := _unreadable_files(self.pull):
            self.unreadable = unreadable
            self.account.error_code, self.account.error_message = unreadable.code, str(unreadable)

    def files(self) -> list[FileRecord]:
        return [
            FileRecord(
                file.origin,
                file.sha256,
                file.size,
                file.outcome,
                file.error,
                file.version,
                file.found.get("sheets", []),
                file.found.get("other_sheets", {}),
            )
            for file in self.pull.files
        ]

    def reach(self) -> Reach:
        sums = self.pull.sums
        return Reach(
            scope=self.pull.scope,
            buckets=self.pull.buckets,
            bits=sums.bits if sums else 0,
            shape=sums.shape if sums else "",
            sums=sums.table if sums else None,
            interval=_bounds(self.pull.interval),
        )

    def drifts(self, connection: duckdb.DuckDBPyConnection) -> Report:
        return drift.report(connection, self.pull)


def run(
    settings: Settings,
    source: Source,
    stream: Stream,
    account: Account,
    supply: Supply,
    *,
    accept_deletions: bool = False,
) -> None:
    """Stage what the supply brings, judge it and load it; fills the account."""
    rules = load_rules(settings, source)[stream.name]
    where = {"source": source.name, "stream": stream.name}
    with staging.staging(settings, source, stream) as area:
        judged_by = judgement_of(area.connection, source, stream, rules, account.night)
        mark("pulling", **where)
        supply.bring(area)
        account.extracted = supply.extracted
        mark("pulled", **where)
        staging.judge_duplicates(area)
        staging.check_arrival(area, supply.extracted, supply.announced)
        staging.give_context(area, account.night)
        is_named = columns_named_in(rules)
        staging.type_rows(
            area,
            lambda rows: typed(rows, stream),
            lambda name: is_named(name) or name == stream.stamp,
        )
        staging.give_known(
            area, lambda rows: typed(rows, stream), is_named, unread(area, supply.reach())
        )
        mark("staged", **where)
        supply.judge(
            validate(
                area.connection,
                rules,
                where=area.where,
                whole=supply.whole,
                kept=kept_of(settings, area.where),
            )
        )
        mark("validated", **where)
        load(
            settings,
            area,
            account,
            typed=lambda rows: typed(rows, stream),
            conform=conform_of(source, stream.name),
            files=supply.files(),
            reach=supply.reach(),
            accept_deletions=accept_deletions,
            drifts=supply.drifts(area.connection),
            judged_by=judged_by,
        )
    log.info("sync_loaded", **{k: v for k, v in asdict(account).items() if isinstance(v, int)})


def _unreadable_files(pull: Pull) -> SourceMalformed | None:
    failed = pull.failed_files
    if not failed:
        return None
    return SourceMalformed(
        f"{len(failed)} of {len(pull.files)} file(s) could not be read: "
        + "; ".join(error or origin for origin, error in failed.items()),
        where=pull.where,
        next_step="the other files were loaded.",
    )


def prepare(settings: Settings, sources: dict[str, Source]) -> None:
    """Before a night: tables and reference data as declared, leftovers of killed runs removed.

    Harmless when nothing is to be done, and while other batches run. Raises NightInPast, and
    WarehouseFault when the lake is lost or damaged.
    """
    require_night(settings, "replay")
    staging.clear_abandoned(settings)
    originals.clear_abandoned(settings)
    scratch.clear_abandoned(settings.home / "spill")
    copy.clear_abandoned(settings)
    originals.forget_old(settings, sources)
    set_up(settings, sources)
    tidy(settings)
    set_up_views(settings, sources, lambda stream: lambda rows: typed(rows, stream), VERSION)
    load_reference(settings)
    quarantine.rename_old_state(settings)
    if not any(copy.night == clock.today(settings) for copy in copies(settings)):
        copy_catalog(settings)

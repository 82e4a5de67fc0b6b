"""The way of one stream: read → stage → expectations → one transaction of the lake."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import duckdb

from common import clock
from common.connection import Resolver
from common.definition import Source, Stream
from common.errors import MuaraError, SourceMalformed, WarehouseFault
from common.log import log
from common.log import stage as mark
from common.settings import Settings
from connectors.readers import Pull, read
from expectations.runner import validate
from expectations.suite import columns_named_in, load_rules
from transforms.conform import conform_of
from transforms.standardise.typed import VERSION, typed
from warehouse import staging
from warehouse.catalog import reading, set_up, tidy
from warehouse.load import Account, FileRecord, load, record_failure
from warehouse.reference import load_reference
from warehouse.views import set_up_views


def sync(
    settings: Settings,
    source: Source,
    stream: Stream,
    resolve: Resolver,
    *,
    accept_deletions: bool = False,
) -> Account:
    """Sync one stream and return its ledger row.

    A failed or stopped attempt is recorded in the ledger too, then its error is raised (see
    common.errors). Files that cannot be read are recorded and raised after the good ones loaded.
    """
    account = Account(
        source=source.name,
        stream=stream.name,
        night=clock.today(settings),
        strategy=stream.strategy,
        definition_hash=source.fingerprint,
        started_at=clock.now(),
    )
    log.info("sync_started", source=source.name, stream=stream.name)
    try:
        with _own_errors(f"{source.name}.{stream.name}"):
            unreadable = _run(settings, source, stream, resolve, account, accept_deletions)
    except MuaraError as error:
        _log_failure(account, error)
        record_failure(settings, account, error)
        raise
    if unreadable:
        _log_failure(account, unreadable)
        raise unreadable
    return account


def _log_failure(account: Account, error: MuaraError) -> None:
    log.error(
        "sync_failed",
        source=account.source,
        stream=account.stream,
        error=error.code,
        text=str(error),
    )


@contextmanager
def _own_errors(where: str) -> Iterator[None]:
    """DuckDB and the disk speak our language, without their texts: those may quote a row."""
    try:
        yield
    except duckdb.Error as error:
        raise WarehouseFault(
            f"DuckDB refused ({type(error).__name__})",
            where=where,
            next_step="run `muara doctor`; nothing of this batch was loaded.",
        ) from None
    except OSError as error:
        raise WarehouseFault(
            f"the disk refused ({errno.errorcode.get(error.errno or 0, 'unknown')})",
            where=where,
            next_step="make room or correct the rights in MUARA_HOME; nothing was loaded.",
        ) from None


def _run(
    settings: Settings,
    source: Source,
    stream: Stream,
    resolve: Resolver,
    account: Account,
    accept_deletions: bool,
) -> SourceMalformed | None:
    """Load the batch; returns what to say of files that could not be read."""
    rules = load_rules(settings, source)[stream.name]
    where = {"source": source.name, "stream": stream.name}
    pull = Pull(
        source, stream, resolve(stream.connection), settings, _known_files(settings, source, stream)
    )
    with staging.staging(settings, source, stream) as area:
        mark("pulling", **where)
        staging.stage(area, ((piece.rows, piece.origin) for piece in read(pull)))
        account.extracted = pull.extracted
        mark("pulled", **where)
        staging.judge_duplicates(area)
        staging.check_arrival(area, pull.extracted, pull.announced)
        staging.give_context(area, account.night)
        staging.type_rows(area, lambda rows: typed(rows, stream), columns_named_in(rules))
        mark("staged", **where)
        validate(area.connection, rules, where=pull.where)
        mark("validated", **where)
        unreadable = _unreadable_files(pull)
        if unreadable:
            account.error_code, account.error_message = unreadable.code, str(unreadable)
        load(
            settings,
            area,
            account,
            typed=lambda rows: typed(rows, stream),
            conform=conform_of(source, stream.name),
            files=[
                FileRecord(file.origin, file.sha256, file.size, file.outcome, file.error)
                for file in pull.files
            ],
            accept_deletions=accept_deletions,
        )
    log.info("sync_loaded", **{k: v for k, v in asdict(account).items() if isinstance(v, int)})
    return unreadable


def _unreadable_files(pull: Pull) -> SourceMalformed | None:
    failed = [file for file in pull.files if file.outcome == "failed"]
    if not failed:
        return None
    return SourceMalformed(
        f"{len(failed)} of {len(pull.files)} file(s) could not be read: "
        + "; ".join(file.error or file.origin for file in failed),
        where=pull.where,
        next_step="the other files were loaded.",
    )


def _known_files(settings: Settings, source: Source, stream: Stream) -> frozenset[tuple[str, str]]:
    if stream.strategy != "files":
        return frozenset()
    with reading(settings) as connection:
        return frozenset(
            connection.execute(
                "SELECT origin, sha256 FROM lake.ops.file "
                "WHERE source = ? AND stream = ? AND outcome = 'loaded'",
                [source.name, stream.name],
            ).fetchall()
        )


def prepare(settings: Settings, sources: dict[str, Source]) -> None:
    """Before a night: tables and reference data as declared, leftovers of killed runs removed.

    Harmless when nothing is to be done, and while other batches run.
    """
    staging.clear_abandoned(settings)
    set_up(settings, sources)
    set_up_views(settings, sources, lambda stream: lambda rows: typed(rows, stream), VERSION)
    load_reference(settings)
    tidy(settings)

"""Judging again what we hold, without asking the source: a sync whose source is the warehouse.

It reads the open entries of quarantine in the order of their arrival and the newest sound version
of every record, and loads them like any batch: a row that became sound lands, one that no longer is
goes to quarantine. Nothing is deleted, and what is newer in the warehouse is never overwritten.
"""

import duckdb

from common import clock
from common.definition import Source, Stream
from common.errors import MuaraError
from common.log import log
from common.settings import Settings
from expectations.queries import kept_of
from expectations.runner import Finding, validate
from expectations.suite import columns_named_in, load_rules
from pipeline.judging import judgement_of, looks_beside
from pipeline.sync import log_failure, new_account, own_errors, run, unrecorded_is_logged
from transforms.standardise.typed import typed
from warehouse import judgement, staging
from warehouse.account import has_loaded
from warehouse.catalog import reading
from warehouse.drift import Report
from warehouse.load import Account, FileRecord, Reach, record_failure

STRATEGY = "replay"


class FromWarehouse:
    """What the warehouse itself holds of the stream."""

    extracted = 0
    announced: int | None = None
    whole = False

    def bring(self, area: staging.Staging) -> None:
        self.extracted = staging.stage_own(area)

    def judge(self, findings: list[Finding]) -> None:
        """Codes and types were looked at when the rows came."""

    def files(self) -> list[FileRecord]:
        return []

    def reach(self) -> Reach:
        return Reach(scope="own")

    def drifts(self, connection: duckdb.DuckDBPyConnection) -> Report:
        return Report()


def replay(settings: Settings, source: Source, stream: Stream) -> Account:
    """Replay one stream and return its ledger row.

    A failed attempt is recorded in the ledger too, then its error is raised (see common.errors).
    """
    account = new_account(settings, source, stream, STRATEGY)
    log.info("replay_started", source=source.name, stream=stream.name)
    try:
        with own_errors(f"{source.name}.{stream.name}"):
            run(settings, source, stream, account, FromWarehouse())
    except MuaraError as error:
        log_failure(account, error)
        with unrecorded_is_logged(account):
            record_failure(settings, account, error)
        raise
    return account


def replay_due(settings: Settings, source: Source) -> tuple[list[Account], list[MuaraError]]:
    """Replay the streams of a source whose rows would be judged otherwise tonight than they were:
    rules, columns, a code list, another stream or a waiver changed since. Earlier streams first,
    for later ones look at them. One that fails does not stop the next; failures are returned."""
    accounts, failures = [], []
    for stream in source.streams:
        try:
            with own_errors(f"{source.name}.{stream.name}"):
                due = is_due(settings, source, stream)
            if due:
                accounts.append(replay(settings, source, stream))
        except MuaraError as error:
            failures.append(error)
    return accounts, failures


def is_due(settings: Settings, source: Source, stream: Stream) -> bool:
    """Whether the stream's rows may be judged otherwise tonight than when all of them were last;
    never before it loaded.

    When only what rules look at changed (a code list, another stream, the date), those rules are
    asked first: mostly they find what they found, and then that is noted instead.
    """
    rules = load_rules(settings, source)[stream.name]
    night = clock.today(settings)
    with reading(settings) as connection:
        now = judgement_of(connection, source, stream, rules, night)
        before = judgement.last(connection, source.name, stream.name)
        if before == now or not has_loaded(connection, source.name, stream.name):
            return False
    if before is None or before.rules_hash != now.rules_hash:
        return True
    looking = [rule for rule in rules if rule.is_about_rows and looks_beside(source, stream, rule)]
    with staging.staging(settings, source, stream) as area:
        staging.stage_own(area)
        staging.judge_duplicates(area)
        staging.give_context(area, night)
        needed = columns_named_in(looking)
        staging.type_rows(area, lambda rows: typed(rows, stream), needed)
        staging.give_known(area, lambda rows: typed(rows, stream), needed, unread=None)
        kept = kept_of(settings, f"{area.where}.looking")
        validate(area.connection, looking, where=area.where, whole=False, kept=kept)
        if not staging.found_before(area, [rule.rule for rule in looking]):
            return True
    judgement.note(settings, source.name, stream.name, now)
    return False

"""The whole night, and the questions it must answer before it may be called good."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from common import clock
from common import night as order
from common.connection import Resolver
from common.definition import Source, load_sources
from common.errors import MuaraError, WarehouseFault
from common.home_files import write_json
from common.lock import alone
from common.log import log
from common.settings import Settings
from pipeline import leaks, leave
from pipeline.replay import replay_due
from pipeline.steps import STEPS, Counts, Skipped
from pipeline.sync import own_errors, sync
from warehouse import alarms as stored
from warehouse import audit, finding, manifest, steps
from warehouse.account import attempts, last_batch
from warehouse.catalog import disagreements, reading
from warehouse.damage import look
from warehouse.shares import read_contracts

CHECK = "check"


@dataclass(frozen=True)
class Check:
    """One promise, asked after the night: does it hold, and if not, where."""

    name: str
    holds: bool
    detail: str


@contextmanager
def one_night(settings: Settings) -> Iterator[None]:
    """The lock of whoever runs a whole night, or moves the sample city to the next day.

    Raises WarehouseBusy after `lock_timeout_seconds`.
    """
    with alone(
        settings,
        "night",
        what="another night",
        next_step="wait for it to end; one more finds only what is new since.",
    ):
        yield


@dataclass(frozen=True)
class Failure:
    """A task of the night that failed, named as in Airflow: `sync_cctv.monitor`."""

    task: str
    error: MuaraError


def run(
    settings: Settings, sources: dict[str, Source], resolve: Resolver, *, on_copy: bool = False
) -> list[Failure]:
    """The night without Airflow, in the order of `common.night`, up to the checks, which the caller
    asks; on a copy of the home without the steps of which something leaves. Returns its failures;
    none stops what comes after it."""
    failures = []
    for stage in order.BEFORE_SOURCES:
        failures += _run_stage(settings, stage, resolve, on_copy)
    for source in order.by_schedule(sources):
        dag = f"sync_{source.name}"
        for stream in source.streams:
            try:
                sync(settings, source, stream, resolve)
            except MuaraError as error:
                failures.append(Failure(f"{dag}.{stream.name}", error))
        again = replay_due(settings, source)[1]
        failures += [Failure(f"{dag}.judge_again", error) for error in again]
    for stage in order.AFTER_SOURCES:
        failures += _run_stage(settings, stage, resolve, on_copy)
    return failures


def _run_stage(
    settings: Settings, stage: order.Stage, resolve: Resolver, on_copy: bool
) -> list[Failure]:
    failures = []
    for step in stage.steps:
        if step.name == CHECK or (on_copy and step.leaves):
            continue
        try:
            take(settings, stage, step, resolve)
        except MuaraError as error:
            failures.append(Failure(stage.task(step), error))
    return failures


def take(
    settings: Settings, stage: order.Stage, step: order.Step, resolve: Resolver
) -> Counts | Skipped:
    """Run one step and record what became of it. Raises what it raises."""
    task, started_at = stage.task(step), clock.now()

    def ended(outcome: Literal["done", "skipped", "failed"], code: str | None, why: str | None):
        return steps.Outcome(
            clock.today(settings), task, outcome, code, why, started_at, clock.now()
        )

    try:
        with own_errors(task):
            found = check(settings) if step.name == CHECK else STEPS[step.name](settings, resolve)
    except MuaraError as error:
        log.error("step_failed", task=task, error=error.code, text=str(error))
        with suppress(MuaraError, duckdb.Error):  # a warehouse that cannot be written
            steps.record(settings, ended("failed", error.code, str(error)))
        raise
    skipped = found.why if isinstance(found, Skipped) else None
    steps.record(settings, ended("skipped" if skipped else "done", None, skipped))
    return found


def check(settings: Settings) -> Counts:
    """The checks of tonight, for Airflow; their answers are left for `muara night`. Raises
    WarehouseFault naming those that do not hold."""
    with reading(settings) as connection:
        before = last_batch(connection, before=clock.today(settings))
    asked = checks(settings, load_sources(settings), before)
    write_json(answers_of(settings), [vars(one) for one in asked])
    if broken := [one for one in asked if not one.holds]:
        raise WarehouseFault(
            "; ".join(f"not so: {one.name} ({one.detail})" for one in broken),
            where=f"night of {clock.today(settings)}",
            next_step="`muara status` names each stream and step that failed.",
        )
    return {"checks": len(asked)}


def answers_of(settings: Settings) -> Path:
    """Where `check` leaves what it was answered."""
    return settings.home / "checks.json"


def checks(settings: Settings, sources: dict[str, Source], after_batch: int) -> list[Check]:
    """What `make night` promises: exit 0 only if every one of these holds."""
    with reading(settings) as connection:
        tonight = attempts(connection, after_batch=after_batch)
        wrong_shape = disagreements(connection, sources)
        after = steps.outcomes(connection, clock.today(settings))
        untold = list(_untold(settings, stored.alarms(connection)))
        search = leaks.Search(connection)
        named = leaks.in_metadata(settings, search)
        told = leaks.in_deliveries(
            settings, search, read_contracts(settings).in_force, sources, str(clock.today(settings))
        )
        broken = [
            f"{one.stream}.{one.rule}"
            for one in finding.newest(connection)
            if one.source == finding.CORE and one.severity == "critical" and one.rows_broken
        ]
    loaded = {(one.source, one.stream) for one in tonight if one.outcome == "loaded"}
    wanted = {
        (source.name, stream.name) for source in sources.values() for stream in source.streams
    }
    missing = sorted(".".join(pair) for pair in wanted - loaded)
    unbalanced = [f"{one.source}.{one.stream}" for one in tonight if not one.balances
                  and one.outcome == "loaded"]  # fmt: skip
    return [
        _check("every stream loaded", missing, f"{len(loaded)} of {len(wanted)} streams"),
        _check("every step of the night done", list(_undone(after)), f"{len(after)} steps"),
        _check("alarms reached somebody", untold, "none waits for a channel"),
        _check("every row accounted for", unbalanced, f"{len(tonight)} batches balance"),
        _check("tables as the schema home says", sorted(wrong_shape), "no difference"),
        _check("core keeps its own rules", broken, "no critical rule broken"),
        _check("no person in logs or metadata", named, "no name or number found"),
        contracts_check(settings),
        _check("nothing left but what is granted", told, "every column of every file searched"),
        _verified(settings, sources),
        _undamaged(settings),
        audit_kept(settings),
    ]


def summary(settings: Settings, after_batch: int, seconds: float) -> dict[str, Any]:
    """The night in numbers, for people."""
    with reading(settings) as connection:
        tonight = attempts(connection, after_batch=after_batch)
        persons = connection.execute(
            "SELECT count(*) FROM lake.core.person WHERE valid_to IS NULL AND status = 'resident'"
        ).fetchall()[0][0]
        open_alarms = [one for one in stored.alarms(connection) if one.state == "open"]
        # A stream that reads only what changed does not count again what is still broken.
        in_quarantine = connection.execute(
            "SELECT count(*) FROM lake.quarantine.row WHERE state = 'open'"
        ).fetchall()[0][0]
    night = clock.today(settings)
    folders = (settings.home / "extracts").glob(f"*/{night}/*")
    return {
        "night": str(night),
        "extracted": sum(one.counts["extracted"] for one in tonight),
        "inserted": sum(one.counts["inserted"] for one in tonight),
        "updated": sum(one.counts["updated"] for one in tonight),
        "deleted": sum(one.counts["deleted"] for one in tonight),
        "quarantined": in_quarantine,
        "persons": persons,
        "extract_files": sum(1 for _ in folders),
        "alarms": len(open_alarms),
        "seconds": round(seconds, 1),
    }


def audit_kept(settings: Settings) -> Check:
    """Whether the audit log and the portal's accounts are as they were written."""
    found = [str(fault) for fault in audit.faults(settings)]
    return _check("audit log and accounts as sealed", found, "every seal fits")


def _untold(settings: Settings, known: list[stored.Alarm]) -> Iterator[str]:
    """Open alarms that no channel took, though there are channels and they were not resting."""
    for alarm in known:
        waits = alarm.state == "open" and not alarm.told_at
        if settings.channels and waits and alarm.channel_outcome != "quiet_hours":
            yield f"alarm {alarm.alarm_id} ({alarm.channel_outcome})"


def _undone(after: dict[str, steps.Outcome]) -> Iterator[str]:
    """The steps that failed tonight or were not tried."""
    for stage in order.STAGES:
        for step in stage.steps:
            task = stage.task(step)
            if step.name != CHECK and task not in after:
                yield f"{task} did not run"
            elif step.name != CHECK and after[task].outcome == "failed":
                yield f"{task} failed ({after[task].error_code})"


def _check(name: str, faults: list[str], otherwise: str) -> Check:
    return Check(name, not faults, ", ".join(faults[:10]) if faults else otherwise)


def _verified(settings: Settings, sources: dict[str, Source]) -> Check:
    due = leave.due(settings, sources, clock.today(settings))
    faults = []
    with manifest.leaving(settings):
        for folder, files in due.items():
            try:
                manifest.verify(folder, files)
            except MuaraError as error:
                faults.append(str(error))
    return _check("what left matches its manifest", faults, f"{len(due)} verified")


def contracts_check(settings: Settings) -> Check:
    """Whether every agency with a contract can be given what it says."""
    contracts = read_contracts(settings)
    faults = [f"{file} {some[0]}" for file, some in contracts.faults.items()]
    return _check("contracts can be held", faults, f"{len(contracts.in_force)} in force")


def _undamaged(settings: Settings) -> Check:
    faults = [str(one) for found in look(settings).values() for one in found]
    return _check("nothing is damaged", faults, "catalog, files, nights and published copy")

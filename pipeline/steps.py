"""What each step of the night does that loads no stream, for the command line and a DAG task alike;
their order is `common.night`.

A step takes the settings and a resolver of connections and answers counts, or why it has nothing to
do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.connection import Resolver
from common.definition import load_sources
from common.errors import WarehouseFault
from common.settings import Settings
from pipeline import alarms, erasure, leave, open311
from pipeline.backup import backup
from pipeline.core_rules import judge_core
from pipeline.data_docs import write_data_docs
from pipeline.sync import prepare as make_ready
from warehouse import copies

Counts = dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """A step that the settings ask nothing of."""

    why: str


def prepare(settings: Settings, _: Resolver) -> Counts:
    make_ready(settings, load_sources(settings))
    return {}


def resume_erasures(settings: Settings, _: Resolver) -> Counts:
    """How many were still open."""
    return {"erased": len(erasure.resume(settings, load_sources(settings)))}


def link(settings: Settings, _: Resolver) -> Counts | Skipped:
    """What happened to persons' ids, by event."""
    if not settings.impact_assessment:
        return Skipped("no impact_assessment in the settings: nobody is linked")
    from pipeline.link import link

    return link(settings).events


def judge(settings: Settings, _: Resolver) -> Counts:
    """Broken rules of core per severity. Raises WarehouseFault, after Data Docs were written, when
    a critical one is among them."""
    found = judge_core(settings)
    write_data_docs(settings)
    broken = [(table, one) for table, some in found.items() for one in some if one.rows_broken]
    critical = sorted(f"{table}.{one.rule}" for table, one in broken if one.severity == "critical")
    if critical:
        raise WarehouseFault(
            f"core breaks {len(critical)} critical rule(s): {', '.join(critical)}",
            next_step="see the rules' pages in data_docs/current/index.html.",
        )
    severities = [one.severity for _, one in broken]
    return {name: severities.count(name) for name in ("critical", "warning", "info")}


def publish(settings: Settings, _: Resolver) -> Counts:
    """Rows per table."""
    return leave.publish(settings)


def deliver(settings: Settings, _: Resolver) -> Counts:
    """Agency → dataset → rows."""
    return leave.deliver(settings)


def return_rejections(settings: Settings, _: Resolver) -> Counts:
    """Agency → rows."""
    return leave.return_rejections(settings)


def send_reports(settings: Settings, resolve: Resolver) -> Counts:
    """Agency → what became of its reports → how many."""
    return open311.send(settings, resolve)


def back_up(settings: Settings, resolve: Resolver) -> Counts | Skipped:
    """Files and bytes of the backup, and bytes that were new at its place."""
    if not settings.backup_place:
        return Skipped("no backup_place in the settings: nothing is backed up")
    taken = backup(settings, resolve)
    return {"files": taken.files, "bytes": taken.bytes, "added": taken.added}


def check_alarms(settings: Settings, resolve: Resolver) -> Counts:
    """How many alarms stand, how many are over since, and how many units are still learned from."""
    morning = alarms.check(settings, load_sources(settings), resolve)
    return {
        "standing": len(morning.standing),
        "closed": len(morning.closed),
        "learning": len(morning.learning),
    }


def copy_catalog(settings: Settings, _: Resolver) -> Counts:
    """The snapshot that the copy ends with."""
    return {"snapshot": copies.copy_catalog(settings).snapshot}


STEPS: dict[str, Callable[[Settings, Resolver], Counts | Skipped]] = {
    step.__name__: step
    for step in (
        prepare,
        resume_erasures,
        link,
        judge,
        publish,
        deliver,
        return_rejections,
        send_reports,
        back_up,
        check_alarms,
        copy_catalog,
    )
}

"""The morning check: what of the night is unlike its habit becomes an alarm, and people are told.

An alarm stays open until it is over or somebody accepts it as the new habit. What is told and not
told is stored with it; a channel that fails never fails the night.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from common import clock
from common.calendar import Calendar, load_calendar
from common.connection import Resolver
from common.definition import Source
from common.errors import DefinitionError
from common.log import log
from common.settings import Settings
from pipeline.habit import Finding, Unit, Verdict, judge
from pipeline.telling import TOLD, message, tell
from warehouse.alarms import Alarm, alarms, next_alarm_id, store
from warehouse.catalog import reading, writing


@dataclass(frozen=True)
class Morning:
    """What the check found: alarms that stand, those that are over since, units that are too young
    to be judged."""

    standing: list[Alarm]
    closed: list[Alarm]
    learning: list[Unit]


def check(settings: Settings, sources: dict[str, Source], resolve: Resolver) -> Morning:
    """Judge the night, store what changed, and tell those who are to be told.

    Raises WarehouseFault without a warehouse, DefinitionError for a faulty calendar.
    """
    calendar = load_calendar(settings)
    until = _until(settings, calendar)
    with reading(settings) as connection:
        verdict = judge(connection, sources, calendar, until)
    with writing(settings) as connection:
        before = alarms(connection)
        after = follow(before, verdict, until.date(), next_alarm_id(connection))
        store(connection, [one for one in after if one not in before])
    is_quiet = calendar.quiet is not None and calendar.quiet.holds(until.time())
    told = _tell(settings, sources, resolve, after, is_quiet)
    if told != after:
        with writing(settings) as connection:
            store(connection, [one for one in told if one not in after])
    log.info("alarms_checked", night=str(until.date()), judged=len(verdict.volume_judged),
             learning=len(verdict.learning), found=len(verdict.findings))  # fmt: skip
    return Morning(
        standing=[one for one in told if one.state != "closed"],
        closed=[one for one in told if one.state == "closed"],
        learning=sorted(verdict.learning),
    )


def _until(settings: Settings, calendar: Calendar) -> datetime:
    """Up to when things should have arrived: now, or the alarms' hour of a day that was set."""
    if clock.is_set(settings):
        return datetime.combine(clock.today(settings), calendar.alarms_at)
    return datetime.now(settings.zone).replace(tzinfo=None)


def follow(before: Sequence[Alarm], verdict: Verdict, night: date, next_id: int) -> list[Alarm]:
    """The alarms after this night: those that go on, those that are over, and new ones.

    There is at most one alarm per unit for its volume and one for its clock. One that could not be
    judged again stays as it is. When a whole stream is silent, nobody is blamed for his part of it;
    when it is thin because of one who is named, it is not named beside him.
    """
    found = {_family(one.unit, one.kind): one for one in verdict.findings}
    after = []
    for alarm in before:
        unit = Unit(alarm.source, alarm.stream, alarm.submitter_code)
        if finding := found.pop(_family(unit, alarm.kind), None):
            after.append(_go_on(alarm, finding, night))
        elif _is_over(alarm, unit, verdict):
            after.append(replace(alarm, state="closed", closed_night=night))
        elif unit in verdict.present and alarm.kind != "clock":
            after.append(replace(alarm, last_night=night))
        else:
            after.append(alarm)
    new = [one for one in found.values() if not _is_explained(one, verdict.findings)]
    return after + [_raised(next_id + place, one, night) for place, one in enumerate(new)]


def _is_explained(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether another finding of the same stream's volume says why."""
    others = [
        one
        for one in findings
        if (one.unit.source, one.unit.stream) == (finding.unit.source, finding.unit.stream)
        and bool(one.unit.submitter) != bool(finding.unit.submitter)
        and one.kind != "clock"
    ]
    if finding.unit.submitter:
        return any(one.kind in ("missing", "frozen") for one in others)
    return finding.kind == "thin" and bool(others)


def _family(unit: Unit, kind: str) -> tuple[Unit, bool]:
    return unit, kind == "clock"


def _go_on(alarm: Alarm, finding: Finding, night: date) -> Alarm:
    return replace(alarm, kind=finding.kind, cause=finding.cause, nights=finding.nights,
                   since=min(alarm.since, finding.since), last_night=night,
                   expected=finding.expected, seen=finding.seen,
                   probability=finding.probability)  # fmt: skip


def _is_over(alarm: Alarm, unit: Unit, verdict: Verdict) -> bool:
    """Silence is over when something came, all else when it is judged and found no more."""
    if alarm.kind == "clock":
        return unit in verdict.clock_judged
    if alarm.cause != "habit":
        return unit in verdict.present
    if alarm.kind in ("missing", "frozen"):
        return unit in verdict.active
    return unit in verdict.volume_judged


def _raised(alarm_id: int, finding: Finding, night: date) -> Alarm:
    unit = finding.unit
    return Alarm(alarm_id, finding.kind, unit.source, unit.stream, unit.submitter, night,
                 finding.since, finding.nights, night, finding.cause, finding.expected,
                 finding.seen, finding.probability)  # fmt: skip


def _tell(
    settings: Settings,
    sources: dict[str, Source],
    resolve: Resolver,
    after: Sequence[Alarm],
    is_quiet: bool,
) -> list[Alarm]:
    """Tell what nobody has been told yet, and what is over that somebody was told; returns all
    alarms with what became of the message."""
    new = [one for one in after if one.state == "open" and not one.told_at]
    over = [one for one in after if one.state == "closed" and one.told_at]
    if not (new or over):
        return list(after)
    channels = settings.channels
    if not channels or is_quiet:
        outcome, told_at = "quiet_hours" if channels else "no_channel", None
    else:
        outcomes = tell(resolve, channels, *message(sources, new, over))
        outcome = ", ".join(f"{name} {what}" for name, what in outcomes.items())
        told_at = clock.now() if TOLD in outcomes.values() else None
    return [
        replace(one, channel_outcome=outcome, told_at=told_at or one.told_at)
        if one in new or one in over
        else one
        for one in after
    ]


def accept(settings: Settings, numbers: Sequence[int]) -> list[Alarm]:
    """Say of these open alarms that what they found is the new habit: its nights are learned from,
    and nobody is told again. Returns them. Raises DefinitionError for a number that is not open."""
    with writing(settings) as connection:
        standing = {one.alarm_id: one for one in alarms(connection) if one.state == "open"}
        if strange := [number for number in numbers if number not in standing]:
            raise DefinitionError(
                f"no open alarm has the number {', '.join(map(str, strange))}",
                next_step="`muara alarms` lists the open ones.",
            )
        accepted = [replace(standing[number], state="accepted") for number in numbers]
        store(connection, accepted)
    return accepted

"""The order of a night, in one place: Airflow's DAGs, `muara night` with and without Airflow and
the checks after it are made from it.

A night is: tables made ready, every source, then the stages of `AFTER_SOURCES`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from common.definition import Source


@dataclass(frozen=True)
class Step:
    """One task. It runs `after` others of its stage have ended, whatever became of them; without
    any, when its stage begins. `connects` to sources and agencies' servers, or to the channels for
    alarms. `leaves`: something of it reaches others, so a copy of the home does not take it."""

    name: str
    does: str
    after: tuple[str, ...] = ()
    connects: Literal["systems", "channels"] = "systems"
    leaves: bool = False


@dataclass(frozen=True)
class Stage:
    """One DAG; `at` is cron in the city's time, None for the hour of the calendar's alarms."""

    name: str
    does: str
    at: str | None
    steps: tuple[Step, ...]

    def task(self, step: Step) -> str:
        """A step's name that no other stage has."""
        return f"{self.name}.{step.name}"


BEFORE_SOURCES = (
    Stage(
        "prepare_night",
        "Tables, reference data and clearing up before the first source runs",
        "45 0 * * *",  # between two runs of half-hourly sources, before the first nightly one
        (
            Step("prepare", "tables as declared, leftovers of killed runs removed"),
            Step("resume_erasures", "erasures that were interrupted", after=("prepare",)),
        ),
    ),
)
AFTER_SOURCES = (
    Stage(
        "publish",
        "Who is who, core's own rules, marts and the analysts' published warehouse",
        "0 4 * * *",
        (
            Step("link", "who is who"),
            Step("judge", "core asked its own rules, and Data Docs", after=("link",)),
            # Without tonight's links, what core holds is still published.
            Step("publish", "marts and the analysts' copy", after=("judge",)),
        ),
    ),
    Stage(
        "deliver_extracts",
        "Every contract's extract, every agency's rejected rows",
        "0 5 * * *",
        (
            Step("deliver", "every contract's extract"),
            Step("return_rejections", "every agency's rejected rows"),
            # Of a share that could not be built anew, what the one before holds is still sent.
            Step(
                "send_reports", "reports for agencies' own servers", after=("deliver",), leaves=True
            ),
        ),
    ),
    Stage(
        "backup",
        "Everything that a night cannot make anew, encrypted, at another place",
        "45 5 * * *",
        (Step("back_up", "a verified backup, where a place for it is configured", leaves=True),),
    ),
    Stage(
        "morning",
        "Silence, thin submissions, frozen sources and odd clocks; and what the night must show",
        None,
        (
            Step(
                "check_alarms", "habits of streams and submitters", connects="channels", leaves=True
            ),
            Step("copy_catalog", "a copy of the catalog beside the lake", after=("check_alarms",)),
            Step("check", "the night's checks", after=("copy_catalog",)),
        ),
    ),
)
STAGES = (*BEFORE_SOURCES, *AFTER_SOURCES)


def by_schedule(sources: dict[str, Source]) -> list[Source]:
    """The sources in the order in which they first run after midnight."""
    from croniter import croniter

    midnight = datetime(2026, 1, 1)
    return sorted(
        sources.values(), key=lambda source: croniter(source.schedule, midnight).get_next(datetime)
    )

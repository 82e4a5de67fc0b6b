"""The fixed hours of the night, and how often a task of a source is tried."""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable

from common.settings import Settings


def at(cron: str) -> CronTriggerTimetable:
    """Each night at a time of the city.

    A new Airflow waits for the next such time instead of catching up with the last one: nothing
    has been loaded yet. (Not quite zero: the first time must survive a parse just after it.)
    """
    return CronTriggerTimetable(
        cron, timezone=Settings().timezone, run_immediately=timedelta(minutes=10)
    )


def retrying(owner: str, settings: Settings) -> dict[str, Any]:
    """`default_args` of a DAG: what is transient is tried again."""
    return {
        "owner": owner,
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
    }

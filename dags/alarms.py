"""What did not come, or not as it always does: judged at the morning hour of the city's calendar.

It runs by the clock and waits for nothing, so that a source that was never read is noticed too.
When the scheduler itself stands still, so does this: let another machine run `muara alarms --check`
(docs/alarms.md).
"""

from airflow.sdk import DAG, task

from common.calendar import load_calendar
from common.settings import Settings
from dags.failures import as_airflow_failures
from dags.schedule import at

HOUR = load_calendar(Settings()).alarms_at

with DAG(
    dag_id="alarms",
    description="Silence, thin submissions, frozen sources and odd clocks",
    doc_md=__doc__,
    schedule=at(f"{HOUR.minute} {HOUR.hour} * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["night"],
    default_args={"owner": "muara"},
):

    @task(multiple_outputs=False)
    def check() -> dict[str, int]:
        """Returns how many alarms stand, how many are over since, and how many units are still
        learned from."""
        from common.definition import load_sources
        from common.log import configure
        from dags.connections import channel_resolver
        from pipeline.alarms import check

        with as_airflow_failures():
            settings = Settings()
            configure(settings)
            morning = check(settings, load_sources(settings), channel_resolver(settings))
            return {
                "standing": len(morning.standing),
                "closed": len(morning.closed),
                "learning": len(morning.learning),
            }

    check()

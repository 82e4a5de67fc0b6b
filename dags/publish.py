"""Who is who, the analysts' copy and what the rules found, when every source has settled, and at
04:00 in any case.

The run at 04:00 is the one that counts when a source failed; on a good night it repeats the
publication with whatever the half-hourly sources brought since.
"""

from airflow.sdk import DAG, AssetAll, AssetOrTimeSchedule, task
from airflow.sdk.exceptions import AirflowSkipException

from common.definition import load_sources
from common.settings import Settings
from dags import assets
from dags.failures import as_airflow_failures
from dags.schedule import at

with DAG(
    dag_id="publish",
    description="Marts and the analysts' published warehouse",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=at("0 4 * * *"),
        assets=AssetAll(*[assets.settled(name) for name in load_sources(Settings())]),
    ),
    catchup=False,
    max_active_runs=1,
    tags=["night"],
    default_args={"owner": "muara"},
):

    @task(multiple_outputs=False)
    def link() -> dict[str, int]:
        """Who is who. Returns what happened to persons' ids, by event."""
        settings = Settings()
        if not settings.impact_assessment:
            raise AirflowSkipException("no impact_assessment in the settings: nobody is linked")
        from pipeline.link import link

        with as_airflow_failures():
            return link(settings).events

    # Without tonight's links, what core holds is still published.
    @task(outlets=[assets.PUBLISHED], multiple_outputs=False, trigger_rule="all_done")
    def publish() -> dict[str, int]:
        """Returns rows per table."""
        from pipeline.leave import publish

        with as_airflow_failures():
            return publish(Settings())

    @task(multiple_outputs=False)
    def judge() -> dict[str, int]:
        """Ask core its own rules and write Data Docs. Returns broken rules per severity."""
        from pipeline.core_rules import judge_core
        from pipeline.data_docs import write_data_docs

        with as_airflow_failures():
            settings = Settings()
            found = judge_core(settings)
            write_data_docs(settings)
        broken = [one.severity for some in found.values() for one in some if one.rows_broken]
        return {severity: broken.count(severity) for severity in ("critical", "warning", "info")}

    link() >> publish()
    judge()

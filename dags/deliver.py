"""The agencies' extracts: cut, delivered and verified at 05:00."""

from airflow.sdk import DAG, task

from dags.failures import as_airflow_failures
from dags.schedule import at

with DAG(
    dag_id="deliver_extracts",
    description="Every contract's extract",
    doc_md=__doc__,
    schedule=at("0 5 * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["night"],
    default_args={"owner": "muara"},
):

    @task(multiple_outputs=False)
    def deliver() -> dict[str, dict[str, int]]:
        """Returns agency → dataset → rows."""
        from common.settings import Settings
        from pipeline.leave import deliver

        with as_airflow_failures():
            return deliver(Settings())

    deliver()

"""What the agencies get at 05:00: their extracts, and their own rejected rows as a workbook."""

from airflow.sdk import DAG, task

from dags.failures import as_airflow_failures
from dags.schedule import at

with DAG(
    dag_id="deliver_extracts",
    description="Every contract's extract, every agency's rejected rows",
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

    @task(multiple_outputs=False)
    def return_rejections() -> dict[str, int]:
        """Returns agency → rows."""
        from common.settings import Settings
        from pipeline.leave import return_rejections

        with as_airflow_failures():
            return return_rejections(Settings())

    deliver()
    return_rejections()

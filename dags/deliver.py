"""What the agencies get at 05:00: their extracts, their own rejected rows as a workbook, and, on
their Open311 servers, the reports that their contracts give them."""

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

    # Of a share that could not be built anew, what the one before holds is still sent.
    @task(multiple_outputs=False, trigger_rule="all_done")
    def send_reports() -> dict[str, dict[str, int]]:
        """Returns agency → what became of its reports → how many."""
        from common.log import configure
        from common.settings import Settings
        from dags.connections import resolver
        from pipeline.open311 import send

        with as_airflow_failures():
            settings = Settings()
            configure(settings)
            return send(settings, resolver(settings))

    @task(multiple_outputs=False)
    def return_rejections() -> dict[str, int]:
        """Returns agency → rows."""
        from common.settings import Settings
        from pipeline.leave import return_rejections

        with as_airflow_failures():
            return return_rejections(Settings())

    deliver() >> send_reports()
    return_rejections()

"""Before the night: tables and reference data as declared, leftovers of killed runs removed."""

from airflow.sdk import DAG, task

from dags.failures import as_airflow_failures
from dags.schedule import at

with DAG(
    dag_id="prepare_night",
    description="Tables, reference data and clearing up before the first source runs",
    doc_md=__doc__,
    # Between two runs of the sources that run every half hour, before the first nightly one.
    schedule=at("45 0 * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["night"],
    default_args={"owner": "muara"},
):

    @task
    def prepare() -> None:
        """Harmless when nothing is to be done."""
        from common.definition import load_sources
        from common.settings import Settings
        from pipeline.sync import prepare

        with as_airflow_failures():
            settings = Settings()
            prepare(settings, load_sources(settings))

    prepare()

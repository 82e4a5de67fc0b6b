"""Each Sunday the newest backup is brought back elsewhere and compared with what it says of itself,
and a night is played on it of which nothing leaves; then the copy is removed."""

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

from common.settings import Settings
from dags.failures import as_airflow_failures
from dags.schedule import at
from dags.settled import settled

with DAG(
    dag_id="restore_drill",
    description="The newest backup, restored elsewhere, compared, and a night played on it",
    doc_md=__doc__,
    schedule=at("0 9 * * 0"),
    catchup=False,
    max_active_runs=1,
    tags=["backup"],
    default_args={"owner": "muara"},
):

    @task(multiple_outputs=False)
    def restore_and_play() -> dict[str, int]:
        """Returns files, tables and the streams that loaded on the copy."""
        settings = Settings()
        if not settings.backup_place:
            raise AirflowSkipException("no backup_place in the settings: nothing is backed up")
        from common.definition import load_sources
        from common.log import configure
        from dags.connections import resolver
        from pipeline.drill import drill

        with as_airflow_failures():
            configure(settings)
            done = drill(settings, load_sources(settings), resolver(settings))
        return {"files": done.files, "tables": done.tables, "streams": done.streams}

    restore_and_play() >> settled()

"""Each source compared with the warehouse once a week, `reconcile_<source>`: one task per stream.

The hour is the definition's `reconcile`, else the setting `reconcile_schedule`; it must lie in the
source's `window`. Differences that are explained are recorded; one that is not fails the task, with
counts only. A stream that names another source in `compare` is set beside that one as well: what
differs between two offices is recorded and is no failure. `muara reconcile` names the records.
"""

from airflow.sdk import DAG, TriggerRule, chain, task

from common.definition import Source, load_source, load_sources
from common.settings import Settings
from dags.failures import as_airflow_failures
from dags.schedule import at, retrying
from dags.settled import settled


@task(trigger_rule=TriggerRule.ALL_DONE, multiple_outputs=False)
def reconcile_stream(source_name: str, stream_name: str) -> dict[str, int]:
    """Compare one stream with its source; returns rows on both sides and differences by reason, and
    of a comparison with another source those by kind."""
    from common.log import configure
    from dags.connections import resolver
    from pipeline.comparison import compare
    from pipeline.reconcile import reconcile, require_explained
    from warehouse.comparison import KINDS

    with as_airflow_failures():
        settings = Settings()
        configure(settings)
        source = load_source(settings, source_name)
        stream = source.stream(stream_name)
        outcome = reconcile(settings, source, stream, resolver(settings)).outcome
        compared = compare(settings, source, stream)
        beside = {kind: getattr(compared.outcome, kind) for kind in KINDS} if compared else {}
        require_explained([outcome])
        return {"source_rows": outcome.source_rows, "landed_rows": outcome.landed_rows,
                **outcome.explained, **beside}  # fmt: skip


def dag_of(source: Source, settings: Settings) -> DAG:
    """The DAG of one source; its pool protects the agency's server from it and the night alike."""
    with DAG(
        dag_id=f"reconcile_{source.name}",
        description=f"{source.title}: compared with the warehouse",
        doc_md=__doc__,
        schedule=at(source.reconcile or settings.reconcile_schedule),
        catchup=False,
        max_active_runs=1,
        tags=["reconcile", source.agency],
        default_args=retrying(source.agency, settings),
    ) as dag:
        streams = [
            reconcile_stream.override(task_id=stream.name, pool=source.name, doc_md=stream.title)(
                source.name, stream.name
            )
            for stream in source.streams
        ]
        chain(*streams)
        streams >> settled()
    return dag


def _register() -> None:
    settings = Settings()
    for source in load_sources(settings).values():
        globals()[f"reconcile_{source.name}"] = dag_of(source, settings)


_register()

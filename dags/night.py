"""The night's DAGs beside those of the sources, made from `common.night`: one for each stage.

`publish` starts when every source has settled, and at its hour in any case: the run at that hour is
the one that counts when a source failed; on a good night it repeats the publication with whatever
the half-hourly sources brought since. The others run by the clock and wait for nothing, so that a
source that was never read is noticed too. When the scheduler itself stands still, so do they: let
another machine run `muara alarms --check` (docs/alarms.md).
"""

from typing import Any

from airflow.sdk import DAG, AssetAll, AssetOrTimeSchedule, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from common.calendar import load_calendar
from common.definition import load_sources
from common.night import STAGES, Stage, Step
from common.settings import Settings
from dags import assets
from dags.failures import as_airflow_failures
from dags.schedule import at, retrying
from dags.settled import settled

PUBLISH = "publish"


@task(multiple_outputs=False)
def take_step(stage_name: str, step_name: str) -> dict[str, Any]:
    """Take one step of the night and return its counts."""
    from common.log import configure
    from dags.connections import channel_resolver, resolver
    from pipeline.night import take
    from pipeline.steps import Skipped

    with as_airflow_failures():
        settings = Settings()
        configure(settings)
        stage, step = _named(stage_name, step_name)
        connect = channel_resolver if step.connects == "channels" else resolver
        found = take(settings, stage, step, connect(settings))
    if isinstance(found, Skipped):
        raise AirflowSkipException(found.why)
    return found


def _named(stage_name: str, step_name: str) -> tuple[Stage, Step]:
    stage = next(one for one in STAGES if one.name == stage_name)
    return stage, next(one for one in stage.steps if one.name == step_name)


def dag_of(stage: Stage, settings: Settings) -> DAG:
    """The DAG of one stage."""
    with DAG(
        dag_id=stage.name,
        description=stage.does,
        doc_md=__doc__,
        schedule=_schedule(stage, settings),
        catchup=False,
        max_active_runs=1,
        tags=["night"],
        default_args=retrying("muara", settings),
    ) as dag:
        tasks = {
            step.name: take_step.override(
                task_id=step.name,
                doc_md=step.does,
                trigger_rule=TriggerRule.ALL_DONE if step.after else TriggerRule.ALL_SUCCESS,
                outlets=[assets.PUBLISHED] if step.name == PUBLISH else [],
            )(stage.name, step.name)
            for step in stage.steps
        }
        for step in stage.steps:
            for earlier in step.after:
                tasks[earlier] >> tasks[step.name]
        list(tasks.values()) >> settled()
    return dag


def _schedule(stage: Stage, settings: Settings) -> Any:
    hour = load_calendar(settings).alarms_at
    timetable = at(stage.at or f"{hour.minute} {hour.hour} * * *")
    if stage.name != PUBLISH:
        return timetable
    awaited = [assets.settled(name) for name in load_sources(settings)]
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAll(*awaited))


def _register() -> None:
    settings = Settings()
    for stage in STAGES:
        globals()[stage.name] = dag_of(stage, settings)


_register()

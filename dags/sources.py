"""One DAG per agency system, `sync_<source>`, made from its definition: one task per stream.

Streams run one after another, for later ones look at earlier ones; one that fails does not stop
the next. Then what the warehouse holds of the source is judged again where that is due. The last
task, and with it the run, succeeds only when all did, so the source's asset means: its whole night
is in the warehouse.

A backfill reads each run's data interval, in the city's time, of streams with a cursor. Any other
can only be read as it is now, which the run of the newest interval does; older runs say so.
"""

import logging
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, TriggerRule, chain, task

from common.definition import Source, load_source, load_sources
from common.settings import Settings
from dags import assets
from dags.failures import as_airflow_failures
from dags.schedule import retrying
from dags.settled import settled

COUNTS = ("extracted", "inserted", "updated", "unchanged", "quarantined", "excluded", "deleted")


@task(trigger_rule=TriggerRule.ALL_DONE, multiple_outputs=False)
def sync_stream(source_name: str, stream_name: str, dag_run: Any = None) -> dict[str, int]:
    """Sync one stream and return its counts; Airflow gives the run."""
    from common.log import configure
    from connectors.readers import Interval
    from dags.connections import resolver
    from pipeline.sync import sync

    with as_airflow_failures():
        settings = Settings()
        configure(settings)
        source = load_source(settings, source_name)
        stream, stretch = source.stream(stream_name), None
        if dag_run.run_type == "backfill":
            low = dag_run.data_interval_start.astimezone(settings.zone)
            high = dag_run.data_interval_end.astimezone(settings.zone)
            if stream.strategy == "cursor":
                stretch = Interval(low.replace(tzinfo=None), high.replace(tzinfo=None))
            elif not is_newest(source, high, datetime.now(settings.zone)):
                told = "%s.%s: nothing read; a %s cannot be read as of the past"
                logging.getLogger(__name__).info(told, source_name, stream_name, stream.strategy)
                return dict.fromkeys(COUNTS, 0)
        account = sync(settings, source, stream, resolver(settings), interval=stretch)
        return {name: getattr(account, name) for name in COUNTS}


def is_newest(source: Source, interval_end: datetime, now: datetime) -> bool:
    """Whether no later interval of the source's schedule has ended; times in the city's zone."""
    from croniter import croniter

    return bool(croniter(source.schedule, interval_end).get_next(datetime) > now)


@task(trigger_rule=TriggerRule.ALL_DONE, multiple_outputs=False)
def judge_again(source_name: str) -> dict[str, int]:
    """Replay the streams that rules, codes or other streams judge otherwise now; per stream, how
    many rows were read from the warehouse."""
    from common.log import configure
    from pipeline.replay import replay_due

    with as_airflow_failures():
        settings = Settings()
        configure(settings)
        accounts, failures = replay_due(settings, load_source(settings, source_name))
        if failures:
            raise failures[0]
        return {account.stream: account.extracted for account in accounts}


def dag_of(source: Source, settings: Settings) -> DAG:
    """The DAG of one source. Its pool, named as the source, protects the agency's server."""
    with DAG(
        dag_id=f"sync_{source.name}",
        description=source.title,
        doc_md=_described(source),
        schedule=CronDataIntervalTimetable(source.schedule, timezone=settings.timezone),
        start_date=datetime(2026, 1, 1, tzinfo=settings.zone),
        catchup=False,
        max_active_runs=1,
        tags=["source", source.agency],
        default_args=retrying(source.agency, settings),
    ) as dag:
        streams = [
            sync_stream.override(
                task_id=stream.name,
                pool=source.name,
                doc_md=stream.title,
                outlets=[assets.landed(source.name, stream.name)],
            )(source.name, stream.name)
            for stream in source.streams
        ]
        judged = judge_again(source.name)
        chain(*streams, judged)
        [*streams, judged] >> settled.override(outlets=[assets.settled(source.name)])()
    return dag


def _described(source: Source) -> str:
    streams = "\n".join(
        f"| {stream.name} | {stream.title} | {stream.strategy} | {', '.join(stream.key)} |"
        for stream in source.streams
    )
    assumed = f"*Assumed:* {source.assumed}\n\n" if source.assumed else ""
    return (
        f"# {source.title}\n\n"
        f"Owner: {source.agency}, {source.contact.unit} <{source.contact.email}>\n\n"
        f"{assumed}"
        f"| stream | title | strategy | key |\n|---|---|---|---|\n{streams}\n"
    )


def _register() -> None:
    settings = Settings()
    for source in load_sources(settings).values():
        globals()[f"sync_{source.name}"] = dag_of(source, settings)


_register()

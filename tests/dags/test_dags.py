"""The DAGs as wired: one per definition, light to parse, in the city's time, errors classified."""

import inspect
import json
import subprocess
import sys
import traceback
from datetime import datetime

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable, TriggerRule
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from common import errors
from common.definition import load_sources
from common.night import STAGES
from common.settings import ROOT, Settings
from dags import local
from dags.failures import as_airflow_failures
from dags.sources import is_newest
from pipeline.night import CHECK
from pipeline.steps import STEPS
from tests.dags.machine import CANARY_NAME, CANARY_NIK

HEAVY = ("duckdb", "ibis", "great_expectations", "pandas", "pyarrow", "pipeline")
SOURCES = load_sources(Settings())


def test_every_definition_is_a_dag_and_nothing_else_is(bag):
    others = {
        *(stage.name for stage in STAGES),
        "review_drift",
        "review_pairs",
        "restore_drill",
    }
    of_sources = {f"{what}_{name}" for what in ("sync", "reconcile") for name in SOURCES}
    assert set(bag.dags) == of_sources | others


def test_a_new_source_needs_no_edit(tmp_path, monkeypatch):
    definition = yaml.safe_load((ROOT / "connectors" / "cctv" / "source.yml").read_text())
    folder = tmp_path / "parking"
    folder.mkdir()
    (folder / "source.yml").write_text(yaml.safe_dump(definition | {"name": "parking"}))
    monkeypatch.setenv("MUARA_CONNECTORS", str(tmp_path))
    assert "sync_parking" in DagBag(dag_folder=ROOT / "dags").dags


def test_parsing_is_quick_and_imports_nothing_heavy():
    program = f"""
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder={str(ROOT / "dags")!r})
seconds = {{one.file: one.duration.total_seconds() for one in bag.dagbag_stats}}
print(json.dumps([seconds, [name for name in {HEAVY} if name in sys.modules]]))
"""
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True,
                            text=True, check=True)  # fmt: skip
    seconds, heavy = json.loads(answer.stdout.splitlines()[-1])
    assert heavy == []
    assert set(seconds) == {
        "sources.py", "night.py", "review_drift.py", "review_pairs.py", "reconcile.py",
        "restore_drill.py",
    }  # fmt: skip
    assert max(seconds.values()) < 3


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_source_dag(bag, source):
    dag = bag.dags[f"sync_{source.name}"]
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == (
        source.schedule,
        "Asia/Jakarta",
    )
    assert (dag.catchup, dag.max_active_runs, dag.owner) == (False, 1, source.agency)
    assert source.contact.email in dag.doc_md

    names = [stream.name for stream in source.streams]
    assert set(dag.task_ids) == {*names, "judge_again", "settled"}
    for before, name in zip([None, *names], names, strict=False):
        stream = dag.task_dict[name]
        assert stream.upstream_task_ids == ({before} if before else set())
        assert stream.trigger_rule == TriggerRule.ALL_DONE
        assert stream.pool == source.name
        assert stream.retries == Settings().retries
        assert [asset.uri for asset in stream.outlets] == [f"muara://landing/{source.name}/{name}"]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_what_is_held_is_judged_again_after_every_stream_whatever_became_of_them(bag, source):
    judged = bag.dags[f"sync_{source.name}"].task_dict["judge_again"]
    assert judged.upstream_task_ids == {source.streams[-1].name}
    assert judged.trigger_rule == TriggerRule.ALL_DONE


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_source_settles_only_when_every_stream_did(bag, source):
    settled = bag.dags[f"sync_{source.name}"].task_dict["settled"]
    assert settled.upstream_task_ids == {*(one.name for one in source.streams), "judge_again"}
    assert settled.trigger_rule == TriggerRule.NONE_FAILED
    assert [asset.name for asset in settled.outlets] == [source.name]
    assert settled.downstream_task_ids == set()


def test_the_newest_interval_is_the_one_that_no_other_followed():
    cctv = SOURCES["cctv"]  # every half hour
    now = datetime(2026, 11, 24, 10, 40, tzinfo=Settings().zone)
    assert [is_newest(cctv, now.replace(minute=minute), now) for minute in (30, 0)] == [True, False]


@pytest.mark.parametrize(
    ("dag_id", "cron"),
    [
        ("prepare_night", "45 0 * * *"),
        ("deliver_extracts", "0 5 * * *"),
        ("backup", "45 5 * * *"),
        ("morning", "30 6 * * *"),
        ("restore_drill", "0 9 * * 0"),
        ("review_drift", "0 8 * * *"),
        ("review_pairs", "0 8 * * *"),
    ],
)
def test_fixed_hours(bag, dag_id, cron):
    timetable = bag.dags[dag_id].timetable
    assert isinstance(timetable, CronTriggerTimetable)
    assert (timetable.expression, str(timetable.timezone)) == (cron, "Asia/Jakarta")


def test_publish_waits_for_all_sources_or_four_in_the_morning(bag):
    timetable = bag.dags["publish"].timetable
    awaited = {asset.name for asset in timetable.asset_condition.objects}
    assert awaited == set(SOURCES)
    assert type(timetable.asset_condition).__name__ == "AssetAll"
    assert timetable.timetable.expression == "0 4 * * *"
    outlets = {task.task_id: [asset.name for asset in task.outlets]
               for task in bag.dags["publish"].tasks}  # fmt: skip
    assert outlets == {"link": [], "judge": [], "publish": ["published"], "settled": []}


def test_extracts_and_rejections_leave_together_and_neither_waits_for_the_other(bag):
    tasks = bag.dags["deliver_extracts"].task_dict
    assert {name: task.upstream_task_ids for name, task in tasks.items()} == {
        "deliver": set(),
        "send_reports": {"deliver"},
        "return_rejections": set(),
        "settled": {"deliver", "send_reports", "return_rejections"},
    }


@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
def test_a_stage_is_a_dag_whose_steps_come_in_the_order_of_the_night(bag, stage):
    tasks = bag.dags[stage.name].task_dict
    assert set(tasks) == {*(step.name for step in stage.steps), "settled"}
    for step in stage.steps:
        assert tasks[step.name].upstream_task_ids == set(step.after)
        expected = TriggerRule.ALL_DONE if step.after else TriggerRule.ALL_SUCCESS
        assert tasks[step.name].trigger_rule == expected


def test_every_step_does_something():
    named = [step.name for stage in STAGES for step in stage.steps]
    assert sorted(named) == sorted([*STEPS, CHECK])


def test_the_drill_says_that_no_backup_is_configured(bag):
    with pytest.raises(AirflowSkipException, match="no backup_place"):
        bag.dags["restore_drill"].get_task("restore_and_play").python_callable()


def _every_error(kind=errors.MuaraError):
    return [kind] + [each for below in kind.__subclasses__() for each in _every_error(below)]


@pytest.mark.parametrize("kind", _every_error())
def test_only_transient_errors_may_be_retried(kind):
    with pytest.raises(AirflowException) as raised, as_airflow_failures():
        raise kind("it broke", where="cctv.monitor", next_step="mend it.")
    assert isinstance(raised.value, AirflowFailException) != kind.transient
    assert str(raised.value) == f"{kind.__name__}: cctv.monitor: it broke. Next: mend it."


def test_other_errors_are_told_by_class_and_place_only():
    cause = ValueError(f"could not convert {CANARY_NIK}")
    with pytest.raises(AirflowFailException) as raised, as_airflow_failures():
        raise RuntimeError(f"no such person: {CANARY_NAME}") from cause
    told = "".join(traceback.format_exception(raised.value))
    assert "unexpected RuntimeError at test_dags.py:" in told
    assert CANARY_NIK not in told
    assert CANARY_NAME not in told


@pytest.mark.parametrize("dag_id", ["review_drift", "review_pairs"])
def test_people_are_asked_outside_the_night(bag, dag_id):
    dag = bag.dags[dag_id]
    assert dag.tags == {"review"}
    assert [asset for task in dag.tasks for asset in (*task.inlets, *task.outlets)] == []
    assert dag_id not in inspect.getsource(local)

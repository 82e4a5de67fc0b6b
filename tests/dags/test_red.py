"""No red looks green: every task of every DAG fails in turn, and its run is never a success."""

import json
import subprocess

import pytest
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowFailException
from typer.testing import CliRunner

from common.definition import load_sources
from common.errors import WarehouseFault
from common.night import STAGES
from common.settings import Settings
from dags import local
from muara.cli import app
from pipeline import night
from pipeline.steps import STEPS
from tests.world import Cameras


@pytest.fixture(scope="module")
def runnable():
    """Every DAG of ours, known to an Airflow in the folder of these tests."""
    from airflow.dag_processing import dagbag
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.pool import Pool
    from airflow.utils import db

    db.initdb()
    for source in load_sources(Settings()):
        Pool.create_or_update_pool(source, 1, "", include_deferred=False)
    DagBundlesManager().sync_bundles_to_db()
    found = dagbag.BundleDagBag(
        dag_folder=local.DAGS, bundle_path=local.DAGS, bundle_name=local.BUNDLE
    )
    dagbag.sync_bag_to_db(found, local.BUNDLE, None)
    with pytest.MonkeyPatch.context() as patch:  # else each run of a DAG parses all of them again
        patch.setattr(dagbag, "BundleDagBag", lambda **_: found)
        patch.setattr(dagbag, "sync_bag_to_db", lambda *_: None)
        yield found


def fails(*_, **__):
    raise AirflowFailException("as planned")


def works(*_, **__):
    return {"up_to": 1}


def tasks_of(dag):
    return [task for task in dag.tasks if hasattr(task, "python_callable")]


@pytest.mark.parametrize(
    "sources",
    [{"cctv"}, pytest.param(set(load_sources(Settings())), marks=pytest.mark.soak)],
    ids=["one source", "all"],
)
def test_a_run_fails_whichever_of_its_tasks_does(sources, runnable, monkeypatch):
    green = []
    for dag in runnable.dags.values():
        source = dag.dag_id.partition("_")[2]
        if "review" in dag.tags:
            continue  # waits for people between its tasks: see below
        if source in load_sources(Settings()) and source not in sources:
            continue
        for broken in dag.tasks:
            with monkeypatch.context() as patch:
                for task in dag.tasks:
                    patch.setattr(task, "python_callable", fails if task is broken else works)
                    patch.setattr(task, "retries", 0)
                if str(dag.test().state) != "failed":
                    green.append(f"{dag.dag_id}.{broken.task_id}")
    assert green == []


def test_what_asks_people_ends_in_one_task_that_succeeds_only_when_all_did(runnable):
    for dag in runnable.dags.values():
        if "review" in dag.tags:
            assert sum(not task.downstream_task_ids for task in dag.tasks) == 1
            assert {task.trigger_rule for task in dag.tasks} == {TriggerRule.ALL_SUCCESS}


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path, impact_assessment="nobody real")
    cameras.hold()
    cameras.sources = {"cctv": cameras.source}
    return cameras


@pytest.mark.parametrize("broken", STEPS)
def test_without_airflow_a_step_that_fails_is_named_and_no_check_calls_the_night_good(
    broken, cameras, monkeypatch
):
    def breaks(*_):
        raise WarehouseFault("as planned")

    for name in STEPS:
        does = breaks if name == broken else lambda *_: {}
        monkeypatch.setitem(STEPS, name, does)
    failures = night.run(cameras.settings, cameras.sources, cameras.url)
    (task,) = [stage.task(step) for stage in STAGES for step in stage.steps if step.name == broken]
    assert [(one.task, one.error.code) for one in failures] == [(task, "WarehouseFault")]
    (steps,) = [
        one
        for one in night.checks(cameras.settings, cameras.sources, 0)
        if one.name == "every step of the night done"
    ]
    assert (steps.holds, steps.detail) == (False, f"{task} failed (WarehouseFault)")


def test_steps_that_did_not_run_tonight_are_named(cameras):
    (steps,) = [
        one
        for one in night.checks(cameras.settings, cameras.sources, 0)
        if one.name == "every step of the night done"
    ]
    missing = [
        f"{stage.task(step)} did not run"
        for stage in STAGES
        for step in stage.steps
        if step.name != night.CHECK
    ]
    assert steps.detail.split(", ") == missing[:10]


def driver(code, failed):
    """Stands for `python -m dags.local night`."""

    def run(command, **_):
        assert command[-2:] == ["dags.local", "night"]
        if failed is not None:
            report = local.night_report(Settings())
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps({"failed": failed}))
        return subprocess.CompletedProcess(command, code)

    return run


def test_the_command_names_a_task_that_failed_in_airflow(cameras, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    monkeypatch.setattr(subprocess, "run", driver(1, ["publish.link"]))
    answer = CliRunner().invoke(app, ["night", "--json"])
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["checks"][0] == {
        "name": "every task succeeded",
        "holds": False,
        "detail": "publish.link",
    }


def test_the_command_ends_as_a_night_that_could_not_run(cameras, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    local.night_report(Settings()).parent.mkdir()
    local.night_report(Settings()).write_text('{"failed": []}')  # of the night before
    monkeypatch.setattr(subprocess, "run", driver(3, None))
    assert CliRunner().invoke(app, ["night", "--json"]).exit_code == 3

"""The weekly comparison: its hour and pool, and what a difference does to the task."""

import json

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException

from common.definition import load_sources
from common.settings import ROOT, Settings
from tests.dags.machine import CANARY_NAME
from tests.world import Cameras, monitor
from warehouse.catalog import writing

SOURCES = load_sources(Settings())


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_is_compared_weekly_in_its_pool(bag, source):
    dag = bag.dags[f"reconcile_{source.name}"]
    assert isinstance(dag.timetable, CronTriggerTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("0 6 * * 0", "Asia/Jakarta")
    assert (dag.catchup, dag.max_active_runs, dag.owner) == (False, 1, source.agency)
    streams = [stream.name for stream in source.streams]
    assert set(dag.task_ids) == {*streams, "settled"}
    assert {dag.task_dict[name].pool for name in streams} == {source.name}
    assert dag.task_dict["settled"].upstream_task_ids == set(streams)


def test_a_definition_may_name_its_own_hour(tmp_path, monkeypatch):
    definition = yaml.safe_load((ROOT / "connectors" / "cctv" / "source.yml").read_text())
    folder = tmp_path / "cctv"
    folder.mkdir()
    (folder / "source.yml").write_text(yaml.safe_dump(definition | {"reconcile": "0 2 1 * *"}))
    monkeypatch.setenv("MUARA_CONNECTORS", str(tmp_path))
    dag = DagBag(dag_folder=ROOT / "dags").dags["reconcile_cctv"]
    assert dag.timetable.expression == "0 2 1 * *"


def test_an_unexplained_difference_fails_the_task_with_counts_only(bag, tmp_path, monkeypatch):
    cameras = Cameras(tmp_path)
    cameras.hold(monitor(1, name=CANARY_NAME), monitor(2))
    cameras.sync()
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    monkeypatch.setenv("MUARA_TODAY", str(cameras.settings.today))
    monkeypatch.setenv("AIRFLOW_CONN_CCTV", cameras.url(""))
    task = bag.dags["reconcile_cctv"].task_dict["monitor"].python_callable
    assert task("cctv", "monitor") == {"source_rows": 2, "landed_rows": 2}
    cameras.hold(monitor(1, name=CANARY_NAME), monitor(2), monitor(3))
    assert task("cctv", "monitor") == {"source_rows": 3, "landed_rows": 2, "new_since": 1}
    with writing(cameras.settings) as connection:
        connection.execute("UPDATE lake.landing.cctv__monitor SET camera_name = 'x' WHERE _row = 1")
    with pytest.raises(AirflowFailException, match=r"Unreconciled: cctv\.monitor: 1 altered_here"):
        task("cctv", "monitor")
    log = (cameras.settings.home / "logs" / "muara.log").read_text()
    told = [json.loads(line) for line in log.splitlines() if '"reconciled"' in line]
    assert [one["unexplained"] for one in told] == [0, 0, 1]
    assert CANARY_NAME not in log

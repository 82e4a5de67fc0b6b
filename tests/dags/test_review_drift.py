"""The question about drifted sources: outside the night's path, and counts only."""

import inspect
import json
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import ApprovalOperator
from jinja2 import Environment

from common.settings import ROOT
from dags import local
from pipeline.drift import open_counts
from tests.dags.machine import CANARY_NAME, CANARY_NIK
from tests.world import Cameras, monitor
from warehouse.drift import accept


@pytest.fixture(scope="module")
def dag():
    bag = DagBag(dag_folder=ROOT / "dags")
    assert bag.import_errors == {}
    return bag.dags["review_drift"]


def test_the_question_is_asked_outside_the_night(dag):
    assert dag.task_dict["ask"].upstream_task_ids == {"count_drifts"}
    assert dag.task_dict["accept"].upstream_task_ids == {"count_drifts", "ask"}
    assert isinstance(dag.task_dict["ask"], ApprovalOperator)
    assert "night" not in dag.tags
    assert [asset for task in dag.tasks for asset in (*task.inlets, *task.outlets)] == []
    assert dag.dag_id not in inspect.getsource(local)


def test_the_question_carries_counts_and_the_answer_closes_only_what_was_counted(dag, tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(monitor(1, name=CANARY_NAME, function=CANARY_NIK), monitor(2, name=CANARY_NAME))
    assert open_counts(cameras.settings) == {}
    cameras.sync()
    counted = open_counts(cameras.settings)
    assert counted == {"drifts": 1, "sources": {"cctv": {"unseen_code": 1}}, "up_to": 1}

    ti = SimpleNamespace(xcom_pull=lambda _: counted)
    ask = dag.task_dict["ask"]
    subject, body = (
        Environment(autoescape=False).from_string(text).render(ti=ti)
        for text in (ask.subject, ask.body)
    )
    assert subject == "1 drift(s) of sources are open"
    assert "- **cctv**: 1 unseen_code. See `muara check cctv --propose`" in body
    for text in (subject, body, json.dumps(counted)):
        assert CANARY_NIK not in text
        assert CANARY_NAME not in text

    assert accept(cameras.settings, up_to=counted["up_to"] - 1) == 0
    assert accept(cameras.settings, up_to=counted["up_to"]) == 1
    assert open_counts(cameras.settings) == {}

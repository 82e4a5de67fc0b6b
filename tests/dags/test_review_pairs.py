"""The question about pairs that wait: outside the night's path, a count and an address only."""

import inspect
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import HITLOperator
from jinja2 import Environment

from common.settings import ROOT
from dags import local
from portal.desk import open_counts
from tests.world import Cameras


@pytest.fixture(scope="module")
def dag():
    bag = DagBag(dag_folder=ROOT / "dags")
    assert bag.import_errors == {}
    return bag.dags["review_pairs"]


def test_people_are_asked_outside_the_night(dag):
    assert dag.task_dict["ask"].upstream_task_ids == {"count_pairs"}
    assert isinstance(dag.task_dict["ask"], HITLOperator)
    assert "night" not in dag.tags
    assert [asset for task in dag.tasks for asset in (*task.inlets, *task.outlets)] == []
    assert dag.dag_id not in inspect.getsource(local)


def test_the_question_carries_counts_and_the_address_of_the_desk(dag):
    counted = {"pairs": 12, "kinds": {"cut": 2, "uncertain": 10}, "desk": "https://desk.example"}
    ti = SimpleNamespace(xcom_pull=lambda _: counted)
    ask = dag.task_dict["ask"]
    subject, body = (
        Environment(autoescape=False).from_string(text).render(ti=ti)
        for text in (ask.subject, ask.body)
    )
    assert subject == "12 pair(s) of records wait for people"
    assert "- 2 cut\n" in body
    assert "- 10 uncertain\n" in body
    assert "review desk: https://desk.example" in body


def test_nothing_is_asked_where_nobody_was_linked(tmp_path):
    assert open_counts(Cameras(tmp_path).settings) == {}

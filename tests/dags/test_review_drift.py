"""The question about drifted sources: counts only, and its answer."""

import json

from airflow.providers.standard.operators.hitl import ApprovalOperator

from pipeline.drift import open_counts
from tests.dags.asked import asked
from tests.dags.machine import CANARY_NAME, CANARY_NIK
from tests.world import Cameras, monitor
from warehouse.drift import accept


def test_an_approval_waits_for_counts_and_only_then_accepts(bag):
    dag = bag.dags["review_drift"]
    assert dag.task_dict["ask"].upstream_task_ids == {"count_drifts"}
    assert dag.task_dict["accept"].upstream_task_ids == {"count_drifts", "ask"}
    assert isinstance(dag.task_dict["ask"], ApprovalOperator)


def test_the_question_carries_counts_and_the_answer_closes_only_what_was_counted(bag, tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(monitor(1, name=CANARY_NAME, function=CANARY_NIK), monitor(2, name=CANARY_NAME))
    assert open_counts(cameras.settings) == {}
    cameras.sync()
    counted = open_counts(cameras.settings)
    assert counted == {"drifts": 1, "sources": {"cctv": {"unseen_code": 1}}, "up_to": 1}

    subject, body = asked(bag.dags["review_drift"].task_dict["ask"], counted)
    assert subject == "1 drift(s) of sources are open"
    assert "- **cctv**: 1 unseen_code. See `muara check cctv --propose`" in body
    for text in (subject, body, json.dumps(counted)):
        assert CANARY_NIK not in text
        assert CANARY_NAME not in text

    assert accept(cameras.settings, up_to=counted["up_to"] - 1) == 0
    assert accept(cameras.settings, up_to=counted["up_to"]) == 1
    assert open_counts(cameras.settings) == {}

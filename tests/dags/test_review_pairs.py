"""The question about pairs that wait: a count and an address only."""

from airflow.providers.standard.operators.hitl import HITLOperator

from portal.desk import open_counts
from tests.dags.asked import asked
from tests.world import Cameras


def test_the_question_carries_counts_and_the_address_of_the_desk(bag):
    ask = bag.dags["review_pairs"].task_dict["ask"]
    assert ask.upstream_task_ids == {"count_pairs"}
    assert isinstance(ask, HITLOperator)
    subject, body = asked(
        ask, {"pairs": 12, "kinds": {"cut": 2, "uncertain": 10}, "desk": "https://desk.example"}
    )
    assert subject == "12 pair(s) of records wait for people"
    assert "- 2 cut\n" in body
    assert "- 10 uncertain\n" in body
    assert "review desk: https://desk.example" in body


def test_nothing_is_asked_where_nobody_was_linked(tmp_path):
    assert open_counts(Cameras(tmp_path).settings) == {}

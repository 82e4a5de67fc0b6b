"""Pairs of records that wait for people to decide whether they speak of one person, put before a
reviewer at 08:00; no part of the night.

The question carries a count and the address of the review desk, never a pair. The answer says only
that somebody saw it: deciding is done at the desk, where every look is audited. While a question
waits for its answer, no second one is asked.
"""

from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, task

from dags.failures import as_airflow_failures
from dags.schedule import at

SUBJECT = "{{ ti.xcom_pull('count_pairs')['pairs'] }} pair(s) of records wait for people"
BODY = """
{% for kind, count in ti.xcom_pull('count_pairs')['kinds'].items() %}
- {{ count }} {{ kind }}
{% endfor %}

They are answered at the review desk: {{ ti.xcom_pull('count_pairs')['desk'] }}
"""

with DAG(
    dag_id="review_pairs",
    description="Asks people to decide on pairs at the review desk",
    doc_md=__doc__,
    schedule=at("0 8 * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["review"],
    default_args={"owner": "muara"},
):

    @task.short_circuit(task_id="count_pairs")
    def count_pairs() -> dict[str, Any]:
        """Returns how many pairs wait, in all and by kind, and the desk's address; with none,
        nothing is asked."""
        from common.settings import Settings
        from portal.desk import open_counts

        with as_airflow_failures():
            return open_counts(Settings())

    asked = HITLOperator(task_id="ask", subject=SUBJECT, body=BODY, options=["Seen"])
    count_pairs() >> asked

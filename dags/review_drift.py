"""Sources that drifted, put before a person at 08:00; no part of the night, which has long gone on
with the safe defaults.

The question carries counts and the commands that show more. *Approve* marks what was counted as
looked at; *Reject* leaves it open, and it is asked again tomorrow. Neither changes a definition:
that is done by reviewing the proposal and copying it over. While a question waits for its answer,
no second one is asked.
"""

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, task

from dags.failures import as_airflow_failures
from dags.schedule import at

SUBJECT = "{{ ti.xcom_pull('count_drifts')['drifts'] }} drift(s) of sources are open"
BODY = """
{% for name, kinds in ti.xcom_pull('count_drifts')['sources'].items() %}
- **{{ name }}**: {% for kind, count in kinds.items() %}{{ count }} {{ kind }}{{
  '' if loop.last else ', ' }}{% endfor %}. See `muara check {{ name }} --propose`
{% endfor %}

Every one, with what it touches: `muara sql "FROM lake.ops.drift WHERE state = 'open'"`.
Approve: looked at. Reject: stays open.
"""

with DAG(
    dag_id="review_drift",
    description="Asks a person to look at sources that drifted",
    doc_md=__doc__,
    schedule=at("0 8 * * *"),
    catchup=False,
    max_active_runs=1,
    tags=["review"],
    default_args={"owner": "muara"},
):

    @task.short_circuit(task_id="count_drifts")
    def count_drifts() -> dict[str, Any]:
        """Returns counts per source and kind, and the newest batch among them; with none, nothing
        is asked."""
        from common.settings import Settings
        from pipeline.drift import open_counts

        with as_airflow_failures():
            return open_counts(Settings())

    @task
    def accept(up_to: int) -> int:
        """Returns how many drifts were marked as looked at: those counted, none seen since."""
        from common.settings import Settings
        from warehouse.drift import accept

        with as_airflow_failures():
            return accept(Settings(), up_to=up_to)

    counted = count_drifts()
    asked = ApprovalOperator(task_id="ask", subject=SUBJECT, body=BODY)
    counted >> asked >> accept(counted["up_to"])

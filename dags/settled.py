"""The last task of a DAG. A run's state is that of its last tasks, so without it a failed task is
hidden behind a later one that ran whatever became of it."""

from airflow.sdk import TriggerRule, task


@task(trigger_rule=TriggerRule.NONE_FAILED)
def settled() -> None:
    """Succeeds only when no task of the DAG failed."""

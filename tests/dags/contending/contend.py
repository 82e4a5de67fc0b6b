"""Two tasks that could run at once, in the pool of a source that bears one."""

import time
from datetime import datetime

from airflow.sdk import DAG, task

with DAG(dag_id="contend", schedule="@once", start_date=datetime(2026, 1, 1)):
    for number in range(2):

        @task(task_id=f"hold_{number}", pool="cctv")
        def hold() -> None:
            time.sleep(3)

        hold()

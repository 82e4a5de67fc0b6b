"""What a person reads of a question of Airflow's."""

from types import SimpleNamespace
from typing import Any

from jinja2 import Environment


def asked(task: Any, counted: dict[str, Any]) -> tuple[str, str]:
    """Subject and body of a human-in-the-loop task whose counts are these."""
    ti = SimpleNamespace(xcom_pull=lambda _: counted)
    subject, body = (
        Environment(autoescape=False).from_string(text).render(ti=ti)
        for text in (task.subject, task.body)
    )
    return subject, body

"""Our errors as Airflow's. What may be retried is a property of the error class."""

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from common.failures import ours


@contextmanager
def as_airflow_failures() -> Iterator[None]:
    """Let Airflow retry transient errors and fail at once on any other.

    Only our own messages reach Airflow's logs: they never carry a value of a row.
    """
    try:
        yield
    except Exception as error:
        own = ours(error)
        kind = AirflowException if own.transient else AirflowFailException
        raise kind(f"{own.code}: {own}") from None

"""Our errors as Airflow's. What may be retried is a property of the error class."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from common.errors import MuaraError
from common.settings import ROOT


@contextmanager
def as_airflow_failures() -> Iterator[None]:
    """Let Airflow retry transient errors and fail at once on any other.

    Only our own messages reach Airflow's logs: they never carry a value of a row. Those of other
    libraries may quote one, so of an unexpected error only its class and place are told.
    """
    try:
        yield
    except MuaraError as error:
        kind = AirflowException if error.transient else AirflowFailException
        raise kind(f"{error.code}: {error}") from None
    except Exception as error:
        raise AirflowFailException(
            f"unexpected {type(error).__name__} at {_place(error)}. Next: report it as a defect."
        ) from None


def _place(error: Exception) -> str:
    """The innermost line of ours, as `file:line`."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _is_ours(Path(frame.filename))] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(ROOT) and "site-packages" not in path.parts

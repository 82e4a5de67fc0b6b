"""What became of the night's steps that load no stream: `ops.step`."""

from dataclasses import astuple, dataclass, fields
from datetime import date, datetime
from typing import Literal

import duckdb

from common.settings import Settings
from warehouse.catalog import insert, transaction, writing


@dataclass(frozen=True)
class Outcome:
    """One row of `ops.step`, in the order of its columns."""

    night: date
    task: str
    outcome: Literal["done", "skipped", "failed"]
    error_code: str | None
    error_message: str | None
    started_at: datetime
    ended_at: datetime


def record(settings: Settings, outcome: Outcome) -> None:
    """Write this over what the same step left earlier in the same night."""
    with writing(settings, "note") as connection, transaction(connection):
        connection.execute(
            "DELETE FROM lake.ops.step WHERE night = ? AND task = ?", [outcome.night, outcome.task]
        )
        insert(connection, "ops.step", [astuple(outcome)])


def newest_night(connection: duckdb.DuckDBPyConnection) -> date | None:
    """The newest night of which any step is on record."""
    return connection.execute("SELECT max(night) FROM lake.ops.step").fetchall()[0][0]


def outcomes(connection: duckdb.DuckDBPyConnection, night: date | None) -> dict[str, Outcome]:
    """Task → what became of it in its newest attempt of that night."""
    columns = ", ".join(field.name for field in fields(Outcome))
    rows = connection.execute(
        f"SELECT {columns} FROM lake.ops.step WHERE night = ? ORDER BY started_at", [night]
    ).fetchall()
    return {row[1]: Outcome(*row) for row in rows}

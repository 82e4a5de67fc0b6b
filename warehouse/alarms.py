"""The alarms as stored: `ops.alarm`."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date, datetime

import duckdb

from common.quoting import identifier
from warehouse.catalog import insert, transaction


@dataclass(frozen=True)
class Alarm:
    """One row of `ops.alarm`, in the order of its columns."""

    alarm_id: int
    kind: str
    source: str
    stream: str
    submitter_code: str
    night: date
    since: date
    nights: int
    last_night: date
    cause: str
    expected: float | None
    seen: float | None
    probability: float | None
    state: str = "open"
    closed_night: date | None = None
    channel_outcome: str | None = None
    told_at: datetime | None = None

    @property
    def stream_key(self) -> tuple[str, str]:
        return self.source, self.stream

    @property
    def where(self) -> str:
        """`source.stream`, and the submitter's code where it is about one."""
        return f"{self.source}.{self.stream}" + (
            f" {self.submitter_code}" * bool(self.submitter_code)
        )


def alarms(connection: duckdb.DuckDBPyConnection, *, every: bool = False) -> list[Alarm]:
    """Those that are open or accepted, or every one; the oldest first."""
    columns = ", ".join(identifier(field.name) for field in fields(Alarm))
    chosen = "" if every else "WHERE state <> 'closed'"
    rows = connection.execute(
        f"SELECT {columns} FROM lake.ops.alarm {chosen} ORDER BY alarm_id"
    ).fetchall()
    return [Alarm(*row) for row in rows]


def store(connection: duckdb.DuckDBPyConnection, changed: Sequence[Alarm]) -> None:
    """Write these alarms over what was stored of them; nothing when there are none."""
    if not changed:
        return
    with transaction(connection):
        connection.executemany(
            "DELETE FROM lake.ops.alarm WHERE alarm_id = ?", [[one.alarm_id] for one in changed]
        )
        insert(connection, "ops.alarm", [astuple(one) for one in changed])


def next_alarm_id(connection: duckdb.DuckDBPyConnection) -> int:
    """Alarms are numbered in the order in which they were raised. Hold the writer's lock."""
    row = connection.execute("SELECT coalesce(max(alarm_id), 0) + 1 FROM lake.ops.alarm").fetchone()
    assert row is not None
    return int(row[0])

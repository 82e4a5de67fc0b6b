"""What was given to agencies' own systems, as stored: `ops.outbox`."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Literal

import duckdb

from common.quoting import identifier
from common.settings import Settings
from warehouse.catalog import insert, transaction, writing


@dataclass(frozen=True)
class Outgoing:
    """One row of `ops.outbox`, in the order of its columns."""

    agency: str
    report_id: str
    service_code: str
    state: Literal["sending", "waiting", "accepted", "created", "refused"]
    request_id: str | None
    token: str | None
    states_sent: int
    http_status: int | None
    contract_version: str
    sent_at: datetime


COLUMNS = ", ".join(f"outbox.{identifier(field.name)}" for field in fields(Outgoing))


def outgoing(connection: duckdb.DuckDBPyConnection, agency: str, state: str) -> list[Outgoing]:
    """An agency's reports in that state."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM lake.ops.outbox WHERE agency = ? AND state = ? ORDER BY report_id",
        [agency, state],
    ).fetchall()
    return [Outgoing(*row) for row in rows]


def store(settings: Settings, changed: Sequence[Outgoing]) -> None:
    """Write these over what was stored of them, in one transaction; nothing when there are none."""
    if not changed:
        return
    with writing(settings) as connection, transaction(connection):
        connection.executemany(
            "DELETE FROM lake.ops.outbox WHERE agency = ? AND report_id = ?",
            [[one.agency, one.report_id] for one in changed],
        )
        insert(connection, "ops.outbox", [astuple(one) for one in changed])

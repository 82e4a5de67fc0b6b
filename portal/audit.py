"""The audit log: who did and saw what, when and from where. Rows are only added (a trigger refuses
the rest), and each is sealed over the one before, so that a row changed in the file shows.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import Connection, Engine, insert, select

from common.settings import Settings
from portal.store import audit


@dataclass(frozen=True)
class Entry:
    """One row: `at` in UTC; `what` holds mentions as role:record, never a person's value."""

    id: int
    at: datetime
    account: str
    address: str
    action: str
    what: str
    seal: str


def write(
    engine: Engine, settings: Settings, *, account: str, address: str, action: str, what: str = ""
) -> None:
    """Add a row, in a transaction of its own that no other writer of the log can enter."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        before = connection.execute(
            select(audit.c.id, audit.c.seal).order_by(audit.c.id.desc()).limit(1)
        ).first()
        entry = {
            "id": before.id + 1 if before else 1,
            "at": datetime.now(UTC).replace(tzinfo=None),
            "account": account,
            "address": address,
            "action": action,
            "what": what,
        }
        seal = _seal(settings, before.seal if before else "", entry)
        connection.execute(insert(audit).values(**entry, seal=seal))
        connection.commit()


def entries(connection: Connection) -> Iterator[Entry]:
    """All rows, the first first."""
    for row in connection.execute(select(audit).order_by(audit.c.id)):
        yield Entry(*row)


def broken(engine: Engine, settings: Settings) -> int | None:
    """The first row whose seal does not fit or that is missing; None when all do. Rows cut off at
    the end leave no trace: keep the number of rows elsewhere, too."""
    seal, expected = "", 1
    with engine.connect() as connection:
        for entry in entries(connection):
            values = {name: value for name, value in vars(entry).items() if name != "seal"}
            if entry.id != expected or entry.seal != _seal(settings, seal, values):
                return expected
            seal, expected = entry.seal, expected + 1
    return None


def _seal(settings: Settings, before: str, entry: dict[str, object]) -> str:
    key = hmac.new(settings.pseudonym_key.encode(), b"audit", sha256).digest()
    told = "\n".join([before, *(f"{name}={value}" for name, value in sorted(entry.items()))])
    return hmac.new(key, told.encode(), sha256).hexdigest()

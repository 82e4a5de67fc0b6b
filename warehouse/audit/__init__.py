"""The audit log: who did and saw what, when and from where.

Rows are only added (triggers refuse the rest). Each is sealed over the one before with a key that
is not in the file, and every seal is kept outside of it too (`seals.py`) and leaves the machine in
the manifests of each night. Accounts are part of it: each row of theirs is as the log says, or it
is none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from common.errors import MuaraError
from common.settings import Settings
from warehouse.audit import seals
from warehouse.audit.store import Store, account, audit, guard, open_store, path_of

ACCEPTED = "log_accepted"
"""The action of a row with which a chain begins: a person answers for what is above it."""
OF_ACCOUNTS = ("account_added", "account_changed", "account_accepted")
SEAL_SHOWN = 32
"""How many digits of an account's seal the log keeps."""
LEFT_BY_KILLS = 8
"""Rows that killed processes may leave without their seal outside; the next row brings them."""


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


Kind = Literal["unreadable", "row", "cut", "unsealed", "witness", "account"]
SAYS: dict[Kind, str] = {
    "unreadable": "the portal's store is missing or cannot be read",
    "row": "rows were changed, cut out or written by somebody else, from row",
    "cut": "rows that were sealed outside are missing or others, from row",
    "unsealed": "the seals outside are missing or cut, from row",
    "witness": "it is not the log that a manifest tells of, in",
    "account": "an account was changed in the file:",
}


@dataclass(frozen=True)
class Fault:
    """What is not as it was written, and where: a row, a manifest, an account."""

    kind: Kind
    where: str

    def __str__(self) -> str:
        return f"{SAYS[self.kind]} {self.where}".strip()


Add = Callable[..., None]


def write(store: Store, *, account: str, address: str, action: str, what: str = "") -> None:
    """Add a row, in a transaction of its own. Raises SQLAlchemyError or OSError."""
    with adding(store) as (_, add):
        add(account=account, address=address, action=action, what=what)


@contextmanager
def adding(store: Store) -> Iterator[tuple[Connection, Add]]:
    """A transaction that no other writer of the store can enter, and how to add rows of the log in
    it. Sealed outside once it is committed."""
    with store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        before = _last(connection)
        yield connection, lambda **entry: _add(store, connection, **entry)
        with seals.held(store.settings) as outside:
            connection.commit()
            last = outside.last()
            if not 0 < before - last <= LEFT_BY_KILLS or not last:
                last = before
            fresh = select(audit.c.id, audit.c.seal).where(audit.c.id > last)
            outside.append([(row.id, row.seal) for row in connection.execute(fresh)])


def entries(connection: Connection) -> Iterator[Entry]:
    """All rows, the first first."""
    for row in connection.execute(select(audit).order_by(audit.c.id)):
        yield Entry(*row)


def account_seal(store: Store, values: Any) -> str:
    """The seal of a row of `account` with these values."""
    return store.seal(
        "account", values.role, bool(values.is_active), values.salt.hex(), values.password.hex(),
        values.name,
    )  # fmt: skip


def note_account(
    store: Store, connection: Connection, add: Add, name: str, *, by: str, action: str, what: str
) -> None:
    """Seal an account as it is now, and add the row of the log that says so."""
    row = connection.execute(select(account).where(account.c.name == name)).one()
    seal = account_seal(store, row)
    connection.execute(update(account).where(account.c.name == name).values(seal=seal))
    add(account=by, address="", action=action, what=f"{name} {what} {seal[:SEAL_SHOWN]}")


def faults(settings: Settings) -> list[Fault]:
    """What of the log and of the accounts is not as it was written; of each kind the first."""
    sealed = seals.sealed(settings)
    if not path_of(settings).exists():
        lost = bool(sealed) or any(seals.witnesses(settings))
        return [Fault("unreadable", path_of(settings).name)] if lost else []
    try:
        store = open_store(settings)
        try:
            with seals.held(settings), store.engine.connect() as connection:
                sealed = seals.sealed(settings)
                log = list(entries(connection))
                accounts = connection.execute(select(account)).all()
        finally:
            store.dispose()
    except (MuaraError, SQLAlchemyError, OSError, ValueError, TypeError) as error:
        return [Fault("unreadable", type(error).__name__)]
    begins = max((n for n, entry in enumerate(log) if entry.action == ACCEPTED), default=0)
    chain = log[begins:]
    return [
        *_broken(store, chain),
        *_not_as_sealed(chain, sealed),
        *_not_as_witnessed(settings, chain),
        *_altered(store, chain, accounts),
    ]


def accept(store: Store, *, by: str, why: str) -> int:
    """Begin a new chain: whoever does it answers for what the log and the accounts are now. Returns
    the number of its first row, above every row that was ever sealed."""
    with adding(store) as (connection, add):
        told = [head["row"] for _, head in seals.witnesses(store.settings)]
        first = max([_last(connection), *seals.sealed(store.settings), *told]) + 1
        connection.exec_driver_sql("DROP TRIGGER audit_is_append_only_INSERT")
        add(account=by, address="", action=ACCEPTED, what=" ".join(why.split()), number=first)
        guard(connection)
        names = connection.execute(select(account.c.name).order_by(account.c.name)).scalars().all()
        for name in names:
            note_account(
                store, connection, add, name, by=by, action="account_accepted", what="as_is"
            )
    return first


def _last(connection: Connection) -> int:
    """The number of the newest row; 0 where there is none."""
    return connection.execute(select(func.max(audit.c.id))).scalar() or 0


def _add(
    store: Store,
    connection: Connection,
    *,
    account: str,
    address: str,
    action: str,
    what: str = "",
    number: int | None = None,
) -> None:
    before = connection.execute(
        select(audit.c.id, audit.c.seal).order_by(audit.c.id.desc()).limit(1)
    ).first()
    entry = {
        "id": number or (before.id + 1 if before else 1),
        "at": datetime.now(UTC).replace(tzinfo=None),
        "account": account,
        "address": address,
        "action": action,
        "what": what,
    }
    seal = _seal(store, before.seal if before and not number else "", entry)
    connection.execute(insert(audit).values(**entry, seal=seal))


def _seal(store: Store, before: str, entry: dict[str, object]) -> str:
    return store.seal(
        "audit", before, *(f"{name}={value}" for name, value in sorted(entry.items()))
    )


def _first(chain: list[Entry]) -> int:
    """The number with which a chain has to begin."""
    return chain[0].id if chain and chain[0].action == ACCEPTED else 1


def _broken(store: Store, chain: list[Entry]) -> Iterator[Fault]:
    seal, expected = "", _first(chain)
    for entry in chain:
        values = {name: value for name, value in vars(entry).items() if name != "seal"}
        if entry.id != expected or entry.seal != _seal(store, seal, values):
            yield Fault("row", str(expected))
            return
        seal, expected = entry.seal, expected + 1


def _not_as_sealed(chain: list[Entry], sealed: dict[int, str]) -> Iterator[Fault]:
    first = _first(chain)
    kept = {entry.id: entry.seal for entry in chain}
    if others := [row for row in sealed if row >= first and kept.get(row) != sealed[row]]:
        yield Fault("cut", str(min(others)))
    last = max(sealed, default=0)
    missing = [row for row in kept if row not in sealed]
    if missing and (min(missing) < last or len(missing) > LEFT_BY_KILLS or not last):
        yield Fault("unsealed", str(min(missing)))


def _not_as_witnessed(settings: Settings, chain: list[Entry]) -> Iterator[Fault]:
    first = _first(chain)
    kept = {entry.id: entry.seal for entry in chain}
    for path, told in seals.witnesses(settings):
        if told["row"] >= first and kept.get(told["row"]) != told["seal"]:
            yield Fault("witness", path.relative_to(settings.home).as_posix())
            return


def _altered(store: Store, chain: list[Entry], rows: Sequence[Row[Any]]) -> Iterator[Fault]:
    """Accounts that are not as the newest row of the log about them says."""
    told: dict[str, str] = {}
    for entry in chain:
        if entry.action in OF_ACCOUNTS and entry.what.count(" ") > 1:
            name, _, seal = entry.what.rsplit(" ", 2)
            told[name] = seal
    now = {row.name: account_seal(store, row) for row in rows}
    sealed = {row.name: row.seal for row in rows}
    for name in sorted({*told, *now}):
        if told.get(name) != now.get(name, "")[:SEAL_SHOWN] or now[name] != sealed[name]:
            yield Fault("account", name)

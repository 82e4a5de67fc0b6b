"""Patience with wrong passwords: who guesses waits longer and longer, and locks nobody else out.

An attempt is counted for its account from its address, for its address, for its account from
strangers, and for all strangers together. A browser in which the account's owner has signed in
before is no stranger: it holds a device cookie (OWASP, "Slow down online guessing attacks with
device cookies") and only its own failures count, whatever others try. Names that are no account's
are counted alike, so an answer does not tell which exist.
"""

import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hmac import compare_digest

from sqlalchemy import Connection, delete, func, insert, select, update

from warehouse.audit.store import Store, attempt

FREE = {"device": 5, "account here": 5, "address": 20, "account": 50, "strangers": 500}
"""How many wrong passwords of each cost nothing (a whole office may have one address); each more
doubles the wait."""
OWN = ("device", "account here")
"""What the right password forgives."""
KEPT, LONGEST_WAIT = timedelta(hours=1), timedelta(minutes=15)
DEVICE_COOKIE, DEVICE_LASTS = "muara_device", timedelta(days=180)
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class TooManyFailures(Exception):
    """Wrong passwords: `seconds` to wait; `is_first` of the refusals since the last attempt."""

    def __init__(self, seconds: int, is_first: bool) -> None:
        self.seconds, self.is_first = seconds, is_first


@dataclass(frozen=True)
class Attempt:
    """One that counts as failed until it is forgiven, so that many at once do not slip through."""

    ids: tuple[int, ...]
    own: tuple[str, ...]


def begin(store: Store, name: str, address: str, device: str = "", now: Clock = utc_now) -> Attempt:
    """Count an attempt; `device` as `device_of` says. Raises TooManyFailures while it has to wait;
    then it does not count."""
    place = _place(address)
    whose = {"device": (device,)} if device else {
        "account here": (place, name), "address": (place,), "account": (name,), "strangers": (),
    }  # fmt: skip
    tried = {kind: store.seal("attempt", kind, *parts) for kind, parts in whose.items()}
    with store.engine.connect() as connection:
        _refuse_impatience(connection, tried, now())
    with store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _refuse_impatience(connection, tried, now())
        connection.execute(delete(attempt).where(attempt.c.at < now() - KEPT))
        ids = [
            connection.execute(
                insert(attempt).values(whose=one, at=now(), is_noted=False).returning(attempt.c.id)
            ).scalar_one()
            for one in tried.values()
        ]
        connection.commit()
    return Attempt(tuple(ids), tuple(one for kind, one in tried.items() if kind in OWN))


def forgive(store: Store, tried: Attempt) -> None:
    """The password was right: the attempt was no failure, and earlier ones from there are over."""
    with store.engine.begin() as connection:
        connection.execute(
            delete(attempt).where(attempt.c.id.in_(tried.ids) | attempt.c.whose.in_(tried.own))
        )


def device_cookie(store: Store, name: str) -> str:
    """The name of the cookie that makes a browser known to this account."""
    return f"{DEVICE_COOKIE}_{store.seal('device name', name)[:8]}"


def new_device(store: Store, name: str) -> str:
    """The value of such a cookie. It opens nothing: it only has a patience of its own."""
    number = secrets.token_hex(16)
    return f"{number}.{store.seal('device', number, name)}"


def device_of(store: Store, name: str, cookies: Mapping[str, str]) -> str:
    """The browser's device cookie of this account, if it is genuine; else empty."""
    value = cookies.get(device_cookie(store, name), "")
    number, _, seal = value.partition(".")
    is_genuine = compare_digest(seal.encode(), store.seal("device", number, name).encode())
    return value if is_genuine else ""


def _refuse_impatience(connection: Connection, tried: dict[str, str], now: datetime) -> None:
    for kind, one in tried.items():
        count, last, newest = connection.execute(
            select(func.count(), func.max(attempt.c.at), func.max(attempt.c.id)).where(
                attempt.c.whose == one, attempt.c.at >= now - KEPT
            )
        ).one()
        if count < FREE[kind]:
            continue
        wait = min(timedelta(seconds=2 ** min(count - FREE[kind] + 2, 16)), LONGEST_WAIT)
        if (left := (last + wait - now).total_seconds()) > 0:
            is_first = _note(connection, newest)
            raise TooManyFailures(int(left) + 1, is_first)


def _note(connection: Connection, newest: int) -> bool:
    """Whether nobody was refused since this attempt; from now on, somebody was."""
    unnoted = attempt.c.id == newest, attempt.c.is_noted.is_(False)
    if not connection.execute(select(attempt.c.id).where(*unnoted)).first():
        return False
    changed = connection.execute(update(attempt).where(*unnoted).values(is_noted=True)).rowcount
    connection.commit()
    return bool(changed)


def _place(address: str) -> str:
    """An address as it is counted: whoever has one of IPv6 has all of its last 64 bits."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.version == 6:
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)

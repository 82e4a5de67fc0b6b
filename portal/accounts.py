"""Who may come in: accounts, roles, passwords, sessions, and patience with wrong passwords.

Passwords are kept as scrypt with parameters of OWASP's Password Storage Cheat Sheet (N = 2**15,
r = 8, p = 3: 32 MB each, for several may come at once); of a session only the hash of its token.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import Engine, delete, func, insert, select, update

from common.errors import DefinitionError
from portal.store import account, failure, session

Role = Literal["reviewer", "supervisor", "auditor"]
LEAST_LENGTH = 12
SESSION_LASTS, IDLE_LASTS = timedelta(hours=12), timedelta(minutes=30)
FREE_OF_ACCOUNT, FREE_OF_ADDRESS, FAILURES_KEPT = 5, 20, timedelta(hours=1)
"""How many wrong passwords cost nothing (a whole office may have one address), and how long one
counts; each more doubles the wait."""
LONGEST_WAIT = timedelta(minutes=15)
NOBODY = b"nobody's salt...", b"\0" * 32
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Visitor:
    """Who is signed in; `form_token` proves that a form is of this session."""

    name: str
    role: Role
    form_token: str


class TooManyFailures(Exception):
    """Wrong passwords: `seconds` to wait."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds


def add(engine: Engine, name: str, role: str, password: str) -> None:
    """A new account. Raises DefinitionError for a name that is taken, a role that is none and a
    password that is short."""
    if role not in get_args(Role):
        raise DefinitionError(
            "no such role", where=role, next_step=f"choose one of {', '.join(get_args(Role))}."
        )
    with engine.begin() as connection:
        if connection.execute(select(account.c.name).where(account.c.name == name)).first():
            raise DefinitionError(
                "this account exists", where=name, next_step="see `muara account list`."
            )
        connection.execute(
            insert(account).values(name=name, role=role, is_active=True, **_kept(password))
        )


def change(
    engine: Engine, name: str, *, password: str | None = None, is_active: bool | None = None
) -> None:
    """Another password, or in or out; the account's sessions end. Raises DefinitionError for an
    account that is none."""
    values = _kept(password) if password is not None else {}
    if is_active is not None:
        values["is_active"] = is_active
    with engine.begin() as connection:
        changed = connection.execute(
            update(account).where(account.c.name == name).values(**values)
        ).rowcount
        connection.execute(delete(session).where(session.c.name == name))
    if not changed:
        raise DefinitionError("no such account", where=name, next_step="see `muara account list`.")


def all_of(engine: Engine) -> list[dict[str, object]]:
    """name, role, is_active of every account."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(account.c.name, account.c.role, account.c.is_active).order_by(account.c.name)
        )
        return [dict(row._mapping) for row in rows]


def known(engine: Engine, name: str) -> str:
    """The name, if it is an account's; else `?`, for people type passwords into the wrong field."""
    return name if any(one["name"] == name for one in all_of(engine)) else "?"


def sign_in(
    engine: Engine, name: str, password: str, address: str, now: Clock = utc_now
) -> str | None:
    """The token of a new session; None for a wrong name or password, which take as long as each
    other. Raises TooManyFailures while the account or the address has to wait."""
    with engine.begin() as connection:
        found = connection.execute(
            select(account).where(account.c.name == name, account.c.is_active)
        ).first()
    tried = {f"address {address}": FREE_OF_ADDRESS}
    if found:
        tried[f"account {name}"] = FREE_OF_ACCOUNT
    _be_patient(engine, tried, now())
    salt, kept = (found.salt, found.password) if found else NOBODY
    if not hmac.compare_digest(_scrypt(password, salt), kept) or not found:
        return None
    token = secrets.token_urlsafe(32)
    with engine.begin() as connection:
        connection.execute(delete(failure).where(failure.c.whose.in_(tried)))
        connection.execute(
            insert(session).values(
                token=_hash(token), name=name, form_token=secrets.token_urlsafe(32),
                began_at=now(), seen_at=now(),
            )
        )  # fmt: skip
    return token


def visitor(engine: Engine, token: str, now: Clock = utc_now) -> Visitor | None:
    """Whose session this is; None when it is over or the account is out."""
    with engine.begin() as connection:
        found = connection.execute(
            select(session.c.name, account.c.role, session.c.form_token)
            .join(account, account.c.name == session.c.name)
            .where(
                session.c.token == _hash(token),
                account.c.is_active,
                session.c.began_at > now() - SESSION_LASTS,
                session.c.seen_at > now() - IDLE_LASTS,
            )
        ).first()
        if found:
            connection.execute(
                update(session).where(session.c.token == _hash(token)).values(seen_at=now())
            )
    return Visitor(*found) if found else None


def sign_out(engine: Engine, token: str) -> None:
    with engine.begin() as connection:
        connection.execute(delete(session).where(session.c.token == _hash(token)))


def _be_patient(engine: Engine, tried: dict[str, int], now: datetime) -> None:
    """Counts the attempt as failed until it succeeds, so that many at once do not slip through."""
    with engine.begin() as connection:
        connection.execute(delete(failure).where(failure.c.at < now - FAILURES_KEPT))
        for whose, free in tried.items():
            count, last = connection.execute(
                select(func.count(), func.max(failure.c.at)).where(failure.c.whose == whose)
            ).one()
            if count >= free:
                wait = min(timedelta(seconds=2 ** (count - free + 2)), LONGEST_WAIT)
                if (left := (last + wait - now).total_seconds()) > 0:
                    raise TooManyFailures(int(left) + 1)
            connection.execute(insert(failure).values(whose=whose, at=now))


def _kept(password: str) -> dict[str, object]:
    if len(password) < LEAST_LENGTH:
        raise DefinitionError(
            f"a password has at least {LEAST_LENGTH} characters",
            next_step="choose a longer one; a sentence is easy to keep.",
        )
    salt = secrets.token_bytes(16)
    return {"salt": salt, "password": _scrypt(password, salt)}


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**15, r=8, p=3, maxmem=2**26, dklen=32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

"""Who may come in: accounts, roles, passwords, sessions.

Passwords are kept as scrypt with parameters of OWASP's Password Storage Cheat Sheet (N = 2**15,
r = 8, p = 3: 32 MB and a processor each, so they take turns); of a session only the hash of its
token. A row of either counts only with its seal, which a hand in the file cannot make.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from getpass import getuser
from threading import Lock, Semaphore
from typing import Any, Literal, get_args

from sqlalchemy import Row, delete, insert, select, update

from common.errors import DefinitionError
from portal import patience
from portal.patience import Clock, utc_now
from warehouse.audit import account_seal, adding, note_account
from warehouse.audit.store import Store, account, session

Role = Literal["reviewer", "supervisor", "auditor"]
LEAST_LENGTH, LONGEST_NAME = 12, 60
SESSION_LASTS, IDLE_LASTS = timedelta(hours=12), timedelta(minutes=30)
NOBODY = b"nobody's salt...", b"\0" * 32


@dataclass(frozen=True)
class Visitor:
    """Who is signed in; `form_token` proves that a form is of this session."""

    name: str
    role: Role
    form_token: str


def add(store: Store, name: str, role: str, password: str) -> None:
    """A new account. Raises DefinitionError for a name that is taken or none, a role that is none
    and a password that is short."""
    if role not in get_args(Role):
        raise DefinitionError(
            "no such role", where=role, next_step=f"choose one of {', '.join(get_args(Role))}."
        )
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME:
        raise DefinitionError(
            f"a name has 1 to {LONGEST_NAME} printable characters", where="account",
            next_step="choose another.",
        )  # fmt: skip
    values = _kept(password)
    with adding(store) as (connection, note):
        if connection.execute(select(account.c.name).where(account.c.name == name)).first():
            raise DefinitionError(
                "this account exists", where=name, next_step="see `muara account list`."
            )
        connection.execute(
            insert(account).values(name=name, role=role, is_active=True, seal="", **values)
        )
        note_account(store, connection, note, name, by=getuser(), action="account_added", what=role)


def change(
    store: Store, name: str, *, password: str | None = None, is_active: bool | None = None
) -> None:
    """Another password, or in or out; the account's sessions end. Raises DefinitionError for an
    account that is none, or that was changed in the file."""
    values = _kept(password) if password is not None else {}
    what = ["password"] if values else []
    if is_active is not None:
        values["is_active"] = is_active
        what.append("in" if is_active else "out")
    with adding(store) as (connection, note):
        found = connection.execute(select(account).where(account.c.name == name)).first()
        if found is None:
            raise DefinitionError(
                "no such account", where=name, next_step="see `muara account list`."
            )
        if not _is_sealed(store, found):
            raise DefinitionError(
                "this account was changed in the file", where=name,
                next_step="see `muara audit --verify`.",
            )  # fmt: skip
        connection.execute(update(account).where(account.c.name == name).values(**values))
        connection.execute(delete(session).where(session.c.name == name))
        note_account(
            store, connection, note, name, by=getuser(), action="account_changed",
            what="+".join(what),
        )  # fmt: skip


def all_of(store: Store) -> list[dict[str, object]]:
    """name, role, is_active of every account, and is_as_sealed: whether it is an account at all."""
    with store.engine.connect() as connection:
        return [
            {
                "name": row.name,
                "role": row.role,
                "is_active": row.is_active,
                "is_as_sealed": _is_sealed(store, row),
            }
            for row in connection.execute(select(account).order_by(account.c.name))
        ]


def known(store: Store, name: str) -> str:
    """The name, if it is an account's; else `?`, for people type passwords into the wrong field."""
    return name if any(one["name"] == name for one in all_of(store)) else "?"


class Crowded(Exception):
    """More passwords wait to be checked than may: `seconds` until it is worth trying again."""

    seconds = 5


class Turns:
    """One password is checked at a time and a few may wait, so that the pages do not."""

    def __init__(self, waiting: int = 8) -> None:
        self._places, self._lock, self._turn = waiting + 1, Lock(), Semaphore()

    def __enter__(self) -> None:
        with self._lock:
            if not self._places:
                raise Crowded
            self._places -= 1
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        self._turn.release()
        with self._lock:
            self._places += 1


def sign_in(
    store: Store, name: str, password: str, address: str, now: Clock = utc_now, *, device: str = ""
) -> str | None:
    """The token of a new session; None for a wrong name or password and an account that is out,
    which take as long as each other. Raises TooManyFailures while whoever tries has to wait."""
    tried = patience.begin(store, name, address, device, now)
    with store.engine.connect() as connection:
        found = connection.execute(select(account).where(account.c.name == name)).first()
    salt, kept = (found.salt, found.password) if found else NOBODY
    is_right = hmac.compare_digest(_scrypt(password, salt), kept)
    if not (is_right and found and found.is_active and _is_sealed(store, found)):
        return None
    patience.forgive(store, tried)
    token = secrets.token_urlsafe(32)
    form_token, began = secrets.token_urlsafe(32), now()
    with store.engine.begin() as connection:
        connection.execute(delete(session).where(session.c.began_at < began - SESSION_LASTS))
        connection.execute(
            insert(session).values(
                token=_hash(token), name=name, form_token=form_token, began_at=began, seen_at=began,
                seal=_session_seal(store, _hash(token), name, form_token, began),
            )
        )  # fmt: skip
    return token


def visitor(store: Store, token: str, now: Clock = utc_now) -> Visitor | None:
    """Whose session this is; None when it is over or the account is out."""
    with store.engine.begin() as connection:
        found = connection.execute(
            select(session).where(
                session.c.token == _hash(token),
                session.c.began_at > now() - SESSION_LASTS,
                session.c.seen_at > now() - IDLE_LASTS,
            )
        ).first()
        if found is None or found.seal != _session_seal(
            store, found.token, found.name, found.form_token, found.began_at
        ):
            return None
        whose = connection.execute(select(account).where(account.c.name == found.name)).first()
        if whose is None or not whose.is_active or not _is_sealed(store, whose):
            return None
        connection.execute(
            update(session).where(session.c.token == _hash(token)).values(seen_at=now())
        )
    return Visitor(whose.name, whose.role, found.form_token)


def sign_out(store: Store, token: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(delete(session).where(session.c.token == _hash(token)))


def _is_sealed(store: Store, found: Row[Any]) -> bool:
    return hmac.compare_digest(found.seal, account_seal(store, found))


def _session_seal(
    store: Store, token: bytes, name: str, form_token: str, began_at: datetime
) -> str:
    return store.seal("session", token.hex(), form_token, began_at.isoformat(), name)


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

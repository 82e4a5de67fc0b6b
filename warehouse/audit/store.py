"""The audit log, and the portal's accounts and sessions: a SQLite file of their own, for a page
must not wait for a night that writes the lake. No person's value is in it: mentions are surrogates.
"""

import hmac
import sqlite3
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.exc import SQLAlchemyError

from common.errors import HomeFault
from common.settings import Settings
from warehouse.audit.seals import sealed

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("password", LargeBinary, nullable=False, comment="scrypt of the password"),
    Column("is_active", Boolean, nullable=False, default=True),
    Column("seal", String, nullable=False, comment="keyed hash of this row; else it is no account"),
)
session = Table(
    "session",
    metadata,
    Column("token", LargeBinary, primary_key=True, comment="SHA-256 of the cookie"),
    Column("name", String, nullable=False),
    Column("form_token", String, nullable=False, comment="what every form of it sends back"),
    Column("began_at", DateTime, nullable=False),
    Column("seen_at", DateTime, nullable=False),
    Column("seal", String, nullable=False, comment="keyed hash of this row; else it is no session"),
)
attempt = Table(
    "attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("whose", String, nullable=False, index=True, comment="keyed hash of who may be it"),
    Column("at", DateTime, nullable=False),
    Column("is_noted", Boolean, nullable=False, comment="a refusal after it is in the audit log"),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("account", String, nullable=False),
    Column("address", String, nullable=False),
    Column("action", String, nullable=False),
    Column("what", String, nullable=False, comment="mentions as role:record, never a value"),
    Column("seal", String, nullable=False, comment="keyed hash of this row and the seal before"),
)
APPEND_ONLY = {
    f"audit_is_append_only_{what}": f"BEFORE {what} ON audit {which} "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for what, which in {
        "UPDATE": "",
        "DELETE": "",
        # REPLACE deletes without asking the trigger of DELETE.
        "INSERT": "WHEN NEW.id <> (SELECT coalesce(max(id), 0) + 1 FROM audit)",
    }.items()
}
"""Name → trigger."""


@dataclass(frozen=True)
class Store:
    """The file, and the settings of its home, which know the key of its seals."""

    settings: Settings
    engine: Engine

    def seal(self, kind: str, *parts: object) -> str:
        """A keyed hash that only this home can make. No part but the last may be as people type it:
        each ends with its line."""
        key = hmac.new(self.settings.pseudonym_key.encode(), kind.encode(), sha256).digest()
        text = "\n".join(map(str, parts))
        return hmac.new(key, text.encode(errors="surrogatepass"), sha256).hexdigest()

    def dispose(self) -> None:
        self.engine.dispose()


def path_of(settings: Settings) -> Path:
    return settings.home / "portal" / "portal.sqlite"


def open_store(settings: Settings, *, anew: bool = False) -> Store:
    """The portal's store, made when there never was one, readable by its owner only; with `anew`
    also when it is lost. Raises HomeFault where it is lost, or cannot be read or made."""
    path = path_of(settings)
    is_there = path.exists() and path.stat().st_size
    if not is_there and not anew and sealed(settings):
        raise HomeFault(
            "the portal's store is gone or empty, but its audit log was sealed",
            where=str(path),
            next_step="bring the file back from a backup (`muara restore`); to begin without the "
            'old accounts and log: `muara audit --accept "why"`.',
        )
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)
    event.listen(engine, "connect", _on_connect)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _upgrade(connection)
            metadata.create_all(connection)
            guard(connection)
            connection.commit()
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise HomeFault(
            f"the portal's store cannot be read or made ({type(error).__name__})",
            where=str(path),
            next_step="see that the disk has room and the folder is ours; else bring the file "
            "back from a backup.",
        ) from None
    return Store(settings, engine)


def guard(connection: Connection) -> None:
    """The audit log's triggers, as they are written here."""
    there: dict[str, str] = {
        row.name: row.sql
        for row in connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        )
    }
    for name, body in APPEND_ONLY.items():
        statement = f"CREATE TRIGGER {name} {body}"
        if there.get(name) != statement:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            connection.exec_driver_sql(statement)


def _upgrade(connection: Connection) -> None:
    """A store from before accounts were sealed: they wait for `muara audit --accept`."""
    tables = inspect(connection)
    if not tables.has_table("account"):
        return
    if "seal" not in {column["name"] for column in tables.get_columns("account")}:
        connection.exec_driver_sql(
            "ALTER TABLE account ADD COLUMN seal VARCHAR NOT NULL DEFAULT ''"
        )
        connection.exec_driver_sql("DROP TABLE IF EXISTS session")
        connection.exec_driver_sql("DROP TABLE IF EXISTS failure")


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 5000")

"""Accounts, sessions and the audit log: a SQLite file of the portal's own, for a page must not wait
for a night that writes the lake. No person's value is in it: mentions are surrogates.
"""

import sqlite3

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)

from common.settings import Settings

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("password", LargeBinary, nullable=False, comment="scrypt of the password"),
    Column("is_active", Boolean, nullable=False, default=True),
)
session = Table(
    "session",
    metadata,
    Column("token", LargeBinary, primary_key=True, comment="SHA-256 of the cookie"),
    Column("name", String, nullable=False),
    Column("form_token", String, nullable=False, comment="what every form of it sends back"),
    Column("began_at", DateTime, nullable=False),
    Column("seen_at", DateTime, nullable=False),
)
failure = Table(
    "failure",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("whose", String, nullable=False, index=True, comment="an account or an address"),
    Column("at", DateTime, nullable=False),
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
APPEND_ONLY = """
    CREATE TRIGGER IF NOT EXISTS audit_is_append_only_{what} BEFORE {what} ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""


def open_store(settings: Settings) -> Engine:
    """The portal's store, made when there is none, readable by its owner only."""
    folder = settings.home / "portal"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "portal.sqlite"
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)
    event.listen(engine, "connect", _on_connect)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for what in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(APPEND_ONLY.format(what=what))
    return engine


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 5000")

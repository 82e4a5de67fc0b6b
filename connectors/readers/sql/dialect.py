"""What each database is asked for: every value as text, written by the database itself.

Landing keeps text as sent, so the text is made where the value lives, by the database's own output
functions; a driver cannot round, shift or refuse it. The same expressions are hashed there for the
`checksum` strategy. A dialect is data and SQL: it opens no connection.

Canonical text: numbers as the database prints them exactly (floats in the shortest form that reads
back equal), booleans `true`/`false`, timestamps ISO 8601 with a blank, `timestamptz` in UTC with
its offset, binary as lower-case hex, arrays and JSON as the database prints them, zero dates as
they are. Blanks that pad `char(n)` are not part of the value.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from common.quoting import identifier, literal

NO_SUCH_TABLE = 1146
TIMES = frozenset(
    {"date", "datetime", "timestamp", "timestamptz", "datetime2", "smalldatetime", "datetimeoffset"}
)
"""Kinds of columns that sort as time does."""
BUCKET_BITS = 32
CONTENT_BITS = 40
BETWEEN, NOTHING = 31, 30
"""Unit and record separator (ASCII): between the values of a hashed row, and in place of NULL."""


@dataclass(frozen=True)
class SourceColumn:
    """A column as the database declares it."""

    name: str
    type: Any

    @property
    def kind(self) -> str:
        """The type's name in lower case, without length: `varchar`, `timestamp`, `bit`."""
        name = str(getattr(self.type, "__visit_name__", self.type)).lower()
        return re.split(r"[ (]", name, maxsplit=1)[0]

    @property
    def declared(self) -> str:
        """The whole type as text, for comparing one night's shape with another's."""
        zone = " with time zone" if getattr(self.type, "timezone", False) else ""
        try:
            return f"{self.type}{zone}".lower()
        except (AttributeError, sa.exc.CompileError):
            return self.kind


class Dialect:
    """Any database SQLAlchemy speaks: values as its driver gives them."""

    name = "other"

    def quote(self, name: str) -> str:
        return identifier(name)

    def literal(self, text: str) -> str:
        return literal(text)

    def columns(
        self, connection: sa.Connection, table: str, schema: str | None
    ) -> list[SourceColumn]:
        """The columns of a table or view, in its order. Raises NoSuchTableError."""
        found = sa.inspect(connection).get_columns(table, schema)
        return [SourceColumn(one["name"], one["type"]) for one in found]

    def as_text(self, column: SourceColumn) -> str:
        """SQL: the canonical text of a column, NULL where it is NULL."""
        return self.quote(column.name)

    def guest(self, seconds: int) -> list[str]:
        """Statements that make the session a guest: read-only, one snapshot, bounded in time."""
        return []

    def now(self, cursor: SourceColumn) -> str | None:
        """SQL: the source's own clock, as the column's kind of text; None where it has none."""
        return None

    def unstamped(self, name: str) -> str:
        """SQL: a column of type date or timestamp that says no time."""
        return f"{name} IS NULL"

    def disordered(self, cursor: SourceColumn, table: str) -> str | None:
        """Why the values of a cursor's column do not sort as time does: SQL of a row that shows
        it, '' where its type says so already, None where they do."""
        return None if cursor.kind in TIMES else ""


class SummingDialect(Dialect, ABC):
    """A database that can sum hashes of its rows, for strategy `checksum`."""

    @abstractmethod
    def bucket(self, key: str) -> str:
        """SQL: the first 32 bits of the MD5 of a key's text, the same on every database."""

    @abstractmethod
    def row_hash(self, text: str) -> str:
        """SQL: a number of up to 64 bits that changes when the row's text changes."""

    @abstractmethod
    def content(self, text: str) -> str:
        """SQL: the first 40 bits of the MD5 of a text, the same on every database and here."""

    def once(self, query: str) -> str:
        """The query, fenced: what it computes is not computed again for every mention."""
        return query

    def shifted(self, bucket: str, bits: int) -> str:
        """SQL: the leading `bits` of a bucket."""
        return f"({bucket}) >> {BUCKET_BITS - bits}"

    @abstractmethod
    def joined(self, columns: list[SourceColumn]) -> str:
        """SQL: all values of a row in one text, NULL told apart from ''."""

    def key_text(self, columns: list[SourceColumn]) -> str:
        """SQL: the key as landing spells it, its parts joined by `|`; '' when a part is NULL."""
        parts = " || '|' || ".join(self.as_text(column) for column in columns)
        return f"coalesce({parts}, '')"


class Postgresql(SummingDialect):
    name = "postgresql"

    def as_text(self, column: SourceColumn) -> str:
        if column.kind == "bytea":
            return f"encode({self.quote(column.name)}, 'hex')"
        return f"{self.quote(column.name)}::text"

    def guest(self, seconds: int) -> list[str]:
        return [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            *self.settings(seconds),
        ]

    def settings(self, seconds: int) -> list[str]:
        """How long a question may take, and how values are written."""
        return [
            f"SET LOCAL statement_timeout = {self.literal(f'{seconds}s')}",
            "SET LOCAL TimeZone = 'UTC'",
            "SET LOCAL DateStyle = 'ISO, YMD'",
            "SET LOCAL IntervalStyle = 'iso_8601'",
            "SET LOCAL extra_float_digits = 1",
        ]

    def bucket(self, key: str) -> str:
        return f"('x' || left(md5(convert_to({key}, 'UTF8')), 8))::bit(32)::bigint"

    def row_hash(self, text: str) -> str:
        return f"hashtextextended({text}, 0)"

    def content(self, text: str) -> str:
        return f"('x' || left(md5(convert_to({text}, 'UTF8')), 10))::bit(40)::bigint"

    def once(self, query: str) -> str:
        return f"{query} OFFSET 0"

    def joined(self, columns: list[SourceColumn]) -> str:
        values = ", ".join(f"coalesce({self.as_text(one)}, chr({NOTHING}))" for one in columns)
        return f"concat_ws(chr({BETWEEN}), {values})"

    def now(self, cursor: SourceColumn) -> str:
        if getattr(cursor.type, "timezone", False):
            return "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
        own_zone = "(SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')"
        return f"to_char(now() AT TIME ZONE {own_zone}, 'YYYY-MM-DD HH24:MI:SS')"


class Mariadb(SummingDialect):
    name = "mysql"
    binary = frozenset({"binary", "varbinary", "blob", "tinyblob", "mediumblob", "longblob"})
    geometry = frozenset(
        {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring",
         "multipolygon", "geometrycollection", "geomcollection"}
    )  # fmt: skip
    written = frozenset(
        {"char", "varchar", "text", "tinytext", "mediumtext", "longtext", "enum", "set", "json"}
    )

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def literal(self, text: str) -> str:
        return literal(text.replace("\\", "\\\\"))

    def columns(
        self, connection: sa.Connection, table: str, schema: str | None
    ) -> list[SourceColumn]:
        """By a question that the right to SELECT allows, of views too; SQLAlchemy's needs more and
        doubles a backtick in a name."""
        name = ".".join(self.quote(part) for part in (schema, table) if part is not None)
        options = connection.execution_options(no_parameters=True)
        try:
            found = options.exec_driver_sql(f"SHOW COLUMNS FROM {name}").all()
        except sa.exc.ProgrammingError as error:
            if error.orig is not None and error.orig.args[:1] == (NO_SUCH_TABLE,):
                raise sa.exc.NoSuchTableError(table) from None
            raise
        return [SourceColumn(one[0], _text(one[1])) for one in found]

    def as_text(self, column: SourceColumn) -> str:
        name = self.quote(column.name)
        if column.kind in self.geometry:
            return f"ST_AsText({name})"
        if column.kind in self.written:
            return f"CONVERT({name} USING utf8mb4)"
        if column.kind in self.binary:
            return f"LOWER(HEX({name}))"
        if column.kind == "bit":
            return f"CAST({name} + 0 AS CHAR CHARACTER SET utf8mb4)"
        if column.kind == "float":
            # Printed as a float it would keep six digits only.
            return f"CAST(CAST({name} AS DOUBLE) AS CHAR CHARACTER SET utf8mb4)"
        return f"CAST({name} AS CHAR CHARACTER SET utf8mb4)"

    def guest(self, seconds: int) -> list[str]:
        return [
            *self.limits(seconds),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ]

    def limits(self, seconds: int) -> list[str]:
        return [f"SET SESSION max_statement_time = {seconds}"]

    def bucket(self, key: str) -> str:
        return f"CAST(CONV(LEFT(MD5({key}), 8), 16, 10) AS UNSIGNED)"

    def row_hash(self, text: str) -> str:
        return f"CAST(CONV(LEFT(MD5({text}), 16), 16, 10) AS UNSIGNED)"

    def content(self, text: str) -> str:
        return f"CAST(CONV(LEFT(MD5({text}), 10), 16, 10) AS UNSIGNED)"

    def once(self, query: str) -> str:
        return f"{query} LIMIT {2**64 - 1}"

    def joined(self, columns: list[SourceColumn]) -> str:
        nothing = f"CHAR({NOTHING} USING utf8mb4)"
        values = ", ".join(f"COALESCE({self.as_text(one)}, {nothing})" for one in columns)
        return f"CONCAT_WS(CHAR({BETWEEN} USING utf8mb4), {values})"

    def key_text(self, columns: list[SourceColumn]) -> str:
        parts = ", '|', ".join(self.as_text(column) for column in columns)
        return f"COALESCE(CONCAT({parts}), '')"

    def now(self, cursor: SourceColumn) -> str:
        return "DATE_FORMAT(NOW(), '%Y-%m-%d %H:%i:%s')"

    def unstamped(self, name: str) -> str:
        """A zero date is none."""
        return f"({name} IS NULL OR {name} = 0)"


class Mysql(Mariadb):
    """MySQL itself; the same but for the name of its time limit."""

    def limits(self, seconds: int) -> list[str]:
        return [f"SET SESSION max_execution_time = {seconds * 1000}"]


class Sqlite(SummingDialect):
    """SQLite: any value may be of any type; hashes are functions that we register."""

    name = "sqlite"

    def as_text(self, column: SourceColumn) -> str:
        name = self.quote(column.name)
        # A float's usual 15 digits where they read back equal, else 17; binary as hex.
        return (
            f"CASE typeof({name}) WHEN 'real' THEN CASE WHEN CAST(CAST({name} AS TEXT) AS REAL) = "
            f"{name} THEN CAST({name} AS TEXT) ELSE printf('%!.17g', {name}) END "
            f"WHEN 'blob' THEN lower(hex({name})) ELSE CAST({name} AS TEXT) END"
        )

    def guest(self, seconds: int) -> list[str]:
        return ["PRAGMA query_only = ON", "BEGIN"]

    def disordered(self, cursor: SourceColumn, table: str) -> str | None:
        """It has no type of time: texts that begin as ISO 8601 does sort as time does."""
        name = self.quote(cursor.name)
        iso = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
        return (
            f"SELECT 1 FROM {table} WHERE {name} IS NOT NULL AND NOT (typeof({name}) = 'text' "
            f"AND {name} GLOB {literal(iso)}) LIMIT 1"
        )

    def bucket(self, key: str) -> str:
        return f"muara_hash({key}, 8)"

    def row_hash(self, text: str) -> str:
        return f"muara_hash({text}, 10)"

    def content(self, text: str) -> str:
        return f"muara_hash({text}, 10)"

    def once(self, query: str) -> str:
        return f"{query} LIMIT -1"

    def joined(self, columns: list[SourceColumn]) -> str:
        nothing = f"char({NOTHING})"
        values = [f"coalesce({self.as_text(one)}, {nothing})" for one in columns]
        return f" || char({BETWEEN}) || ".join(values)

    @staticmethod
    def hash_of(text: str, digits: int) -> int:
        """The leading hex digits of a text's MD5, as a number: `muara_hash` inside SQLite.

        Row hashes have 40 bits: SQLite's sums end at 63, and 8 million rows must fit.
        """
        return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:digits], 16)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def dialect_of(dialect: sa.Dialect) -> Dialect:
    """Ours for SQLAlchemy's."""
    match dialect.name:
        case "postgresql":
            return Postgresql()
        case "mysql" | "mariadb":
            return Mariadb() if getattr(dialect, "is_mariadb", False) else Mysql()
        case "sqlite":
            return Sqlite()
        case _:
            return Dialect()

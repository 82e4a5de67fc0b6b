"""How rows travel from a database into Arrow batches of text: the fastest well-kept way for each.

PostgreSQL: its own COPY, parsed by Arrow, on the session's connection and so in its snapshot.
MariaDB and MySQL: ConnectorX (a Rust reader); one statement is one snapshot there, and it carries
its own count. Everything else, and any connection with TLS options of its own: the driver's cursor.
All of them send the same SQL (see dialect.py), so they give the same texts.
"""

import io
from collections.abc import Iterator

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import csv
from sqlalchemy import exc

from connectors.readers.sql.dialect import Dialect, Mariadb, Postgresql

COPY_BLOCK = 4 << 20
"""Bytes Arrow parses at a time; a single row must fit."""
COUNT = "muara_count"


class RouteBroken(Exception):
    """A route failed; carries the server's text, which may quote a row: never show it."""


class Route:
    """The driver's own cursor, a bounded number of rows at a time.

    `told`, after the last batch of `rows`: how many rows the database itself says there were, in
    the same snapshot.
    """

    def __init__(self, connection: sa.Connection, dialect: Dialect, batch_rows: int) -> None:
        self.connection, self.dialect, self.batch_rows = connection, dialect, batch_rows
        self.told = 0

    def rows(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        """`SELECT … FROM source`: `columns` is name → SQL of a text, `source` a table with its
        condition."""
        self.told = self._count(source)
        yield from self.fetch(columns, source)

    def fetch(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        """The batches, uncounted."""
        result = self.connection.execution_options(
            stream_results=True, max_row_buffer=self.batch_rows, no_parameters=True
        ).exec_driver_sql(self._select(columns, source))
        while rows := result.fetchmany(self.batch_rows):
            yield pa.RecordBatch.from_arrays(
                [_texts(values) for values in zip(*rows, strict=True)], names=list(columns)
            )

    def _select(self, columns: dict[str, str], source: str) -> str:
        quote = self.dialect.quote
        chosen = ", ".join(f"{text} AS {quote(name)}" for name, text in columns.items())
        return f"SELECT {chosen} FROM {source}"

    def _count(self, source: str) -> int:
        options = self.connection.execution_options(no_parameters=True)
        return int(options.exec_driver_sql(f"SELECT count(*) FROM {source}").scalar_one())


class PostgresCopy(Route):
    """COPY … TO STDOUT on the session's own connection; it ends with the server's count."""

    def rows(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        yield from self.fetch(columns, source)

    def fetch(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        import psycopg

        driver = self.connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        try:
            statement = f"COPY ({self._select(columns, source)}) TO STDOUT (FORMAT csv)"
            with driver.cursor() as cursor:
                with cursor.copy(statement.encode()) as copy:
                    yield from _parsed(_Stream(copy), list(columns))
                self.told = cursor.rowcount
        except psycopg.Error as error:
            raise RouteBroken(str(error)) from None


def _parsed(stream: "_Stream", columns: list[str]) -> Iterator[pa.RecordBatch]:
    if stream.is_empty:
        return
    yield from csv.open_csv(
        stream,
        read_options=csv.ReadOptions(column_names=columns, block_size=COPY_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
        ),
    )


class _Stream(io.RawIOBase):
    """The pieces of a COPY as a file that can be read."""

    def __init__(self, copy) -> None:
        self.pieces = iter(copy)
        self.held = memoryview(bytes(next(self.pieces, b"")))

    @property
    def is_empty(self) -> bool:
        return not self.held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        filled = 0
        while filled < len(buffer):
            if not self.held:
                self.held = memoryview(bytes(next(self.pieces, b"")))
                if not self.held:
                    break
            taken = self.held[: len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            self.held = self.held[len(taken) :]
            filled += len(taken)
        return filled


class Connectorx(Route):
    """A connection of its own: the statement is its snapshot and counts itself."""

    def rows(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        self.told = -1
        count = f"CAST((SELECT count(*) FROM {source}) AS CHAR)"
        for batch in self.fetch({**columns, COUNT: count}, source):
            if batch.num_rows:
                self.told = int(batch.column(COUNT)[0].as_py())
            yield batch.drop_columns([COUNT])
        if self.told < 0:  # no row came, and so no count: is there really none?
            self.told = self._count(source)

    def fetch(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        import connectorx

        assert isinstance(self.dialect, Mariadb)
        # A tunnel ends on the loopback too: the server's own socket must not be looked for here.
        url = self.connection.engine.url.set(drivername="mysql", query={"prefer_socket": "false"})
        limit = self.connection.info["seconds"]
        try:
            yield from connectorx.read_sql(
                url.render_as_string(hide_password=False),
                self._select(columns, source),
                return_type="arrow_stream",
                protocol="text",
                batch_size=self.batch_rows,
                pre_execution_query=[
                    *self.dialect.limits(limit),
                    "SET SESSION TRANSACTION READ ONLY",
                ],
            )
        except (RuntimeError, OSError, pa.ArrowException) as error:
            raise RouteBroken(str(error)) from None
        except BaseException as error:
            # A connection that breaks midway makes ConnectorX panic: an exception of its own kind.
            if type(error).__name__ == "PanicException":
                raise RouteBroken(str(error)) from None
            raise


def route_of(connection: sa.Connection, dialect: Dialect, batch_rows: int) -> Route:
    """The fastest route this connection can take."""
    if isinstance(dialect, Postgresql) and connection.dialect.driver == "psycopg":
        return PostgresCopy(connection, dialect, batch_rows)
    if isinstance(dialect, Mariadb) and not connection.engine.url.query:
        return Connectorx(connection, dialect, batch_rows)
    return Route(connection, dialect, batch_rows)


def _texts(values: tuple) -> pa.Array:
    """Texts as they are; of a dialect we do not know, Python's own spelling of its values."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if one is None else _spelled(one) for one in values], pa.string())


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)


DRIVER_ERRORS = (exc.DBAPIError, RouteBroken)

"""How rows travel from a database into Arrow batches of text: the fastest well-kept way for each.

PostgreSQL: DuckDB's scanner, a binary COPY on a connection of its own in the session's snapshot.
MariaDB and MySQL: ConnectorX (a Rust reader); one statement is one snapshot there, and it carries
its own count. Everything else, and any connection with TLS options of its own: the driver's cursor.
All of them send the same SQL (see dialect.py), so they give the same texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from common.extensions import load, may_skip_signatures
from common.quoting import literal
from connectors.readers.sql.dialect import Dialect, Mariadb, Postgresql

SCANNER = "postgres_scanner"


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
        for batch in self._batches(list(columns.values()), source):
            yield batch.rename_columns(list(columns))

    def _batches(self, texts: list[str], source: str) -> Iterator[pa.RecordBatch]:
        """The batches, their columns in this order, under any names."""
        result = self.connection.execution_options(
            stream_results=True, max_row_buffer=self.batch_rows, no_parameters=True
        ).exec_driver_sql(self._select(texts, source))
        while rows := result.fetchmany(self.batch_rows):
            columns = [_texts(values) for values in zip(*rows, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names=list(map(str, range(len(columns)))))

    def _select(self, texts: list[str], source: str) -> str:
        """Columns travel by their place: names of the source may differ in case only, which not
        every program on the way sees."""
        chosen = ", ".join(f"{text} AS c{place}" for place, text in enumerate(texts))
        return f"SELECT {chosen} FROM {source}"

    def _count(self, source: str) -> int:
        options = self.connection.execution_options(no_parameters=True)
        return int(options.exec_driver_sql(f"SELECT count(*) FROM {source}").scalar_one())


class PostgresScanner(Route):
    """DuckDB's scanner of PostgreSQL, on a connection of its own that shares our snapshot."""

    def _batches(self, texts: list[str], source: str) -> Iterator[pa.RecordBatch]:
        assert isinstance(self.dialect, Postgresql)
        options = self.connection.execution_options(no_parameters=True)
        snapshot = options.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        guest = "; ".join(
            [
                f"SET TRANSACTION SNAPSHOT {literal(snapshot)}",
                *self.dialect.settings(self.connection.info["seconds"]),
            ]
        )
        address = literal(_as_keywords(self.connection.engine.url))
        with _scanner() as scanner:
            try:
                scanner.execute(f"ATTACH {address} AS source (TYPE postgres, READ_ONLY)")
                scanner.execute(f"BEGIN; CALL postgres_execute('source', {literal(guest)})")
                yield from scanner.execute(
                    "FROM postgres_query('source', ?)", [self._select(texts, source)]
                ).to_arrow_reader(self.batch_rows)
            except (duckdb.Error, pa.ArrowException) as error:
                raise RouteBroken(str(error)) from None


@contextmanager
def _scanner() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with its PostgreSQL scanner. A transaction whose server is gone is given up by hand:
    left to the end of the connection, its failing ROLLBACK would end the whole process."""
    with duckdb.connect(
        config={"threads": 1, "allow_unsigned_extensions": may_skip_signatures(SCANNER)}
    ) as connection:
        load(connection, SCANNER)
        try:
            yield connection
        finally:
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")


class Connectorx(Route):
    """A connection of its own: the statement is its snapshot and counts itself."""

    def rows(self, columns: dict[str, str], source: str) -> Iterator[pa.RecordBatch]:
        self.told = -1
        count = f"CAST((SELECT count(*) FROM {source}) AS CHAR)"
        for batch in self._batches([*columns.values(), count], source):
            if batch.num_rows:
                self.told = int(batch.column(len(columns))[0].as_py())
            yield batch.select(range(len(columns))).rename_columns(list(columns))
        if self.told < 0:  # no row came, and so no count: is there really none?
            self.told = self._count(source)

    def _batches(self, texts: list[str], source: str) -> Iterator[pa.RecordBatch]:
        import connectorx

        assert isinstance(self.dialect, Mariadb)
        limit = self.connection.info["seconds"]
        try:
            yield from connectorx.read_sql(
                _escaped(self.connection.engine.url),
                self._select(texts, source),
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


def _as_keywords(url: sa.URL) -> str:
    """The address as libpq reads it whatever is in a password: in a URL a blank would end it."""
    facts = {
        "host": url.host, "port": url.port, "user": url.username, "password": url.password,
        "dbname": url.database, **url.query, "client_encoding": "UTF8",
    }  # fmt: skip
    return " ".join(
        "{}='{}'".format(name, str(value).replace("\\", "\\\\").replace("'", "\\'"))
        for name, value in facts.items()
        if value is not None
    )


def _escaped(url: sa.URL) -> str:
    """The address as a URL in which every odd character is escaped. A tunnel ends on the loopback
    too: the server's own socket must not be looked for here."""
    login = ":".join(quote(one, safe="") for one in (url.username, url.password) if one)
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    port = f":{url.port}" if url.port else ""
    return f"mysql://{login}@{host}{port}/{quote(url.database or '', safe='')}?prefer_socket=false"


def route_of(connection: sa.Connection, dialect: Dialect, batch_rows: int) -> Route:
    """The fastest route this connection can take."""
    if isinstance(dialect, Postgresql) and connection.dialect.driver == "psycopg":
        return PostgresScanner(connection, dialect, batch_rows)
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

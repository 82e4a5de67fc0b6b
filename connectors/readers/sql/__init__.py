"""Any database SQLAlchemy speaks: one read-only, snapshot-consistent pass in bounded batches."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from common import clock
from common.access import SqlAccess
from common.errors import (
    DefinitionError,
    SourceDenied,
    SourceError,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from connectors.readers.pull import Interval, Piece, Pull, Sums, keep_pace, note_shape
from connectors.readers.sql import buckets, families
from connectors.readers.sql.dialect import Dialect, SourceColumn, Sqlite, SummingDialect, dialect_of
from connectors.readers.sql.routes import DRIVER_ERRORS, Route, route_of


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the declared columns of the stream's table as text, `settings.batch_rows` at a time,
    as far as the stream's strategy needs them.

    Raises SourceUnavailable, SourceDenied, SourceShapeChanged or SourceMalformed; the database's
    own message stays out of ours, for it may quote a row or a password.
    """
    with session(pull) as table:
        condition: str | None
        match pull.stream.strategy:
            case "cursor":
                condition = _since(pull, table)
            case "checksum":
                condition = _changed_buckets(pull, table)
            case _:
                condition = ""
        if condition is not None:
            yield from _rows(pull, table, condition)


def count(pull: Pull, stretches: Sequence[Interval]) -> list[int]:
    """How many rows a reading of each stretch of the stream's cursor would bring; reads none.

    Raises as `read` does.
    """
    with session(pull) as table:
        now = _now(pull, table)
        conditions = [_within(pull, table, one.passed(now)) for one in stretches]
        return [
            int(table.scalar(f"SELECT count(*) FROM {table.name}{condition}"))
            for condition in conditions
        ]


def look(pull: Pull) -> None:
    """Note the shape of the stream's table; reads no row. Raises as `read` does."""
    with session(pull):
        pass


class Table:
    """The stream's table in an open session."""

    def __init__(self, pull: Pull, connection: sa.Connection) -> None:
        access = pull.access(SqlAccess)
        self.dialect = dialect_of(connection.dialect)
        self.route: Route = route_of(connection, self.dialect, pull.settings.batch_rows)
        self.connection = connection
        schema, table, declared = _placed(connection, self.dialect, access.table)
        found = {one.name: one for one in declared}
        note_shape(pull, {name: column.declared for name, column in found.items()})
        self.columns = [found[name] for name in pull.stream.columns]
        ours = {column.name: sent for sent, column in pull.stream.columns.items()}
        self.key = [found[ours[part]] for part in pull.stream.key]
        self.name = ".".join(self.dialect.quote(one) for one in (schema, table) if one is not None)
        # The driver tells a missing right by its code, which not every route does.
        first = self.dialect.as_text(self.columns[0])
        connection.execution_options(no_parameters=True).exec_driver_sql(
            f"SELECT {', '.join(self.texts.values()) or first} FROM {self.name} WHERE 1 = 0"
        ).close()

    @property
    def texts(self) -> dict[str, str]:
        return {column.name: self.dialect.as_text(column) for column in self.columns}

    def scalar(self, statement: str) -> Any:
        options = self.connection.execution_options(no_parameters=True)
        return options.exec_driver_sql(statement).scalar_one()


def _placed(
    connection: sa.Connection, dialect: Dialect, name: str
) -> tuple[str | None, str, list[SourceColumn]]:
    """Schema, table and columns of a name such as `dukcapil.warga`; a table that is called so
    itself, dot and all, comes first."""
    try:
        return None, name, dialect.columns(connection, name, None)
    except (exc.NoSuchTableError, exc.DBAPIError):
        if "." not in name:
            raise
    schema, _, table = name.partition(".")
    return schema, table, dialect.columns(connection, table, schema)


def _rows(pull: Pull, table: Table, condition: str) -> Iterator[Piece]:
    yield from paced(pull, table.route.rows(table.texts, f"{table.name}{condition}"))
    pull.announced = table.route.told
    if pull.extracted != pull.announced:
        raise SourceUnavailable(
            f"the stream ended after {pull.extracted} of {pull.announced} rows",
            where=pull.where,
            next_step="the next run tries again.",
        )


def paced(pull: Pull, batches: Iterable[pa.RecordBatch]) -> Iterator[Piece]:
    """The batches as pieces, counted, no faster than the source's owner allows."""
    started = time.monotonic()
    for rows in batches:
        pull.extracted += rows.num_rows
        yield Piece(_sent(rows))
        keep_pace(pull, started)


def _sent(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The place where every row of every route passes; what is counted is what is yielded."""
    return rows


def _since(pull: Pull, table: Table) -> str:
    """The condition of a cursor: from where it is covered, less the overlap; rows without a value
    every time. What lies in the future (a clock that jumped) is read until it has passed."""
    rule = pull.stream.cursor
    assert rule is not None
    stretch = pull.open_interval(_now(pull, table))
    if pull.progress.asked:
        return _within(pull, table, stretch)
    if not stretch.low:
        return ""
    name = table.dialect.quote(rule.column)
    since = f"{name} >= {table.dialect.literal(_moment(stretch.low))}"
    return f" WHERE {since} OR {table.dialect.unstamped(name)}"


def _within(pull: Pull, table: Table, stretch: Interval) -> str:
    rule = pull.stream.cursor
    assert rule is not None
    name, literal = table.dialect.quote(rule.column), table.dialect.literal
    bounds = [f"{name} < {literal(_moment(stretch.high))}"]
    bounds.append(f"NOT {table.dialect.unstamped(name)}")
    if stretch.low:
        bounds.append(f"{name} >= {literal(_moment(stretch.low))}")
    return f" WHERE {' AND '.join(bounds)}"


def _now(pull: Pull, table: Table) -> datetime:
    """The source's clock; the start of the night's day where it has none or the city's date is not
    the machine's (then stamps and clock would not belong together)."""
    rule = pull.stream.cursor
    assert rule is not None
    cursor = next(one for one in table.columns if one.name == rule.column)
    _require_order(pull, table, cursor)
    midnight = datetime.combine(clock.today(pull.settings), datetime.min.time())
    asking = table.dialect.now(cursor)
    if asking is None or clock.is_set(pull.settings):
        return midnight
    return datetime.fromisoformat(str(table.scalar(f"SELECT {asking}")))


def _require_order(pull: Pull, table: Table, cursor: SourceColumn) -> None:
    """Raises DefinitionError where the column sorts by spelling: later rows would never be read."""
    sign = table.dialect.disordered(cursor, table.name)
    options = table.connection.execution_options(no_parameters=True)
    if sign is None or (sign and options.exec_driver_sql(sign).first() is None):
        return
    raise DefinitionError(
        f"the cursor's column {cursor.name} ({cursor.declared}) does not sort as time does",
        where=pull.where,
        next_step="choose a column of type date or timestamp, or strategy `checksum` or "
        "`snapshot`.",
    )


def _moment(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")


def _changed_buckets(pull: Pull, table: Table) -> str | None:
    """The condition that leaves the rows of changed buckets; '' for all, None for none at all."""
    summed = Summed(pull, table)
    before = pull.progress.sums
    is_known = before and before.shape == summed.shape
    comparison = buckets.compare(before, summed.ask) if before and is_known else None
    if before is None or comparison is None or comparison.outgrown:
        bits = buckets.bits_for(int(table.scalar(f"SELECT count(*) FROM {table.name}")))
        pull.sums = Sums(bits, summed.shape, summed.ask(bits, None, bits))
        return ""
    pull.scope, pull.buckets = "buckets", comparison.changed
    pull.sums = Sums(before.bits, summed.shape, comparison.sums)
    if not comparison.changed:
        return None
    shifted = summed.dialect.shifted(summed.bucket, before.bits)
    return f" WHERE {among(shifted, comparison.changed)}"


class Summed:
    """The stream's table as strategy `checksum` sums it; `shape` tells which columns and how.

    Raises SourceShapeChanged where the database cannot sum.
    """

    def __init__(self, pull: Pull, table: Table) -> None:
        if not isinstance(table.dialect, SummingDialect):
            raise SourceShapeChanged(
                f"strategy `checksum` does not know the database {table.connection.dialect.name}",
                where=pull.where,
                next_step="use `snapshot` in source.yml.",
            )
        self.table, self.dialect = table, table.dialect
        self.bucket = self.dialect.bucket(self.dialect.key_text(table.key))
        self.text = self.dialect.joined(table.columns)
        self.shape = f"{self.dialect.name}: {self.bucket} {self.text}"

    def ask(self, bits: int, within: list[int] | None, wide_bits: int) -> pa.Table:
        """`buckets.Ask` of this table."""
        wide = self.dialect.shifted(self.bucket, wide_bits)
        condition = "" if within is None else f" WHERE {among(wide, within)}"
        hashed = (
            f"SELECT {self.dialect.shifted(self.bucket, bits)} AS bucket, "
            f"{self.dialect.row_hash(self.text)} AS hash FROM {self.table.name}{condition}"
        )
        return sums_of(self.table, hashed)


def sums_of(table: Table, hashed: str) -> pa.Table:
    """`buckets.SCHEMA`: rows and sum per bucket of a query that gives `bucket` and `hash`."""
    text = CHARACTERS[table.dialect.name]
    columns = {
        "bucket": f"CAST(bucket AS {text})",
        "rows": f"CAST(count(*) AS {text})",
        "sum": f"CAST(sum(hash) AS {text})",
    }
    sums = table.route.fetch(columns, f"({hashed}) AS hashed GROUP BY bucket")
    empty = pa.schema([(name, pa.string()) for name in buckets.SCHEMA.names])
    return pa.Table.from_batches(list(sums), empty).cast(buckets.SCHEMA)


CHARACTERS = {"postgresql": "text", "mysql": "CHAR", "sqlite": "TEXT"}


def among(number: str, values: list[int]) -> str:
    return f"{number} IN ({', '.join(map(str, values))})"


@contextmanager
def session(pull: Pull) -> Iterator[Table]:
    """A guest's session on the stream's table; every error of the database in our words."""
    _require_file(pull)
    engine = sa.create_engine(
        pull.url, connect_args=_connect_arguments(pull), poolclass=sa.NullPool
    )
    limit = pull.source.statement_timeout_seconds or pull.settings.statement_timeout_seconds
    try:
        with engine.connect() as connection:
            connection.info["seconds"] = limit
            if isinstance(dialect := dialect_of(connection.dialect), Sqlite):
                connection.connection.create_function(
                    "muara_hash", 2, dialect.hash_of, deterministic=True
                )
            options = connection.execution_options(no_parameters=True)
            for statement in dialect.guest(limit):
                options.exec_driver_sql(statement)
            yield Table(pull, connection)
    except exc.NoSuchTableError:
        raise SourceShapeChanged(
            f"table {pull.access(SqlAccess).table} is gone",
            where=pull.where,
            next_step="ask the owner where it went and correct `table` in source.yml.",
        ) from None
    except (pa.ArrowException, UnicodeDecodeError):
        raise SourceMalformed(
            "the database sent text that is not valid UTF-8, or a row of more than 4 MB",
            where=pull.where,
            next_step="ask the owner in which encoding the table really is.",
        ) from None
    except (*DRIVER_ERRORS, OSError) as error:
        raise _translated(pull, error, limit) from None
    finally:
        engine.dispose()


def _require_file(pull: Pull) -> None:
    """SQLite would create a missing database; a guest does not."""
    url = sa.make_url(pull.url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise SourceUnavailable(
            "the database file is not there",
            where=pull.where,
            next_step=f"check the path of connection {pull.stream.connection}.",
        )


def _connect_arguments(pull: Pull) -> dict[str, Any]:
    seconds = pull.settings.connect_timeout_seconds
    match sa.make_url(pull.url).get_backend_name():
        case "sqlite":
            return {"timeout": seconds}
        case "postgresql":
            return {"connect_timeout": seconds, "client_encoding": "utf8"}
        case "mysql" | "mariadb":
            password = sa.make_url(pull.url).password
            # PyMySQL would send a text as Latin-1.
            own = {"password": str(password).encode()} if password else {}
            return {"connect_timeout": seconds, "charset": "utf8mb4", **own}
        case _:
            return {}


def _translated(pull: Pull, error: Exception, seconds: int) -> SourceError:
    family = families.family_of(error, has_tls=bool(sa.make_url(pull.url).query))
    connection, where = pull.stream.connection, pull.where
    match family:
        case "certificate":
            return SourceDenied(
                "no TLS connection with the certificates of the connection's URL",
                where=where,
                next_step=f"check the certificate files of connection {connection} with the owner.",
            )
        case "login":
            return SourceDenied(
                "the database refuses the user or password",
                where=where,
                next_step=f"check connection {connection} with the owner.",
            )
        case "right":
            return SourceDenied(
                f"the user has no right to read {pull.access(SqlAccess).table}",
                where=where,
                next_step="ask the owner for SELECT on it: docs/adding-a-source.md, 'Rights'.",
            )
        case "database":
            return SourceShapeChanged(
                "there is no such database or schema",
                where=where,
                next_step=f"ask the owner where it went and correct connection {connection}.",
            )
        case "shape":
            return SourceShapeChanged(
                f"table {pull.access(SqlAccess).table}, one of its columns or what a view is made "
                "of is gone",
                where=where,
                next_step="ask the owner what changed and correct source.yml.",
            )
        case "slow":
            return SourceUnavailable(
                f"a question took the database longer than {seconds} s",
                where=where,
                next_step="ask the owner for a quieter hour, or set `statement_timeout_seconds` "
                "in source.yml.",
            )
        case "gone":
            return SourceUnavailable(
                f"the database does not answer ({families.told(error)})",
                where=where,
                next_step=f"check that the server of connection {connection} is up; the next run "
                "tries again.",
            )
    return SourceMalformed(
        f"the database's answer cannot be used ({families.told(error)})",
        where=where,
        next_step="look its error up and ask the owner; text that is in another encoding than the "
        "database says is one cause.",
    )

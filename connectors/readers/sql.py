"""Any database SQLAlchemy speaks: one read-only, snapshot-consistent pass in bounded batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from common.definition import SqlAccess
from common.errors import SourceDenied, SourceError, SourceShapeChanged, SourceUnavailable
from connectors.readers.pull import Piece, Pull, require_columns

DENIED = ("password", "access denied", "permission denied", "authentication", "not authorized")
GONE = ("no such table", "no such column", "doesn't exist", "does not exist", "unknown column")


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the declared columns of the stream's table, `settings.batch_rows` at a time.

    Counts the rows in the same transaction first (`pull.announced`). Raises SourceUnavailable,
    SourceDenied or SourceShapeChanged; the database's own message stays out of ours, for it may
    quote a row or a password.
    """
    _require_file(pull)
    engine = sa.create_engine(
        pull.url, connect_args=_connect_arguments(pull), poolclass=sa.NullPool
    )
    try:
        with engine.connect() as connection:
            _be_a_guest(connection, pull)
            present = [
                c["name"] for c in sa.inspect(connection).get_columns(pull.access(SqlAccess).table)
            ]
            require_columns(pull, present)
            columns = list(pull.stream.columns)
            table = sa.table(pull.access(SqlAccess).table, *map(sa.column, columns))
            count = sa.select(sa.func.count()).select_from(table)
            pull.announced = connection.execute(count).scalar_one()
            result = connection.execution_options(
                stream_results=True, max_row_buffer=pull.settings.batch_rows
            ).execute(sa.select(*table.c))
            while rows := result.fetchmany(pull.settings.batch_rows):
                pull.extracted += len(rows)
                yield Piece(_to_arrow(columns, rows))
    except exc.NoSuchTableError:
        raise SourceShapeChanged(
            f"table {pull.access(SqlAccess).table} is gone",
            where=pull.where,
            next_step="ask the owner where it went and correct `table` in source.yml.",
        ) from None
    except exc.DBAPIError as error:
        raise _translated(pull, error) from None
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
        case "postgresql" | "mysql" | "mariadb":
            return {"connect_timeout": seconds}
        case _:
            return {}


def _be_a_guest(connection: sa.Connection, pull: Pull) -> None:
    """A read-only, repeatable-read session with a statement timeout, where the dialect has them."""
    limit = pull.settings.statement_timeout_seconds
    match connection.dialect.name:
        case "postgresql":
            settings = [
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET LOCAL statement_timeout = '{limit}s'",
            ]
        case "mysql" | "mariadb":
            settings = [
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                f"SET SESSION max_statement_time = {limit}"
                if getattr(connection.dialect, "is_mariadb", False)
                else f"SET SESSION max_execution_time = {limit * 1000}",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            ]
        case "sqlite":
            settings = ["PRAGMA query_only = ON", "BEGIN"]
        case _:
            settings = []
    for statement in settings:
        connection.exec_driver_sql(statement)


def _to_arrow(columns: list[str], rows: Sequence[Any]) -> pa.RecordBatch:
    arrays = [_array(values) for values in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=columns)


def _array(values: tuple[Any, ...]) -> pa.Array:
    """Arrow's own inference; where a driver mixes types (zero dates), their text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _translated(pull: Pull, error: exc.DBAPIError) -> SourceError:
    text = str(error.orig).lower()
    if any(sign in text for sign in DENIED):
        return SourceDenied(
            "the database refuses the user or password",
            where=pull.where,
            next_step=f"check connection {pull.stream.connection} with the owner.",
        )
    if any(sign in text for sign in GONE):
        return SourceShapeChanged(
            f"table {pull.access(SqlAccess).table} or one of its columns is gone",
            where=pull.where,
            next_step="ask the owner what changed and correct source.yml.",
        )
    return SourceUnavailable(
        f"the database does not answer ({type(error.orig).__name__})",
        where=pull.where,
        next_step=f"check that the server of connection {pull.stream.connection} is up; the "
        "next run tries again.",
    )

"""The staging area of one batch: a DuckDB file outside the lake, gone when the batch ends.

Tables: `raw` (as read), `staged` (with surrogates and verdict on duplicates), `typed` (values
by declaration), `broken` (row × rule), `verdict` (row → its home). The lake is attached read-only
in spirit: nothing here writes to it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from common.definition import Source, Stream
from common.errors import Imbalance
from common.settings import Settings
from warehouse.catalog import attach, open_duckdb
from warehouse.tables import landing_name

EXACT_DUPLICATE = "exact_duplicate"
ERASED = "erased_on_request"


@dataclass(frozen=True)
class Staging:
    """One batch being worked on."""

    connection: duckdb.DuckDBPyConnection
    source: Source
    stream: Stream

    @property
    def where(self) -> str:
        return f"{self.source.name}.{self.stream.name}"

    @property
    def landing(self) -> str:
        return f"lake.{landing_name(self.source, self.stream)}"


@contextmanager
def staging(settings: Settings, source: Source, stream: Stream) -> Iterator[Staging]:
    """An empty staging area with the lake attached."""
    root = settings.home / "staging"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=f"{source.name}.{stream.name}.", dir=root))
    connection = open_duckdb(settings, folder / "batch.duckdb")
    try:
        attach(connection, settings)
        columns = ", ".join(f'"{name}" VARCHAR' for name in stream.names)
        connection.execute(f"CREATE TABLE raw (_row BIGINT, _origin VARCHAR, {columns})")
        yield Staging(connection, source, stream)
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


def clear_abandoned(settings: Settings) -> None:
    """Remove what killed batches left behind. Call when no batch is running."""
    for folder in (settings.home / "staging", settings.home / "tmp"):
        shutil.rmtree(folder, ignore_errors=True)


def stage(area: Staging, pieces: Iterable[tuple[pa.RecordBatch, str | None]]) -> None:
    """Fill `raw` from batches with source column names; every value as its text."""
    chosen = ", ".join(
        f'CAST("{sent}" AS VARCHAR) AS "{column.name}"'
        for sent, column in area.stream.columns.items()
    )
    count = 0
    for rows, origin in pieces:
        area.connection.register("piece", pa.Table.from_batches([rows]))
        area.connection.execute(
            f"INSERT INTO raw SELECT {count} + row_number() OVER () , ?, {chosen} FROM piece",
            [origin],
        )
        area.connection.unregister("piece")
        count += rows.num_rows


def judge_duplicates(area: Staging) -> None:
    """Make `staged`: `raw` with `_record_id`, `_row_hash`, `_excluded` (a reason or NULL) and
    `_rows_with_key`, the number of different rows that share the record.

    A row without a complete key gets a surrogate of the whole row.
    """
    hashed = " || ".join(f"coalesce(length(\"{name}\") || ':' || \"{name}\", '-')"
                         for name in sorted(area.stream.names))  # fmt: skip
    key = " || '|' || ".join(f'"{name}"' for name in area.stream.key)
    identity = f"'{area.source.name}', '{area.stream.name}'"
    area.connection.execute(
        f"""
        CREATE TABLE staged AS
        WITH hashed AS (SELECT *, keyed({hashed}) AS _row_hash FROM raw),
        keyed_rows AS (
            SELECT *, coalesce(record_id({identity}, {key}), _row_hash) AS _record_id FROM hashed),
        copies AS (
            SELECT *, row_number() OVER (PARTITION BY _row_hash ORDER BY _row) AS _copy
            FROM keyed_rows),
        excluded AS (
            SELECT * EXCLUDE (_copy),
                CASE WHEN _record_id IN (SELECT source_record_id FROM lake.ops.erasure)
                         THEN '{ERASED}'
                     WHEN _copy > 1 THEN '{EXACT_DUPLICATE}' END AS _excluded
            FROM copies)
        SELECT *, count(*) FILTER (_excluded IS NULL) OVER (PARTITION BY _record_id)
            AS _rows_with_key
        FROM excluded
        """
    )


def type_rows(area: Staging, typed: Callable[[ir.Table], ir.Table]) -> None:
    """Make the table `typed` over the staged rows that are not excluded."""
    backend = ibis.duckdb.from_connection(area.connection)
    staged = backend.table("staged")
    expression = typed(staged.filter(staged["_excluded"].isnull()))
    area.connection.execute(f"CREATE TABLE typed AS {ibis.to_sql(expression, dialect='duckdb')}")


def check_arrival(area: Staging, extracted: int, announced: int | None) -> None:
    """What the reader counted, what the source announced and what was staged are the same.

    Raises Imbalance.
    """
    (staged,) = area.connection.execute("SELECT count(*) FROM staged").fetchone() or (0,)
    for count, who in ((extracted, "the reader counted"), (announced, "the source announced")):
        if count is not None and count != staged:
            raise Imbalance(
                f"{who} {count} rows, {staged} were staged",
                where=area.where,
                next_step="nothing was loaded; run `muara sync` again and report it if it recurs.",
            )


def give_context(area: Staging, today: date) -> None:
    """What rules may refer to beside the row: `night` (today) and, for every stream of the same
    source, `current_<stream>`: its newest sound rows as landed (text columns)."""
    area.connection.execute(f"CREATE TABLE night AS SELECT DATE '{today}' AS today")
    for sibling in area.source.streams:
        columns = ", ".join(f'arg_max("{name}", _batch_id) AS "{name}"' for name in sibling.names)
        area.connection.execute(
            f"""
            CREATE VIEW current_{sibling.name} AS
            WITH newest AS (
                SELECT _record_id, arg_max(_op, _batch_id) AS _op
                FROM lake.{landing_name(area.source, sibling)} GROUP BY _record_id)
            SELECT {columns}
            FROM lake.{landing_name(area.source, sibling)} AS landed
            WHERE landed._op IN ('insert', 'update') AND _record_id IN (
                SELECT _record_id FROM newest WHERE _op <> 'delete')
            GROUP BY _record_id
            """
        )

"""The lake: DuckLake 1.0 with its catalog in SQLite and its data in encrypted Parquet.

One writer at a time: an operating-system lock is held from before BEGIN until after COMMIT.
Readers never take it. The catalog is person data (it holds file keys and each file's smallest and
largest values): it is readable by its owner only and never inlines rows.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from common import scratch
from common.definition import Source
from common.errors import WarehouseFault
from common.extensions import load, may_skip_signatures
from common.home_files import flush_new
from common.lock import exclusive
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.tables import LANDING_COLUMNS, landing_ddl, landing_name, tables

if TYPE_CHECKING:
    import ibis.expr.types as ir

SCHEMAS = ("landing", "quarantine", "ref", "core", "mart", "ops")
EXTENSIONS = ("httpfs", "sqlite_scanner", "ducklake", "icu")
BUSY_MILLISECONDS = 60_000
ROW_GROUP = 30_720
SMALL_FILE, SMALL_FILES = 4 << 20, 30
"""Bytes of a file that is small, and how many of them a table may have."""
Columns = dict[str, list[tuple[str, str]]]
"""Table → its columns and their types, in order."""


def lake_folder(settings: Settings) -> Path:
    return settings.home / "lake"


def open_duckdb(
    settings: Settings, path: Path | str = ":memory:", spill: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with our extensions, limits and keyed-hash macros."""
    connection = duckdb.connect(
        str(path),
        config={
            "memory_limit": f"{settings.memory_limit}B",
            "threads": settings.threads,
            "autoinstall_known_extensions": False,
            "allow_unsigned_extensions": may_skip_signatures(*EXTENSIONS),
            "temp_directory": str(spill or scratch.spill(settings.home / "spill")),
        },
    )
    for name in EXTENSIONS:
        load(connection, name)
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    # Memory that is free again goes back to the system at once, else hundreds of MiB stay with us.
    connection.execute(
        "SET allocator_flush_threshold = '1MB'; "
        "SET allocator_bulk_deallocation_flush_threshold = '8MB'"
    )
    # No table of ours has an order of its own; what leaves is sorted where it is written.
    connection.execute("SET preserve_insertion_order = false")
    key = settings.pseudonym_key
    connection.execute("SET VARIABLE inner_key = ?", [f"{key}:inner"])
    connection.execute("SET VARIABLE outer_key = ?", [f"{key}:outer"])
    connection.execute(KEYED_HASH)
    return connection


# HMAC's shape (an inner and an outer keyed SHA-256), cut to 128 bits: without the key a surrogate
# cannot be computed from a NIK, even by trying all of them. `row_hash` only compares versions of a
# row; a cheaper keyed hash is enough there.
KEYED_HASH = """
CREATE OR REPLACE TEMP MACRO keyed(text) AS CAST(left(sha256(
    getvariable('outer_key') || sha256(getvariable('inner_key') || text)), 32) AS UUID);
CREATE OR REPLACE TEMP MACRO row_hash(text) AS
    CAST(md5(getvariable('inner_key') || text) AS UUID);
CREATE OR REPLACE TEMP MACRO record_id(source, stream, key) AS
    CASE WHEN key IS NULL THEN NULL ELSE keyed(source || '.' || stream || ':' || key) END;
"""


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, read_only: bool = False
) -> None:
    """Attach the lake as `lake`. Raises WarehouseFault when a reader finds none."""
    folder = lake_folder(settings)
    catalog = folder / "catalog.sqlite"
    if not catalog.exists():
        if read_only:
            raise WarehouseFault(
                "there is no warehouse yet", next_step="run `make night` or `muara night` first."
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        catalog.touch(mode=0o600)
    options = [
        f"DATA_PATH {literal(folder / 'data')}",
        "OVERRIDE_DATA_PATH true",
        "ENCRYPTED",
        "DATA_INLINING_ROW_LIMIT 0",
        "META_JOURNAL_MODE 'WAL'",
        f"META_BUSY_TIMEOUT {BUSY_MILLISECONDS}",
    ]
    if read_only:
        options.append("READ_ONLY")
    connection.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS lake ({', '.join(options)})"
    )


@contextmanager
def reading(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the lake attached read-only; never waits for a writer."""
    connection = open_duckdb(settings)
    try:
        attach(connection, settings, read_only=True)
        yield connection
    finally:
        connection.close()


@contextmanager
def writer_lock(settings: Settings) -> Iterator[None]:
    """The one writer's lock; the operating system frees it when the holder dies.

    Raises WarehouseBusy after `lock_timeout_seconds`.
    """
    with exclusive(
        lake_folder(settings) / "writer.lock",
        settings.lock_timeout_seconds,
        what="another writer",
        next_step="wait for the running load, or see `muara status`.",
    ):
        yield


@contextmanager
def writing(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may write the lake, with the writer's lock held."""
    with writer_lock(settings):
        connection = open_duckdb(settings)
        try:
            attach(connection, settings)
            yield connection
        finally:
            connection.close()


def write_row(settings: Settings, table: str, row: object, message: str) -> None:
    """Append what a dataclass holds under the table's column names, in a transaction of its own;
    the snapshot carries the message."""
    columns = list(tables()[table].columns)
    with writing(settings) as connection:
        with transaction(connection):
            connection.execute(
                f"INSERT INTO lake.{table} ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                [getattr(row, name) for name in columns],
            )
            connection.execute("CALL lake.set_commit_message('muara', ?)", [message])


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """BEGIN … COMMIT; ROLLBACK on any error. Hold the writer's lock around it.

    The data is on the disk before the catalog says so: a loss of power after COMMIT takes nothing.
    """
    began = time.time()
    connection.execute("BEGIN")
    try:
        yield
        _onto_disk(connection, began)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _onto_disk(connection: duckdb.DuckDBPyConnection, since: float) -> None:
    """Flush the data files written since then: DuckDB leaves that to the system."""
    ((catalog,),) = connection.execute(
        "SELECT path FROM duckdb_databases() WHERE database_name = 'lake'"
    ).fetchall()
    flush_new(Path(catalog.removeprefix("sqlite:")).parent / "data", since)


@contextmanager
def rehearsal(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """BEGIN … ROLLBACK: nothing is kept; files already written go with the next `tidy`."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def set_up(settings: Settings, sources: dict[str, Source]) -> None:
    """Create what the schema home and the definitions ask for; harmless when all is there.

    A landing table gets the columns that its definition gained, and a table that `grows` those that
    are declared behind its own, empty in older rows; a landing table keeps what its definition no
    longer names. A table that is `remade` is made empty in its new shape.
    Raises WarehouseFault when another table exists in another shape.
    """
    with writing(settings) as connection:
        _bound_writers(connection)
        present = _present(connection)
        if differences := _disagreements(present, sources):
            lacking = _lacking_columns(present, sources)
            missing = {name for name, fault in differences.items() if fault == "missing"}
            outdated = {name for name in differences if name in tables() and tables()[name].remade}
            outdated -= missing
            wrong = {
                name: fault
                for name, fault in differences.items()
                if name not in missing | outdated and name not in lacking
            }
            if wrong:
                raise WarehouseFault(
                    "; ".join(f"{name}: {fault}" for name, fault in sorted(wrong.items())),
                    next_step="the schema home changed under a loaded table; see "
                    "docs/warehouse.md, 'When a table changes shape'.",
                )
            _create(connection, sources, missing, outdated, lacking)
        _count_nothing(connection)


def _bound_writers(connection: duckdb.DuckDBPyConnection) -> None:
    """What a writer of Parquet holds in memory is a few groups of rows of every column."""
    set_to = connection.execute(
        "SELECT value FROM ducklake_options('lake') WHERE option_name = 'parquet_row_group_size'"
    ).fetchall()
    if set_to != [(str(ROW_GROUP),)]:
        connection.execute(f"CALL lake.set_option('parquet_row_group_size', {ROW_GROUP})")


def _create(
    connection: duckdb.DuckDBPyConnection,
    sources: dict[str, Source],
    missing: set[str],
    outdated: set[str],
    lacking: Columns,
) -> None:
    with transaction(connection):
        for schema in SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
        for name, statement in _statements(sources).items():
            if name in outdated:
                connection.execute(f"DROP TABLE lake.{name}")
            if name in missing | outdated:
                connection.execute(statement)
        for name, columns in lacking.items():
            for column, kind in columns:
                connection.execute(
                    f"ALTER TABLE lake.{name} ADD COLUMN {identifier(column)} {kind}"
                )


def _count_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """Note of tables that never held a row that they hold none.

    DuckLake notes how many rows a table has and the range of each column with the first row; until
    then each query of the table asks the catalog again for every column (0032).
    """
    catalog = "__ducklake_metadata_lake.ducklake"
    if not connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE uncounted AS
        SELECT table_id FROM {catalog}_table WHERE end_snapshot IS NULL
            AND table_id NOT IN (SELECT table_id FROM {catalog}_table_stats)
            AND table_id NOT IN (SELECT table_id FROM {catalog}_data_file);
        SELECT count(*) FROM uncounted
        """
    ).fetchall()[0][0]:
        return
    with transaction(connection):
        connection.execute(
            f"""
            INSERT INTO {catalog}_table_stats (table_id, record_count, next_row_id, file_size_bytes)
            SELECT table_id, 0, 0, 0 FROM uncounted;
            INSERT INTO {catalog}_table_column_stats (table_id, column_id, contains_null)
            SELECT table_id, column_id, false FROM {catalog}_column AS one
            SEMI JOIN uncounted USING (table_id)
            WHERE end_snapshot IS NULL AND NOT EXISTS (
                FROM {catalog}_column AS part WHERE part.table_id = one.table_id
                    AND part.parent_column = one.column_id)
            """
        )


def _statements(sources: dict[str, Source]) -> dict[str, str]:
    statements = {name: table.ddl("lake") for name, table in tables().items()}
    for source in sources.values():
        for stream in source.streams:
            name = f"landing.{source.name}__{stream.name}"
            statements[name] = landing_ddl("lake", source, stream)
    return statements


def disagreements(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source]
) -> dict[str, str]:
    """Table name → `missing` or how its columns differ from the schema home; empty when equal.

    Landing tables may hold more columns than their definition names, in any order.
    """
    return _disagreements(_present(connection), sources)


def _disagreements(present: Columns, sources: dict[str, Source]) -> dict[str, str]:
    declared, faults = _declared(sources), {}
    for name, wanted in declared.items():
        if name not in present:
            faults[name] = "missing"
            continue
        had, want = dict(present[name]), dict(wanted)
        if name.startswith("landing."):
            had = {column: kind for column, kind in had.items() if column in want}
        wrong = sorted(
            column for column in had.keys() | want.keys() if had.get(column) != want.get(column)
        )
        if wrong or (present[name] != wanted and not name.startswith("landing.")):
            faults[name] = f"columns differ: {', '.join(wrong) or 'their order'}"
    return faults


def _lacking_columns(present: Columns, sources: dict[str, Source]) -> Columns:
    """Table → declared columns that it does not have yet, where nothing else is wrong."""
    lacking = {}
    for source in sources.values():
        for stream in source.streams:
            name = landing_name(source, stream)
            had = dict(present.get(name, []))
            wanted = LANDING_COLUMNS | dict.fromkeys(stream.names, "VARCHAR")
            alike = all(had[column] == kind for column, kind in wanted.items() if column in had)
            if had and alike and had.keys() >= LANDING_COLUMNS.keys():
                lacking[name] = [
                    (column, "VARCHAR") for column in stream.names if column not in had
                ]
    declared = _declared(sources)
    for name in (name for name, table in tables().items() if table.grows):
        had_so_far = present.get(name, [])
        if had_so_far and declared[name][: len(had_so_far)] == had_so_far:
            lacking[name] = declared[name][len(had_so_far) :]
    return {name: columns for name, columns in lacking.items() if columns}


def _declared(sources: dict[str, Source]) -> Columns:
    with duckdb.connect() as scratch:
        scratch.execute("ATTACH ':memory:' AS lake")
        for schema in SCHEMAS:
            scratch.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
        for statement in _statements(sources).values():
            scratch.execute(statement)
        return _present(scratch)


def _present(connection: duckdb.DuckDBPyConnection) -> Columns:
    present: Columns = {}
    for schema, table, column, kind in connection.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = 'lake' ORDER BY column_index"
    ).fetchall():
        present.setdefault(f"{schema}.{table}", []).append((column, kind))
    return present


def changed_since(connection: duckdb.DuckDBPyConnection, snapshot: int) -> set[str]:
    """Names of the tables that a later snapshot changed; all, when `snapshot` has expired. Merged
    files hold what they held."""
    names = dict(
        connection.execute(
            "SELECT CAST(table_id AS VARCHAR), schema_name || '.' || table_name "
            "FROM __ducklake_metadata_lake.ducklake_table JOIN "
            "__ducklake_metadata_lake.ducklake_schema USING (schema_id)"
        ).fetchall()
    )
    oldest, changes = connection.execute(
        "SELECT min(snapshot_id), list(changes) FILTER (snapshot_id > ?) "
        "FROM ducklake_snapshots('lake')",
        [snapshot],
    ).fetchall()[0]
    if oldest > snapshot:
        return set(names.values())
    touched = {
        str(one)
        for change in changes or []
        for kind, ids in change.items()
        if kind != "merge_adjacent"
        for one in ids
    }
    return {names.get(one, one) for one in touched}


def insert(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Sequence[object]]
) -> None:
    """Insert rows into table `name` of the lake by one statement, for each makes a file."""
    if rows:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        connection.execute(
            f"INSERT INTO lake.{name} VALUES {marks}", [value for row in rows for value in row]
        )


def by_name(
    connection: duckdb.DuckDBPyConnection, core: str = "lake"
) -> Callable[[str], "ir.Table"]:
    """A table of the lake as an Ibis expression, by its full name; those of core from the catalog
    `core`, where a rebuild makes them."""
    import ibis

    backend = ibis.duckdb.from_connection(connection)

    @cache
    def table(name: str) -> "ir.Table":
        schema, short = name.split(".")
        return backend.table(short, database=(core if schema == "core" else "lake", schema))

    return table


def temporary(connection: duckdb.DuckDBPyConnection, name: str) -> "ir.Table":
    """A temporary table of the connection as an Ibis expression."""
    import ibis

    return ibis.duckdb.from_connection(connection).table(name, database=("temp", "main"))


def tidy(settings: Settings) -> int:
    """Forget snapshots older than `snapshots_kept_days` and delete files that no snapshot knows,
    also those a killed writer left; then merge the small files that batches left, which go next
    time, for somebody may be reading them. History stays: it is in the tables. Returns files
    deleted."""
    with writing(settings) as connection:
        connection.execute(
            "CALL ducklake_expire_snapshots('lake', older_than => now() - to_days(?))",
            [settings.snapshots_kept_days],
        )
        deleted = 0
        for call in (
            "ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL 1 HOUR)",
            "ducklake_delete_orphaned_files('lake', cleanup_all => true)",
        ):
            deleted += len(connection.execute(f"CALL {call}").fetchall())
        _merge_small_files(connection)
        return deleted


def _merge_small_files(connection: duckdb.DuckDBPyConnection) -> None:
    crowded = connection.execute(
        """
        SELECT schema_name, table_name
        FROM __ducklake_metadata_lake.ducklake_data_file AS file
        JOIN __ducklake_metadata_lake.ducklake_table AS of USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_schema AS home USING (schema_id)
        WHERE file.end_snapshot IS NULL AND of.end_snapshot IS NULL AND file_size_bytes < ?
        GROUP BY ALL HAVING count(*) > ?
        """,
        [SMALL_FILE, SMALL_FILES],
    ).fetchall()
    for schema, table in crowded:
        connection.execute(
            "CALL ducklake_merge_adjacent_files('lake', ?, schema => ?, max_file_size => ?)",
            [table, schema, SMALL_FILE],
        )


def make_equal(
    connection: duckdb.DuckDBPyConnection, name: str, query: str, held: str | None = None
) -> bool:
    """Make table `name` hold exactly the rows of `query`, in the caller's transaction, in place of
    those of `held` (all when none is given). Only the rows of keys that differ are written; returns
    whether any does."""
    table = tables()[name]
    columns = ", ".join(
        f"CAST({identifier(column)} AS {kind.type}) AS {identifier(column)}"
        for column, kind in table.columns.items()
    )
    key = ", ".join(identifier(part) for part in table.key)
    of_key = " AND ".join(
        f"one.{part} IS NOT DISTINCT FROM differing.{part}" for part in map(identifier, table.key)
    )
    some_present, some_wanted = connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE wanted AS SELECT {columns} FROM ({query});
        CREATE OR REPLACE TEMP TABLE present AS {held or f"FROM lake.{name}"};
        SELECT EXISTS (FROM present), EXISTS (FROM wanted)
        """
    ).fetchall()[0]
    if not some_present:
        if some_wanted:
            connection.execute(f"INSERT INTO lake.{name} FROM wanted")
        return bool(some_wanted)
    differ = connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE differing AS
        SELECT DISTINCT {key} FROM (
            SELECT * EXCLUDE (more) FROM (
                SELECT *, 1 AS more FROM wanted UNION ALL BY NAME SELECT *, -1 AS more FROM present)
            GROUP BY ALL HAVING sum(more) <> 0);
        SELECT count(*) FROM differing
        """
    ).fetchall()[0][0]
    if differ:
        connection.execute(
            f"""
            DELETE FROM lake.{name} AS one USING differing WHERE {of_key};
            INSERT INTO lake.{name} SELECT one.* FROM wanted AS one SEMI JOIN differing ON {of_key}
            """
        )
    return bool(differ)

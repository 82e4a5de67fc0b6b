"""The lake: DuckLake 1.0 with its catalog in SQLite and its data in encrypted Parquet.

One writer at a time: an operating-system lock is held from before BEGIN until after COMMIT.
Readers never take it. The catalog is person data (it holds file keys and each file's smallest and
largest values): it is readable by its owner only and never inlines rows. A lake is made only where
there never was one; catalog and data folder know each other by a mark (0034).
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb

from common import clock, keys, scratch
from common.definition import Source
from common.errors import HomeFault, MuaraError, NightInPast, WarehouseBusy, WarehouseFault
from common.extensions import load, may_skip_signatures
from common.home_files import flush_new
from common.lock import exclusive
from common.log import log
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.files import damaged_files, orphans
from warehouse.mark import (
    CATALOG,
    Mark,
    disagreement,
    mark_of,
    name_key,
    name_lake,
    named_key,
    named_lake,
    newest_snapshot,
    read_mark,
    told_of,
    write_mark,
)
from warehouse.tables import LANDING_COLUMNS, landing_ddl, landing_name, tables

if TYPE_CHECKING:
    import ibis.expr.types as ir

SCHEMAS = ("landing", "quarantine", "ref", "core", "mart", "ops")
EXTENSIONS = ("httpfs", "sqlite_scanner", "ducklake", "icu")
BUSY_MILLISECONDS = 60_000
ROW_GROUP = 30_720
LEAP = timedelta(days=31)
"""A machine's clock that says more than so many days have passed since the newest night is not
believed."""
ORPHANS_AT_MOST = 0.05
"""Share of the lake's files, and of its bytes, up to which files that no snapshot names are what
killed writers left (0034)."""
ROOM_TO_READ = 1 << 20
"""Bytes without which SQLite may not even read: it makes files of its own beside the catalog."""
SMALL_FILE, SMALL_FILES = 4 << 20, 30
"""Bytes of a file that is small, and how many of them a table may have."""
Columns = dict[str, list[tuple[str, str]]]
"""Table → its columns and their types, in order."""


PUT_BACK = (
    "nothing was written. Put the catalog back: `muara catalog restore` takes a copy beside the "
    "lake, `muara restore` a backup."
)


def lake_folder(settings: Settings) -> Path:
    return settings.home / "lake"


def catalog_file(settings: Settings) -> Path:
    return lake_folder(settings) / "catalog.sqlite"


def data_folder(settings: Settings) -> Path:
    return lake_folder(settings) / "data"


def copies_folder(settings: Settings) -> Path:
    return lake_folder(settings) / "copies"


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
    connection.execute(KEYED_HASH + keys.MACROS)
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
    """Attach the lake as `lake`.

    Raises WarehouseFault when there is none yet, or when its catalog is lost, cannot be read, or is
    not that of its data, and HomeFault when the connection's surrogates are made with another key
    than the lake's.
    """
    catalog, data = catalog_file(settings), data_folder(settings)
    if not is_there(settings):
        raise WarehouseFault(
            "there is no warehouse yet", next_step="run `make night` or `muara night` first."
        )
    mark = read_mark(data)
    if mark is None:
        _require_data(settings)
    with _readable(catalog):
        _attach(connection, catalog, data, read_only=read_only)
        fault = disagreement(connection, mark) if mark else None
        made_with = named_key(connection)
    if fault:
        connection.execute("DETACH lake")
        raise WarehouseFault(fault, where=str(catalog), next_step=PUT_BACK)
    if made_with and _makes_surrogates(connection) and made_with != told_of(settings.pseudonym_key):
        connection.execute("DETACH lake")
        raise HomeFault(
            "this is another key than that with which the warehouse was made",
            where=str(settings.home / "secrets" / "pseudonym.key"),
            next_step="put the right one back from where it is kept apart; nothing was written.",
        )


def _makes_surrogates(connection: duckdb.DuckDBPyConnection) -> bool:
    """Not so of the process that answers people's questions: it never holds the key."""
    return bool(connection.execute("SELECT getvariable('inner_key') IS NOT NULL").fetchall()[0][0])


def is_there(settings: Settings) -> bool:
    """Whether there is a lake. Raises WarehouseFault where there was one and its catalog is gone:
    a new one over what is left of it would be the end of it."""
    catalog = catalog_file(settings)
    if catalog.exists() and catalog.stat().st_size:
        return True
    if remains := _remains(settings):
        what = "is empty" if catalog.exists() else "is gone"
        raise WarehouseFault(
            f"the catalog {what}, but there is {' and '.join(remains)}",
            where=str(catalog),
            next_step=f"{PUT_BACK} To begin anew, use another MUARA_HOME.",
        )
    return False


def _remains(settings: Settings) -> list[str]:
    """What is left of a lake beside its catalog. A lake that is being made has none of it."""
    catalog, data = catalog_file(settings), data_folder(settings)
    found = []
    if files := sum(1 for path in data.rglob("*") if path.is_file() and path.suffix != ".json"):
        found.append(f"{files} data files")
    if (mark := read_mark(data)) and mark.snapshot:
        found.append("the mark of a lake")
    wal = catalog.with_name(f"{catalog.name}-wal")
    if wal.exists() and wal.stat().st_size:
        found.append("the catalog's log (-wal)")
    for name in ("lake/copies", "published", "shares", "extracts", "originals"):
        if any(path.is_file() for path in (settings.home / name).rglob("[!.]*")):
            found.append(name)
    return found


def _require_data(settings: Settings) -> None:
    """Raises WarehouseFault where nothing at all is in the data folder of a lake."""
    data = data_folder(settings)
    if not data.is_dir() or not any(data.iterdir()):
        raise WarehouseFault(
            "the catalog is there, but its data folder is empty or gone",
            where=str(data),
            next_step="mount the disk that holds it; when it is lost, restore a backup: "
            "`muara restore`. Nothing was written.",
        )


def _require_same_lake(settings: Settings, mark: Mark) -> None:
    catalog = catalog_file(settings)
    with _readable(catalog), catalog_tables(catalog) as connection:
        fault = disagreement(connection, mark, "tables")
    if fault:
        raise WarehouseFault(fault, where=str(catalog), next_step=PUT_BACK)


def _make(settings: Settings) -> None:
    """Make an empty lake: its catalog appears whole, at once. Hold the writer's lock."""
    catalog, data = catalog_file(settings), data_folder(settings)
    for leftover in catalog.parent.glob(".new-catalog*"):
        leftover.unlink()
    lake, fresh = secrets.token_hex(16), catalog.with_name(".new-catalog")
    fresh.touch(mode=0o600)
    connection = open_duckdb(settings)
    try:
        _attach(connection, fresh, data, make=True)
        name_lake(connection, lake)
    finally:
        connection.close()
    write_mark(data, Mark(lake))
    os.replace(fresh, catalog)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    catalog: Path,
    data: Path,
    *,
    read_only: bool = False,
    make: bool = False,
) -> None:
    options = [
        f"DATA_PATH {literal(data)}",
        "OVERRIDE_DATA_PATH true",
        "ENCRYPTED",
        "DATA_INLINING_ROW_LIMIT 0",
        f"META_BUSY_TIMEOUT {BUSY_MILLISECONDS}",
        # The journal's mode stays in the file, and a reader may not set it.
        "READ_ONLY" if read_only else "META_JOURNAL_MODE 'WAL'",
        f"CREATE_IF_NOT_EXISTS {make}",
    ]
    connection.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS lake ({', '.join(options)})"
    )


@contextmanager
def _readable(catalog: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if shutil.disk_usage(catalog.parent).free < ROOM_TO_READ:
            raise HomeFault(
                "the disk is full: the catalog cannot be opened",
                where=str(catalog.parent),
                next_step="make room and run it again; nothing was written.",
            ) from None
        if "database is locked" in str(error):
            raise WarehouseBusy(
                "somebody keeps the catalog locked",
                where=str(catalog),
                next_step="wait for the running load; a file browser for SQLite does it, too.",
            ) from None
        raise WarehouseFault(
            f"the catalog cannot be read ({type(error).__name__})",
            where=str(catalog),
            next_step=PUT_BACK,
        ) from None


@contextmanager
def reading(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the lake attached read-only; never waits for a writer."""
    with naming_damage(settings), closing(open_duckdb(settings)) as connection:
        attach(connection, settings, read_only=True)
        yield connection


@contextmanager
def naming_damage(settings: Settings) -> Iterator[None]:
    """What DuckDB says when it cannot read the lake, as an error of ours that names table and file.

    Its own text may quote a row, so it goes no further.
    """
    try:
        yield
    except duckdb.Error as error:
        text, data = str(error), data_folder(settings)
        if found := re.search(re.escape(f"{data}/") + r"([\w./-]+\.parquet)", text):
            schema, table, *_ = found[1].split("/")
            what, where = f"the data file {found[1]} cannot be read", f"{schema}.{table}"
        elif "AES tag" in text:
            what, where = "a data file was altered", str(data)
        elif "malformed" in text or "not a database" in text:
            what, where = "the catalog is damaged", str(catalog_file(settings))
        else:
            raise
        raise WarehouseFault(
            what,
            where=where,
            next_step="`muara doctor --all` says what is damaged and what can bring it back.",
        ) from None


Writes = Literal["history", "replay", "upkeep", "note"]
"""What a writer is about to write: rows of tonight; those of a night that may be a past one, when
the setting `replay_night` names it; nothing that has a night; or what became of a step of tonight,
which the mark does not move for: the night's copy of the catalog, taken before the last of these
notes, is whole without them."""


@contextmanager
def writer_lock(settings: Settings, writes: Writes = "history") -> Iterator[None]:
    """The one writer's lock; the operating system frees it when the holder dies.

    Raises WarehouseBusy after `lock_timeout_seconds`, WarehouseFault when catalog and data folder
    do not belong together, and NightInPast.
    """
    with only_writer(settings):
        mark = read_mark(data_folder(settings))
        if mark is None and is_there(settings):
            _require_data(settings)
            mark = _mark_again(settings)
        if writes != "upkeep":
            require_night(settings, writes)
        yield
        if mark and writes != "note":
            _note_commit(settings, mark, writes)


def require_night(settings: Settings, writes: Writes = "history") -> None:
    """Raises NightInPast when tonight is earlier than the newest night that was worked on: versions
    would end before they begin. Raises WarehouseFault when the machine's clock has leapt ahead:
    what is kept for so many days would be deleted, and every true night would be past; and when the
    data folder is another lake's, of which no night says anything."""
    mark = read_mark(data_folder(settings))
    if mark and (fault := _fault_of_night(settings, writes, mark.night)):
        _require_same_lake(settings, mark)
        raise fault


def _fault_of_night(settings: Settings, writes: Writes, newest: date | None) -> MuaraError | None:
    tonight = clock.today(settings)
    if newest is None:
        return None
    if tonight > newest + LEAP and not clock.is_set(settings):
        return WarehouseFault(
            f"tonight is {tonight}, {(tonight - newest).days} days after the newest night",
            where="the clock",
            next_step="correct the machine's clock; when the date is right, say so once: "
            f"MUARA_TODAY={tonight}.",
        )
    if tonight >= newest or (writes == "replay" and tonight == settings.replay_night):
        return None
    return NightInPast(
        f"tonight is {tonight}, but {newest} was worked on already",
        where="the clock",
        next_step="correct the machine's clock (or MUARA_TODAY). When it was ahead that night: "
        "`muara catalog restore` takes the warehouse back to before it. To write the past night of "
        "one source on purpose: `muara sync SOURCE --night`.",
    )


@contextmanager
def only_writer(settings: Settings) -> Iterator[None]:
    """The writer's lock without a look at the lake, for who mends it."""
    with exclusive(
        lake_folder(settings) / "writer.lock",
        settings.lock_timeout_seconds,
        what="another writer",
        next_step="wait for the running load, or see `muara status`.",
    ):
        yield


def _mark_again(settings: Settings) -> Mark:
    """Mark a data folder whose mark is lost, or older than marks, where the catalog's files are all
    in it and few others. Raises WarehouseFault."""
    catalog, data = catalog_file(settings), data_folder(settings)
    connection = open_duckdb(settings)
    try:
        with _readable(catalog):
            _attach(connection, catalog, data)
            missing, others = damaged_files(connection, data), orphans(connection, data)
        if missing or not others.are_few(ORPHANS_AT_MOST):
            raise WarehouseFault(
                f"catalog and data folder do not belong together: of the catalog's files "
                f"{len(missing)} are missing or altered; the folder holds {others}",
                where=str(catalog),
                next_step=PUT_BACK,
            )
        lake = named_lake(connection)
        if lake is None:
            lake = secrets.token_hex(16)
            name_lake(connection, lake)
        mark = mark_of(connection, lake)
    finally:
        connection.close()
    write_mark(data, mark)
    log.warning("lake_marked", snapshot=mark.snapshot)
    return mark


def _note_commit(settings: Settings, before: Mark, writes: Writes) -> None:
    """Let the mark say what was committed. Where the disk is full it lags behind until the next
    commit, which it may."""
    night = before.night
    if writes != "upkeep":
        night = max(night or date.min, clock.today(settings))
    with _readable(catalog_file(settings)), catalog_tables(catalog_file(settings)) as connection:
        newest, committed = newest_snapshot(connection, "tables")
    if newest > before.snapshot:
        try:
            write_mark(
                data_folder(settings),
                replace(before, snapshot=newest, committed=committed, night=night),
            )
        except OSError as error:
            log.warning("mark_not_written", error=type(error).__name__)


@contextmanager
def catalog_tables(catalog: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees a catalog's own tables as `tables`, without its data.

    Through DuckDB's SQLite: a second SQLite in the same process would free the locks of the first
    when it closes the file.
    """
    connection = duckdb.connect(
        config={"threads": 1, "allow_unsigned_extensions": may_skip_signatures("sqlite_scanner")}
    )
    try:
        load(connection, "sqlite_scanner")
        connection.execute(f"ATTACH {literal(catalog)} AS tables (TYPE sqlite, READ_ONLY)")
        yield connection
    finally:
        connection.close()


@contextmanager
def writing(settings: Settings, writes: Writes = "history") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may write the lake, with the writer's lock held."""
    with (
        writer_lock(settings, writes),
        naming_damage(settings),
        closing(open_duckdb(settings)) as connection,
    ):
        attach(connection, settings)
        yield connection


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
    """Create the lake where there never was one, and what the schema home and the definitions ask
    for; harmless when all is there.

    A landing table gets the columns that its definition gained, and a table that `grows` those that
    are declared behind its own, empty in older rows; a landing table keeps what its definition no
    longer names. A table that is `remade` is made empty in its new shape.
    Raises WarehouseFault when another table exists in another shape.
    """
    with writer_lock(settings, "upkeep"):
        if not is_there(settings):
            _make(settings)
    with writing(settings, "upkeep") as connection:
        _bound_writers(connection)
        if named_key(connection) is None:
            name_key(connection, settings.pseudonym_key)
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
    """Forget snapshots of long ago and delete files that no snapshot knows, also those a killed
    writer left; then merge the small files that batches left, which go later, for somebody may be
    reading them. History stays: it is in the tables. Returns files deleted.

    Raises WarehouseFault, with nothing deleted, when the catalog or a file it names is damaged.
    """
    data = data_folder(settings)
    with writing(settings, "upkeep") as connection:
        require_sound(connection, data)
        _expire_snapshots(connection, settings.snapshots_kept_days)
        deleted = len(
            connection.execute(
                "CALL ducklake_cleanup_old_files('lake', older_than => "
                "least(now() - INTERVAL 1 HOUR, to_timestamp(?)) - INTERVAL 1 DAY)",
                [_oldest_copy(settings)],
            ).fetchall()
        )
        deleted += delete_orphans(connection, data)
        _merge_small_files(connection)
        return deleted


def _oldest_copy(settings: Settings) -> float | None:
    """When the oldest kept copy of the catalog was taken: what was still in use then stays.

    A day more is kept: DuckLake compares times as texts that differ in form, so that all of the day
    of `older_than` counts as older.
    """
    times = [path.stat().st_mtime for path in copies_folder(settings).glob("*.sqlite")]
    return min(times, default=None)


def require_sound(connection: duckdb.DuckDBPyConnection, data: Path) -> None:
    """Raises WarehouseFault when the catalog is damaged, or a file it names is missing or has
    another size than it says."""
    if faults := catalog_faults(connection):
        raise WarehouseFault(
            f"the catalog is damaged: {faults[0]}", where=str(data.parent), next_step=PUT_BACK
        )
    if damaged := damaged_files(connection, data):
        first = damaged[0]
        raise WarehouseFault(
            f"{len(damaged)} data files are damaged, the first {first.path} ({first.fault})",
            where=first.table,
            next_step="see `muara doctor`, which says what can be brought back; nothing was "
            "written.",
        )


def catalog_faults(
    connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG, *, whole: bool = False
) -> list[str]:
    """What SQLite's own check finds; `whole` also compares indices with their tables."""
    check = "integrity_check" if whole else "quick_check"
    try:
        found = connection.execute(
            f"FROM sqlite_query({literal(catalog)}, {literal(f'PRAGMA {check}')})"
        ).fetchall()
    except duckdb.Error as error:
        return [f"it cannot be read ({type(error).__name__})"]
    return [str(fault) for (fault,) in found if fault != "ok"]


def _expire_snapshots(connection: duckdb.DuckDBPyConnection, days: int) -> None:
    """Those older than so many days, but never one of the newest so many days that have any: a
    clock that is years ahead takes none of them."""
    expired = [
        number
        for (number,) in connection.execute(
            f"""
            WITH dated AS (
                SELECT snapshot_id, snapshot_time::TIMESTAMPTZ AS made,
                    date_trunc('day', made) AS day
                FROM {CATALOG}.ducklake_snapshot),
            kept AS (SELECT day FROM dated GROUP BY day ORDER BY max(snapshot_id) DESC LIMIT ?)
            SELECT snapshot_id FROM dated ANTI JOIN kept USING (day)
            WHERE made < now() - to_days(?)
                AND snapshot_id < (SELECT max(snapshot_id) FROM dated) ORDER BY ALL
            """,
            [days, days],
        ).fetchall()
    ]
    _forget(connection, expired)


def forget_snapshots(connection: duckdb.DuckDBPyConnection) -> None:
    """All but the newest, whatever the clock says."""
    newest, _ = newest_snapshot(connection)
    past = connection.execute(
        f"SELECT snapshot_id FROM {CATALOG}.ducklake_snapshot WHERE snapshot_id < ?", [newest]
    ).fetchall()
    _forget(connection, [number for (number,) in past])


def _forget(connection: duckdb.DuckDBPyConnection, snapshots: list[int]) -> None:
    if snapshots:
        connection.execute(
            "CALL ducklake_expire_snapshots('lake', versions => ?::UBIGINT[])", [snapshots]
        )


def delete_orphans(
    connection: duckdb.DuckDBPyConnection, data: Path, *, older_than_days: int = 1, few: bool = True
) -> int:
    """Delete files that no snapshot names. More than a few of them are not what killed writers
    leave: they are reported and stay, unless `few` is not asked for. Hold the writer's lock, with
    the catalog checked. Returns files deleted."""
    found = orphans(connection, data)
    if found.files and few and not found.are_few(ORPHANS_AT_MOST):
        log.warning("orphans_kept", files=found.files, bytes=found.bytes, named=found.named)
        return 0
    return len(
        connection.execute(
            "CALL ducklake_delete_orphaned_files('lake', older_than => now() - to_days(?))",
            [older_than_days],
        ).fetchall()
    )


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

"""What is damaged in the lake and in the published copy, and what can bring it back.

The catalog, the presence and size of every data file, and the order of nights are looked at as a
whole, each night. Contents are read file by file: a seventh of the files each night, so that seven
nights read all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from common import clock
from common.errors import MuaraError
from common.quoting import literal
from common.settings import Settings
from warehouse import manifest
from warehouse.catalog import ORPHANS_AT_MOST, catalog_faults, data_folder, reading
from warehouse.files import DataFile, damaged_files, named_files, orphans, unreadable_files
from warehouse.mark import CATALOG
from warehouse.masks import selection
from warehouse.publish import AUDIENCE, files_published, parquet, published_tables
from warehouse.rebuild import can_be_made
from warehouse.tables import tables

CONTENTS = "contents of data files"
NIGHTS_TO_READ_ALL = 7
NAMED_AT_MOST = 5
BACKUP = "restore a backup (`muara restore`)"
CATALOG_COPY = "take the copy beside the lake (`muara catalog restore`), or a backup"
INVARIANTS = {
    "files of tables that are not there": """
        FROM {0}_data_file WHERE table_id NOT IN (SELECT table_id FROM {0}_table)""",
    "deletions in files that are not there": """
        FROM {0}_delete_file WHERE end_snapshot IS NULL AND data_file_id NOT IN (
            SELECT data_file_id FROM {0}_data_file WHERE end_snapshot IS NULL)""",
    "paths that two files share": """
        FROM (SELECT table_id, path FROM {0}_data_file GROUP BY ALL HAVING count(*) > 1)""",
    "files of snapshots to come": """
        FROM {0}_data_file WHERE begin_snapshot > (SELECT max(snapshot_id) FROM {0}_snapshot)""",
    "files that end before they begin": """
        FROM {0}_data_file WHERE end_snapshot < begin_snapshot""",
    "files without a key": """
        FROM {0}_data_file WHERE encryption_key IS NULL""",
    "columns of tables that are not there": """
        FROM {0}_column WHERE table_id NOT IN (SELECT table_id FROM {0}_table)""",
}
"""What holds in every catalog of ours: SQL of the rows where it does not."""


@dataclass(frozen=True)
class Damage:
    """What is damaged, where, and what can bring it back."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. Next: {self.remedy}"


Look = Callable[[duckdb.DuckDBPyConnection, Settings, bool], Iterator[Damage]]


def look(settings: Settings, *, every: bool = False) -> dict[str, list[Damage]]:
    """What is looked at → what is damaged there; `every` reads the contents of all files.

    When a question cannot be answered, contents are read all the same, to name the file.

    Raises WarehouseFault when the catalog cannot be opened at all.
    """
    found, unasked = {}, False
    with reading(settings) as connection:
        for name, one in LOOKS.items():
            try:
                found[name] = list(one(connection, settings, every))
            except (duckdb.Error, MuaraError) as error:
                told = str(error) if isinstance(error, MuaraError) else type(error).__name__
                found[name] = [Damage("the lake", f"it could not be asked ({told})", BACKUP)]
                unasked = True
        if unasked and not every:
            found[CONTENTS] = list(_contents(connection, settings, True))
    return found


def remedy(table: str) -> str:
    """What can bring back a table of which a file is lost."""
    if can_be_made(table):
        return "what it was made of is there: `muara doctor --mend`"
    if table.startswith("landing."):
        return f"{BACKUP}; files that sources sent are in originals/"
    return BACKUP


def _catalog(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    for fault in catalog_faults(connection, whole=every)[:NAMED_AT_MOST]:
        yield Damage("the catalog", fault, CATALOG_COPY)
    for name, rows in INVARIANTS.items():
        (count,) = connection.execute(
            f"SELECT count(*) {rows.format(f'{CATALOG}.ducklake')}"
        ).fetchall()[0]
        if count:
            yield Damage("the catalog", f"{count} {name}", CATALOG_COPY)


def _files(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    yield from _by_table(damaged_files(connection, data_folder(settings), past=True))


def _contents(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    data = data_folder(settings)
    tonight = clock.today(settings).toordinal() % NIGHTS_TO_READ_ALL
    gone = {file.path for file in damaged_files(connection, data)}
    chosen = connection.execute(
        "SELECT path FROM (SELECT unnest(?) AS path) WHERE ? OR hash(path) % ? = ?",
        [[file.path for file in named_files(connection)], every, NIGHTS_TO_READ_ALL, tonight],
    ).fetchall()
    paths = {path for (path,) in chosen} - gone
    asked = [file for file in named_files(connection) if file.path in paths]
    yield from _by_table(list(unreadable_files(connection, data, asked)))


def _by_table(files: list[DataFile]) -> Iterator[Damage]:
    for table in sorted({file.table for file in files}):
        of_it = [file for file in files if file.table == table]
        named = ", ".join(f"{file.path} ({file.fault})" for file in of_it[:NAMED_AT_MOST])
        more = f" and {len(of_it) - NAMED_AT_MOST} more" if len(of_it) > NAMED_AT_MOST else ""
        yield Damage(table, named + more, remedy(table))


def _orphans(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    found = orphans(connection, data_folder(settings))
    if not found.are_few(ORPHANS_AT_MOST):
        yield Damage(
            "the data folder",
            f"{found}: too many to be what killed writers left, so none is deleted",
            "when the catalog is the right one: `muara catalog orphans --delete`",
        )


def _history(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    """No version ends before it begins."""
    spans = [
        (table.name, begin, end)
        for table in tables().values()
        for begin, end in (("valid_from", "valid_to"), ("first_night", "closed_night"))
        if {begin, end} <= table.all_columns.keys()
    ]
    query = " UNION ALL ".join(
        f"SELECT {literal(name)}, count(*) FROM lake.{name} WHERE {end} < {begin}"
        for name, begin, end in spans
    )
    for name, count in connection.execute(query).fetchall():
        if count:
            yield Damage(name, f"{count} versions end before they begin", CLOCK)


CLOCK = "see docs/operating.md, 'A clock that was wrong'"


def _nights(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    for source, stream, batch in connection.execute(
        """
        SELECT source, stream, min(batch_id) FROM (
            SELECT *, max(night) OVER (PARTITION BY source, stream ORDER BY batch_id) AS newest
            FROM lake.ops.ledger WHERE outcome = 'loaded')
        WHERE night < newest GROUP BY ALL ORDER BY ALL
        """
    ).fetchall():
        yield Damage(
            f"{source}.{stream}", f"batch {batch} is of a night before the one loaded last", CLOCK
        )
    (newest,) = connection.execute("SELECT max(night) FROM lake.ops.ledger").fetchall()[0]
    today = _real_today(settings)
    if newest and today and newest > today:
        yield Damage("ops.ledger", f"{newest} was worked on, and today is {today}", CLOCK)


def _real_today(settings: Settings) -> date | None:
    """None where today was set: then the machine's clock says nothing about it."""
    return None if clock.is_set(settings) else datetime.now(settings.zone).date()


def _published(
    connection: duckdb.DuckDBPyConnection, settings: Settings, every: bool
) -> Iterator[Damage]:
    """What is published holds what is declared, and is as its manifest says."""
    current, again = settings.home / "published" / "current", "`muara publish`"
    if not (settings.home / "published").is_dir():
        return
    try:
        manifest.verify(current, files_published())
    except MuaraError as error:
        yield Damage("published", error.what, again)
        return
    declared = {
        table.name: [name for name, _ in selection(table, AUDIENCE)] for table in published_tables()
    }
    lacking = [table.name for table in published_tables() if not parquet(current, table).is_file()]
    try:
        with duckdb.connect(str(current / manifest.DATABASE), read_only=True) as copy:
            there = dict(
                copy.execute(
                    "SELECT schema_name || '.' || table_name, "
                    "list(column_name ORDER BY column_index) FROM duckdb_columns() "
                    "WHERE table_oid IN (SELECT table_oid FROM duckdb_tables()) GROUP BY ALL"
                ).fetchall()
            )
    except duckdb.Error as error:
        yield Damage(
            "published", f"{manifest.DATABASE} cannot be read ({type(error).__name__})", again
        )
        return
    for name in sorted(declared.keys() | there.keys()):
        if there.get(name) != declared.get(name) or name in lacking:
            yield Damage(name, "what is published of it is not what is declared", again)


LOOKS: dict[str, Look] = {
    "catalog": _catalog,
    "data files": _files,
    CONTENTS: _contents,
    "files that no snapshot names": _orphans,
    "order of versions": _history,
    "order of nights": _nights,
    "published copy": _published,
}

"""A copy of a home as it was at one moment, made beside running loads.

The lake's catalog and hard links to every data file it names are taken under the writer's lock, so
nothing can remove a file in between; loads wait for that moment only. Every SQLite database is
copied by SQLite itself. What is written once (data files, originals, extracts) is linked, the rest
copied.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from common import lock
from common.errors import BackupFault, WarehouseBusy
from common.settings import Settings
from warehouse.catalog import writer_lock

CATALOG = "lake/catalog.sqlite"
DATA = "lake/data"
LEFT_OUT = {
    "secrets": "the keys: `muara backup keys` writes them to a file that you keep apart",
    "published": "the analysts' copy: the next night makes it",
    "shares": "the agencies' shares: the next night makes them",
    "data_docs": "Data Docs: the next night makes them",
    "rules": "SQL that a night writes for itself",
    "queries": "SQL that a night writes for itself",
    "staging": "batches under way",
    "spill": "batches under way",
    "logs": "logs",
    "lineage": "lineage events",
    "lake/copies": "copies of the catalog beside the lake",
    "airflow/logs": "Airflow's logs",
    "city": "the sample city's own systems",
    "locks": "what is being worked on",
    "backup": "what the backup keeps for itself",
}
"""Folder of a home → why it is in no backup."""
WRITTEN_ONCE = (DATA, "originals", "extracts")
COMPANIONS = ("-wal", "-shm", "-journal", ".lock", ".pid")
COPIES = {"backup": "staging", "drill": "drill"}
"""Of whom a copy may lie in the backups' folder, and its name."""
# In a process of its own: two SQLites in one process (DuckDB has one) free each other's locks.
COPY = """
import sqlite3, sys
source = sqlite3.connect(sys.argv[1], uri=True, timeout=60)
source.backup(sqlite3.connect(sys.argv[2]))
"""
SQLITE = b"SQLite format 3\0"


def backup_folder(settings: Settings) -> Path:
    """What backups keep for themselves in the home; no backup holds it."""
    return settings.home / "backup"


def alone(settings: Settings, what: str) -> AbstractContextManager[int]:
    """Be the only backup or drill of this home. Raises WarehouseBusy."""
    return lock.alone(settings, what, what=f"another {what}", next_step="wait for its end.")


def clear_abandoned(settings: Settings) -> None:
    """Remove the copies that killed backups and drills left in the home."""
    for what, folder in COPIES.items():
        if (path := backup_folder(settings) / folder).exists():
            at_once = settings.model_copy(update={"lock_timeout_seconds": 0})
            with suppress(WarehouseBusy), alone(at_once, what):
                shutil.rmtree(path, ignore_errors=True)


def copy_home(settings: Settings, target: Path) -> None:
    """Fill the new folder `target` with what a backup holds.

    Raises BackupFault when the catalog is damaged or names data files that are not there, and
    WarehouseBusy when a load did not let go of the lake in time.
    """
    _make(target)
    with writer_lock(settings):
        _copy_database(settings.home / CATALOG, target / CATALOG)
        _link_data(settings.home, target)
    # Databases last: of an audit log there may be more rows than seals, never fewer.
    for path in sorted(_others(settings.home), key=lambda one: _is_database(settings.home / one)):
        place = target / path
        _make(place.parent)
        with suppress(FileNotFoundError):  # gone since: an original that expired, a delivery
            if is_written_once(path):
                _link(settings.home / path, place)
            elif _is_database(settings.home / path):
                _copy_database(settings.home / path, place)
            else:
                shutil.copy2(settings.home / path, place)
    check_databases(target)


def check_databases(home: Path) -> None:
    """Raises BackupFault, naming those that are damaged. Each is one file then, without a log."""
    damaged = []
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_relative_to(home / DATA) and _is_database(path):
            try:
                with closing(sqlite3.connect(path)) as database:
                    answer = database.execute("PRAGMA integrity_check").fetchall()
            except sqlite3.DatabaseError:
                answer = []
            if answer != [("ok",)]:
                damaged.append(path.relative_to(home).as_posix())
    if damaged:
        raise BackupFault(
            f"damaged: {', '.join(damaged)}",
            next_step="keep the backups there are, and see `muara doctor`.",
        )


def catalogued(catalog: Path) -> dict[str, int]:
    """Path below the home → bytes, of every file that any snapshot of the catalog holds."""
    with closing(sqlite3.connect(catalog)) as connection:
        found = connection.execute(
            """
            SELECT home.path || of.path || file.path, file.file_size_bytes,
                home.path_is_relative AND of.path_is_relative AND file.path_is_relative
            FROM (
                SELECT table_id, path, path_is_relative, file_size_bytes FROM ducklake_data_file
                UNION ALL
                SELECT table_id, path, path_is_relative, file_size_bytes FROM ducklake_delete_file
            ) AS file
            JOIN (SELECT DISTINCT table_id, schema_id, path, path_is_relative FROM ducklake_table)
                AS of USING (table_id)
            JOIN ducklake_schema AS home USING (schema_id)
            """
        ).fetchall()
    if any(not is_relative for *_, is_relative in found):
        raise BackupFault(
            "the catalog names data files outside the lake",
            next_step="report it as a defect.",
        )
    return {f"{DATA}/{path}": size for path, size, _ in found}


def is_written_once(path: str) -> bool:
    """Whether a file at this path below the home never changes once it is there."""
    folders = PurePosixPath(path)
    return folders.suffix != ".json" and any(map(folders.is_relative_to, WRITTEN_ONCE))


def _link_data(home: Path, target: Path) -> None:
    _make(target / DATA)
    for mark in (home / DATA).glob("[!.]*.json"):  # what the folder says of itself
        shutil.copy2(mark, target / DATA)
    wrong = []
    for path, size in catalogued(target / CATALOG).items():
        place = target / path
        _make(place.parent)
        try:
            _link(home / path, place)
        except FileNotFoundError:
            wrong.append(path)
            continue
        if place.stat().st_size != size:
            wrong.append(path)
    if wrong:
        raise BackupFault(
            f"{len(wrong)} data files that the catalog names are missing or cut, the first "
            f"{sorted(wrong)[0]}",
            where="lake",
            next_step="keep the backups there are; see `muara doctor` and docs/backup.md.",
        )


def _others(home: Path) -> Iterator[str]:
    """Paths below the home of all that is neither left out nor the lake's own data."""
    for folder, folders, names in os.walk(home, followlinks=True):
        here = Path(folder).relative_to(home).as_posix()
        here = "" if here == "." else f"{here}/"
        folders[:] = sorted(
            name
            for name in folders
            if f"{here}{name}" not in (*LEFT_OUT, DATA) and not name.startswith(".")
        )
        for name in sorted(names):
            path = f"{here}{name}"
            if path != CATALOG and not name.startswith(".") and not name.endswith(COMPANIONS):
                yield path


def _copy_database(path: Path, copy: Path) -> None:
    """Raises BackupFault when it cannot be read as a database."""
    _make(copy.parent)
    copy.touch(mode=0o600)
    source = f"file:{quote(str(path))}?mode=ro"
    done = subprocess.run([sys.executable, "-c", COPY, source, str(copy)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise BackupFault(
            f"{path.name} cannot be copied ({done.stderr.strip().splitlines()[-1]})",
            next_step="see whether the disk is full, then `muara doctor`; keep the backups there "
            "are.",
        )


def _is_database(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE
    return False


def _link(path: Path, place: Path) -> None:
    """A second name of the same file; where it lies on another disk, a copy."""
    path = path.resolve(strict=True)
    try:
        place.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(path, place)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)

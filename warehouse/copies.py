"""Copies of the catalog beside the lake, one a night, and the way back from them.

They hold no data files: a copy is worth as much as the files it names that are still there, which
is why `tidy` leaves those alone that the oldest kept copy may name. They are person data as the
catalog is: readable by their owner only, and dropped by an erasure.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from common import clock
from common.errors import WarehouseFault
from common.log import log
from common.settings import Settings
from warehouse.catalog import (
    catalog_faults,
    catalog_file,
    catalog_tables,
    copies_folder,
    data_folder,
    only_writer,
)
from warehouse.files import DataFile, Orphans, damaged_files, orphans
from warehouse.mark import mark_of, named_lake, newest_snapshot, read_mark, write_mark

KEPT = 3
# In a process of its own: two SQLites in one process free each other's locks. `VACUUM INTO` copies
# what one read transaction sees, without what was deleted.
COPY = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])"


@dataclass(frozen=True)
class Copy:
    """A copy of the catalog: taken in `night`, it ends with `snapshot`."""

    path: Path
    night: date
    snapshot: int


@dataclass(frozen=True)
class Return:
    """What putting a copy back would mean: `lost` snapshots after it, files that it names and that
    are damaged or gone, files of the folder that it does not know. With a `fault` the copy is of no
    use, and the others are unknown."""

    copy: Copy
    lost: int = 0
    damaged: list[DataFile] = field(default_factory=list)
    unknown: Orphans = field(default_factory=Orphans)
    fault: str = ""

    @property
    def is_whole(self) -> bool:
        return not (self.fault or self.lost or self.damaged)


def copies(settings: Settings) -> list[Copy]:
    """The kept copies, the newest first."""
    found = []
    for path in copies_folder(settings).glob("*.*.sqlite"):
        night, snapshot, _ = path.name.split(".")
        found.append(Copy(path, date.fromisoformat(night), int(snapshot)))
    return sorted(found, key=lambda one: one.snapshot, reverse=True)


def copy_catalog(settings: Settings) -> Copy:
    """Copy the catalog as it is, check the copy, and let it take the place of the night's earlier
    one; of the others the newest are kept. Harmless while others write.

    Raises WarehouseFault when the copy cannot be made or read.
    """
    folder, night = copies_folder(settings), clock.today(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in folder.glob(".new*"):
        leftover.unlink(missing_ok=True)
    fresh = folder / f".new.{os.getpid()}"
    fresh.touch(mode=0o600)
    done = subprocess.run(
        [sys.executable, "-c", COPY, str(catalog_file(settings)), str(fresh)],
        capture_output=True, check=False,
    )  # fmt: skip
    with catalog_tables(fresh) as connection:
        faults = catalog_faults(connection, "tables", whole=True)
        if done.returncode or faults:
            fresh.unlink()
            raise WarehouseFault(
                "the catalog could not be copied",
                where=str(catalog_file(settings)),
                next_step="see whether the disk is full, then `muara doctor`.",
            )
        snapshot, _ = newest_snapshot(connection, "tables")
    copy = Copy(folder / f"{night}.{snapshot}.sqlite", night, snapshot)
    os.replace(fresh, copy.path)
    earlier = [one for one in copies(settings) if one.path != copy.path]
    others = [one for one in earlier if one.night != night]
    for one in (*(one for one in earlier if one.night == night), *others[KEPT - 1 :]):
        one.path.unlink(missing_ok=True)
    log.info("catalog_copied", night=str(night), snapshot=snapshot)
    return copy


def forget_copies(settings: Settings) -> int:
    """Delete every copy, and catalogs that were replaced by one. Returns files deleted."""
    found = [path for path in copies_folder(settings).glob("*") if path.is_file()]
    for path in found:
        path.unlink()
    return len(found)


def weigh(settings: Settings, copy: Copy) -> Return:
    """What putting the copy back would mean."""
    data = data_folder(settings)
    mark = read_mark(data)
    try:
        with catalog_tables(copy.path) as connection:
            if faults := catalog_faults(connection, "tables", whole=True):
                return Return(copy, fault=f"it is damaged: {faults[0]}")
            if mark and named_lake(connection, "tables") != mark.lake:
                return Return(copy, fault="it is that of another lake")
            return Return(
                copy,
                max(0, mark.snapshot - copy.snapshot) if mark else 0,
                damaged_files(connection, data, catalog="tables"),
                orphans(connection, data, catalog="tables"),
            )
    except duckdb.Error as error:
        return Return(copy, fault=f"it cannot be read ({type(error).__name__})")


def put_back(settings: Settings, copy: Copy, *, accept: bool = False) -> Return:
    """Let the copy be the catalog. What was there before stays beside the copies as `replaced`.

    Raises WarehouseFault when the copy is damaged or of another lake; and, unless that is accepted,
    when later snapshots would be lost or files that it names are not there.
    """
    catalog, data = catalog_file(settings), data_folder(settings)
    with only_writer(settings):
        meaning = weigh(settings, copy)
        if meaning.fault:
            usable = [one for one in copies(settings) if not weigh(settings, one).fault]
            nights = " or ".join(f"`muara catalog restore {one.night}`" for one in usable)
            raise WarehouseFault(
                f"the copy is of no use: {meaning.fault}",
                where=str(copy.path),
                next_step=f"{nights or 'no other copy can be read:'} or a backup: `muara restore`.",
            )
        if not meaning.is_whole and not accept:
            raise WarehouseFault(
                f"{meaning.lost} later snapshots would be lost, {len(meaning.damaged)} files that "
                f"the copy names are damaged or gone, {meaning.unknown.files} files "
                f"({meaning.unknown.bytes / 1e6:.1f} MB) would be of no use",
                where=str(copy.path),
                next_step="a backup may be whole (`muara restore`); else repeat with --accept, and "
                "sync every source again.",
            )
        fresh = catalog.with_name(".new-catalog")
        fresh.touch(mode=0o600)
        try:
            shutil.copy(copy.path, fresh)
        except OSError:
            fresh.unlink()
            raise
        fresh.chmod(0o600)
        with catalog_tables(fresh) as connection:
            lake = named_lake(connection, "tables")
            mark = mark_of(connection, lake, "tables") if lake else None
        for suffix in ("-wal", "-shm", ""):
            old = catalog.with_name(catalog.name + suffix)
            if old.exists():
                os.replace(old, copies_folder(settings) / f"replaced{suffix}")
        os.replace(fresh, catalog)
        if mark:
            write_mark(data, mark)
        log.warning("catalog_put_back", night=str(copy.night), snapshot=copy.snapshot)
    return meaning

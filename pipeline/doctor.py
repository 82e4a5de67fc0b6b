"""What would make tonight fail, asked beforehand."""

import shutil
import stat
from pathlib import Path

from common import clock
from common.calendar import load_calendar
from common.connection import resolver
from common.definition import Source, load_sources
from common.errors import MuaraError, NightInPast, WarehouseFault
from common.settings import Settings
from pipeline.backup import newest_night
from pipeline.night import Check, audit_kept, contracts_check
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse import rebuild
from warehouse.backup.keys import are_kept_apart
from warehouse.catalog import (
    disagreements,
    is_there,
    open_duckdb,
    reading,
    require_night,
)
from warehouse.damage import look
from warehouse.disclosure import load_floor

FREE_BYTES_WANTED = 2 * 1024**3
OLD_BACKUP_NIGHTS = 2
OPEN_SHOWN = 3
"""Of files and folders that others can read, so many are named."""


def examine(settings: Settings, *, rebuilt: bool = False, every: bool = False) -> list[Check]:
    """Definitions, connections, extensions, disk, calendar, modes, backup, damage, tables;
    with `rebuilt`, core against its rebuild from landing; with `every`, the contents of all data
    files."""
    sources = load_sources(settings)
    load_floor(settings)
    answers = [
        Check("definitions", True, f"{len(sources)} sources"),
        contracts_check(settings),
        _extensions(settings),
        _disk(settings),
        _modes(settings),
        audit_kept(settings),
        _connections(settings, sources),
        _calendar(settings),
    ]
    try:
        if not is_there(settings):
            return [
                *answers,
                Check(
                    "warehouse",
                    False,
                    "none yet; run `muara night` (on the sample city: `make night`)",
                ),
            ]
        damaged = look(settings, every=every)
    except WarehouseFault as error:
        return [*answers, Check("warehouse", False, str(error))]
    answers += [_night(settings), _backup(settings)]
    answers += [
        Check(name, not found, "; ".join(map(str, found)) or "no damage")
        for name, found in damaged.items()
    ]
    with reading(settings) as connection:
        wrong = disagreements(connection, sources)
    answers.append(
        Check(
            "tables", not wrong, "; ".join(f"{k}: {v}" for k, v in wrong.items()) or "as declared"
        )
    )
    if rebuilt:
        answers.append(_rebuild(settings, sources))
    return answers


def mend(settings: Settings, *, every: bool = False) -> list[str]:
    """Make again what is damaged and can be made of what the warehouse holds elsewhere. Returns the
    tables made again; `prepare`, a link and a publication fill those that are empty now."""
    damaged = {one.where for found in look(settings, every=every).values() for one in found}
    sources = load_sources(settings)
    return rebuild.mend(
        settings, sources, lambda stream: lambda rows: typed(rows, stream), conform_of, damaged
    )


def _rebuild(settings: Settings, sources: dict[str, Source]) -> Check:
    name = "core equals its rebuild from landing"
    try:
        found = rebuild.differences(
            settings, sources, lambda stream: lambda rows: typed(rows, stream), conform_of
        )
    except WarehouseFault as error:
        return Check(name, False, str(error))
    detail = ", ".join(f"{table}: {count}" for table, count in found.items())
    return Check(name, not found, detail or "equal")


def _night(settings: Settings) -> Check:
    try:
        require_night(settings)
    except (NightInPast, WarehouseFault) as error:
        return Check("tonight", False, str(error))
    return Check("tonight", True, str(clock.today(settings)))


def _extensions(settings: Settings) -> Check:
    try:
        open_duckdb(settings).close()
    except Exception as error:
        return Check("DuckDB extensions", False, type(error).__name__)
    return Check("DuckDB extensions", True, "loaded")


def _disk(settings: Settings) -> Check:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    return Check("free disk", free > FREE_BYTES_WANTED, f"{free / 1024**3:.0f} GiB")


def _connections(settings: Settings, sources) -> Check:
    resolve, unknown = resolver(settings), set()
    for source in sources.values():
        for stream in source.streams:
            try:
                resolve(stream.connection)
            except MuaraError:
                unknown.add(stream.connection)
    return Check("connections", not unknown, ", ".join(sorted(unknown)) or "all known")


def _calendar(settings: Settings) -> Check:
    """Without the year's joint leave, offices that rest would be alarmed."""
    year = clock.today(settings).year
    is_known = load_calendar(settings).knows_joint_leave(year)
    lacks = f"calendar.yml of the profile has no joint leave (cuti bersama) of {year}"
    return Check("calendar", is_known, f"joint leave of {year} is known" if is_known else lacks)


def _backup(settings: Settings) -> Check:
    """Of what this home knows; `muara backup list` asks the place."""
    if not settings.backup_place:
        return Check("backup", True, "none configured (docs/backup.md)")
    if (newest := newest_night(settings)) is None:
        return Check("backup", False, "none yet; run `muara backup`")
    nights = (clock.today(settings) - newest).days
    detail = f"the newest is of {newest}, {nights} nights old"
    if not are_kept_apart(settings):
        return Check("backup", False, f"{detail}; its keys are nowhere else: `muara backup keys`")
    return Check("backup", nights <= OLD_BACKUP_NIGHTS, detail)


def _modes(settings: Settings) -> Check:
    """Nothing under the home may be read, written or entered by others than its owner."""
    found = [
        path.relative_to(settings.home).as_posix()
        for path in (settings.home, *settings.home.rglob("*"))
        if _is_open(path)
    ]
    first = ", ".join(sorted(found)[:OPEN_SHOWN])
    more = f" and {len(found) - OPEN_SHOWN} more" if len(found) > OPEN_SHOWN else ""
    repair = f"open to others: {first}{more}; close with `chmod -R go= {settings.home}`"
    return Check("home for its owner only", not found, repair if found else "owner only")


def _is_open(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:  # a night that runs has removed it since
        return False
    return not stat.S_ISLNK(mode) and bool(mode & 0o077)

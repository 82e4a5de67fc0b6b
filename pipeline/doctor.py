"""What would make tonight fail, asked beforehand."""

import shutil
import stat
from pathlib import Path

from common import clock
from common.calendar import load_calendar
from common.connection import resolver
from common.definition import load_sources
from common.errors import MuaraError
from common.settings import Settings
from pipeline.night import Check, audit_kept, contracts_check
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse.catalog import disagreements, lake_folder, open_duckdb, reading
from warehouse.rebuild import differences

FREE_BYTES_WANTED = 2 * 1024**3
OPEN_SHOWN = 3
"""Of files and folders that others can read, so many are named."""


def examine(settings: Settings, *, rebuild: bool = False) -> list[Check]:
    """Definitions, connections, extensions, disk, calendar, modes of secret files, tables; with
    `rebuild`, core against its rebuild from landing."""
    sources = load_sources(settings)
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
    if not (lake_folder(settings) / "catalog.sqlite").exists():
        return [*answers, Check("warehouse", False, "none yet; run `make night`")]
    with reading(settings) as connection:
        wrong = disagreements(connection, sources)
    answers.append(
        Check(
            "tables", not wrong, "; ".join(f"{k}: {v}" for k, v in wrong.items()) or "as declared"
        )
    )
    if rebuild:
        found = differences(
            settings, sources, lambda stream: lambda rows: typed(rows, stream), conform_of
        )
        detail = ", ".join(f"{name}: {count}" for name, count in found.items())
        answers.append(Check("core equals its rebuild from landing", not found, detail or "equal"))
    return answers


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

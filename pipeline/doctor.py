"""What would make tonight fail, asked beforehand."""

import shutil
import stat

from common import clock
from common.calendar import load_calendar
from common.connection import resolver
from common.definition import load_sources
from common.errors import MuaraError
from common.settings import Settings
from pipeline.night import Check, contracts_check
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse.catalog import disagreements, lake_folder, open_duckdb, reading
from warehouse.disclosure import load_floor
from warehouse.rebuild import differences

FREE_BYTES_WANTED = 2 * 1024**3


def examine(settings: Settings, *, rebuild: bool = False) -> list[Check]:
    """Definitions, connections, extensions, disk, calendar, modes of secret files, tables; with
    `rebuild`, core against its rebuild from landing."""
    sources = load_sources(settings)
    load_floor(settings)
    answers = [
        Check("definitions", True, f"{len(sources)} sources"),
        contracts_check(settings),
        _extensions(settings),
        _disk(settings),
        _connections(settings, sources),
        _calendar(settings),
    ]
    if not (lake_folder(settings) / "catalog.sqlite").exists():
        return [*answers, Check("warehouse", False, "none yet; run `make night`")]
    answers.append(_modes(settings))
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
    secret = [
        lake_folder(settings) / "catalog.sqlite",
        settings.home / "secrets" / "pseudonym.key",
        settings.home / "connections.toml",
    ]
    open_to_others = [
        path.name for path in secret
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]  # fmt: skip
    return Check("secret files", not open_to_others, ", ".join(open_to_others) or "owner only")

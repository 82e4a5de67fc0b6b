"""The one clock. Every rule takes today from here.

The sample city carries its own date in `<home>/today`; a real city has no such file and lives
in the present of its time zone.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from common.errors import HomeFault
from common.settings import Settings


def today(settings: Settings) -> date:
    """The night being worked on: the setting, else `<home>/today`, else the city's local date."""
    if settings.today:
        return settings.today
    marker = settings.home / "today"
    if marker.exists():
        return _date_in(marker)
    return datetime.now(settings.zone).date()


def _date_in(marker: Path) -> date:
    text = marker.read_bytes()[:80].decode(errors="replace").strip()
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise HomeFault(
        "no date such as 2026-11-23",
        where=str(marker),
        next_step="write the sample city's date into it; a real city has no such file: delete it.",
    )


def is_set(settings: Settings) -> bool:
    """Whether today was set by hand or by the sample city, instead of being the machine's."""
    return settings.today is not None or (settings.home / "today").exists()


def now() -> datetime:
    """The machine's time in UTC, for the ledger's `started_at` and `committed_at` only."""
    return datetime.now(UTC)

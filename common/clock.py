"""The one clock. Every rule takes today from here.

The sample city carries its own date in `<home>/today`; a real city has no such file and lives
in the present of its time zone.
"""

from datetime import UTC, date, datetime

from common.settings import Settings


def today(settings: Settings) -> date:
    """The night being worked on: the settings, else `<home>/today`, else the city's local date."""
    if named := settings.replay_night or settings.today:
        return named
    marker = settings.home / "today"
    if marker.exists():
        return date.fromisoformat(marker.read_text().strip())
    return datetime.now(settings.zone).date()


def is_set(settings: Settings) -> bool:
    """Whether today was set by hand or by the sample city, instead of being the machine's."""
    return bool(settings.replay_night or settings.today) or (settings.home / "today").exists()


def now() -> datetime:
    """The machine's time in UTC, for the ledger's `started_at` and `committed_at` only."""
    return datetime.now(UTC)

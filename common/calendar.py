"""The city's days: holidays, joint leave, slow stretches such as Ramadan, and the alarms' hours.

National holidays come from the library `holidays`; the rest is `calendar.yml` of the profile.
"""

from datetime import date, time, timedelta
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from common.definition import Window
from common.definition_files import Unreadable, read_model
from common.errors import DefinitionError
from common.settings import Settings


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Slow(Strict):
    """A stretch, both ends included, in which at least `share` of an ordinary day is expected."""

    name: str
    start: date = Field(alias="from")
    end: date = Field(alias="to")
    share: float = Field(gt=0, le=1)


class Calendar(Strict):
    """`calendar.yml` of a profile."""

    country: str
    language: str | None = None
    days_off: dict[date, str] = {}
    slow: tuple[Slow, ...] = ()
    alarms_at: time = time(6, 30)
    quiet: Window | None = None

    @cached_property
    def _national(self) -> dict[date, str]:
        import holidays

        try:
            return holidays.country_holidays(self.country, language=self.language)
        except NotImplementedError:
            raise DefinitionError(
                f"no holidays are known of country {self.country}",
                where="calendar.yml",
                next_step="use its two-letter code (ISO 3166).",
            ) from None

    def day_off(self, day: date) -> str | None:
        """What is celebrated on a holiday or a day of joint leave. Weekends are none."""
        return self.days_off.get(day) or self._national.get(day)

    def share(self, night: date) -> float:
        """The share of an ordinary night of its weekday that is expected at least: 0 when the night
        or the day before it is off, for a batch read after midnight holds the day before."""
        days = (night, night - timedelta(days=1))
        if any(map(self.day_off, days)):
            return 0.0
        found = [one.share for one in self.slow for day in days if one.start <= day <= one.end]
        return min(found, default=1.0)

    def knows_joint_leave(self, year: int) -> bool:
        """Whether the year's decree has been entered."""
        return any(day.year == year for day in self.days_off)


def load_calendar(settings: Settings) -> Calendar:
    """The profile's calendar. Raises DefinitionError with every fault, also when there is none."""
    path = settings.profile / "calendar.yml"
    try:
        if path.exists():
            return read_model(path, Calendar)
        fault = "there is none"
    except Unreadable as error:
        fault = str(error)
    raise DefinitionError(
        fault,
        where="calendar.yml",
        next_step="correct it in the profile; profiles/kota_cirebon has an example.",
    )

"""What is unlike an office's habit, on synthetic ledgers: alarmed the first morning, and ordinary
nights with weekends, Ramadan and Idulfitri never."""

from datetime import date, timedelta

import numpy as np
import pytest

from common.calendar import load_calendar
from common.definition import Source
from common.settings import Settings
from pipeline.habit import Unit, chance_of_so_little, judge
from tests.quiet import OFFICES, Offices, Process, morning

FIRST = date(2026, 6, 22)
LEARNED = 49
SMALL = "c0_small_hospital"
TONIGHT = FIRST + timedelta(days=LEARNED)


def judged(offices, night):
    return judge(offices.connection, offices.sources, offices.calendar, morning(night))


def found(offices, night=TONIGHT):
    return {(one.unit.source, one.kind): one for one in judged(offices, night).findings}


@pytest.fixture
def offices():
    """One city's offices with seven ordinary weeks behind them; TONIGHT is a Monday."""
    made = Offices(seed=5, cities=1)
    for _ in made.nights(FIRST, LEARNED):
        pass
    return made


def place(offices, name):
    return [one for one, _ in offices.offices].index(f"c0_{name}")


def test_an_ordinary_night_is_not_alarmed(offices):
    offices.send(TONIGHT)
    assert found(offices) == {}


def test_a_silent_hospital_is_alarmed_the_first_morning(offices):
    counts = offices.drawn(TONIGHT)
    counts[place(offices, "hospital")] = 0
    offices.send(TONIGHT, counts)
    (one,) = found(offices).values()
    assert (one.unit, one.kind, one.seen) == (Unit("c0_hospital", "rows"), "missing", 0)
    assert 15 < one.expected < 28
    assert (one.since, one.nights) == (TONIGHT, 1)


def test_a_quiet_office_is_alarmed_when_its_silence_weighs_as_much(offices):
    """Five births a night: the first silent night is ordinary, a silent week is not."""
    at, mornings = place(offices, "small_hospital"), []
    for past in range(7):
        night = TONIGHT + timedelta(days=past)
        counts = offices.drawn(night)
        counts[at] = 0
        offices.send(night, counts)
        mornings.append([kind for name, kind in found(offices, night) if name == SMALL])
    assert mornings[0] == []
    assert mornings[-1] == ["missing"]


def test_half_a_file_is_alarmed_the_first_morning(offices):
    """An office that sends all its rows each night, and tonight half of them."""
    offices.send(TONIGHT, rows={"c0_kelurahan": 1_250})
    (one,) = found(offices).values()
    assert (one.unit.source, one.kind, one.seen) == ("c0_kelurahan", "thin", 1_250)


def test_half_of_what_is_usually_new_is_alarmed_where_the_habit_is_steady():
    steady = Offices(seed=5, cities=1, offices={"export": Process(120, 0.9)})
    for _ in steady.nights(FIRST, LEARNED):
        pass
    steady.send(TONIGHT, np.array([60]))
    assert set(found(steady)) == {("c0_export", "thin")}


def test_a_source_frozen_at_yesterdays_content_is_alarmed_the_first_morning(offices):
    counts = offices.drawn(TONIGHT)
    counts[place(offices, "inbox")] = 0
    offices.send(TONIGHT, counts)
    assert set(found(offices)) == {("c0_inbox", "frozen")}


@pytest.mark.parametrize("hours", [-72, -24, 24, 72, 24 * 365])
def test_a_shifted_clock_is_alarmed_the_first_morning(offices, hours):
    offices.send(TONIGHT, hours=hours)
    kinds = {kind for _, kind in found(offices)}
    assert kinds == {"clock"}
    assert ("c0_inbox", "clock") in found(offices)


def test_a_stream_that_nobody_read_is_alarmed_even_in_its_first_week():
    young = Offices(seed=5, cities=1)
    for _ in young.nights(FIRST, 3):
        pass
    young.send(FIRST + timedelta(days=3), silent=("c0_inbox",))
    (one,) = found(young, FIRST + timedelta(days=3)).values()
    assert (one.unit.source, one.kind, one.cause) == ("c0_inbox", "missing", "not_run")


def test_a_table_read_by_checksum_that_never_differs_is_frozen_not_missing(offices):
    """Then nothing is read of it, for nothing differs."""
    offices.sources["c0_inbox"] = Source.model_validate(
        offices.sources["c0_inbox"].model_dump(by_alias=True)
        | {"streams": [offices.sources["c0_inbox"].streams[0].model_dump(by_alias=True)
                       | {"strategy": "checksum"}]}
    )  # fmt: skip
    counts = offices.drawn(TONIGHT)
    counts[place(offices, "inbox")] = 0
    offices.send(TONIGHT, counts, rows={"c0_inbox": 0})
    assert set(found(offices)) == {("c0_inbox", "frozen")}


def test_few_nights_are_learned_from_and_not_judged():
    young = Offices(seed=5, cities=1)
    for night in young.nights(FIRST, 20):
        verdict = judged(young, night)
        assert verdict.findings == []
        assert verdict.volume_judged == frozenset()
    assert verdict.learning == {Unit(name, "rows") for name in young.sources}


def test_nothing_is_expected_on_a_day_off_and_the_night_after(offices):
    for night in offices.nights(TONIGHT, (date(2026, 8, 24) - TONIGHT).days):
        assert found(offices, night) == {}
    for night in (date(2026, 8, 25), date(2026, 8, 26)):  # Maulid
        offices.send(night, np.zeros(len(OFFICES), int))
        assert found(offices, night) == {}
    offices.send(date(2026, 8, 27), np.zeros(len(OFFICES), int))
    assert ("c0_hospital", "missing") in found(offices, date(2026, 8, 27))


def test_an_outlier_of_the_past_changes_nothing(offices):
    flooded = offices.drawn(TONIGHT)
    flooded[place(offices, "hospital")] = 90_000
    offices.send(TONIGHT, flooded)
    for night in offices.nights(TONIGHT + timedelta(days=1), 15):
        assert found(offices, night) == {}


def test_thirty_nights_with_idulfitri_in_twenty_cities_and_no_false_alarm():
    """From 24 February to 25 March 2026: Ramadan, Nyepi, joint leave, Idulfitri."""
    cities = Offices(seed=2026, cities=20)
    weighed = 0
    for night in cities.nights(date(2025, 12, 15), 101):
        if night >= date(2026, 2, 24):
            verdict = judged(cities, night)
            assert verdict.findings == [], night
            weighed += len(verdict.volume_judged)
    assert weighed > 20 * len(OFFICES) * 15


def test_the_chance_is_that_of_a_poisson_count_where_nothing_else_varies():
    """P(0) of a mean of 12 is e^-12, and more where the habit itself varies."""
    one = {"seen": 0.0, "expected": 12.0, "variance": 12.0, "pearson": 0.0, "freedom": 40.0}
    given = {name: np.array([value]) for name, value in one.items()}
    assert chance_of_so_little(**given)[0] == pytest.approx(np.exp(-12), rel=0.01)
    given["pearson"] = np.array([120.0])
    assert chance_of_so_little(**given)[0] > np.exp(-12) * 50


def test_the_calendar_knows_joint_leave_and_that_a_night_tells_of_the_day_before():
    calendar = load_calendar(Settings())
    assert calendar.day_off(date(2026, 3, 24)) == "Cuti bersama Idulfitri 1447 H"
    assert calendar.share(date(2026, 3, 25)) == 0
    assert calendar.share(date(2026, 3, 10)) == 0.5
    assert calendar.share(date(2026, 11, 24)) == 1


def test_a_source_read_all_day_is_judged_by_its_last_whole_day(offices):
    sources = {
        name: Source.model_validate(one.model_dump(by_alias=True) | {"schedule": "*/30 * * * *"})
        for name, one in offices.sources.items()
    }
    offices.sources = sources
    offices.send(TONIGHT, np.zeros(len(OFFICES), int))
    assert found(offices) == {}
    offices.send(TONIGHT + timedelta(days=1))
    assert ("c0_hospital", "missing") in found(offices, TONIGHT + timedelta(days=1))

"""Whatever failed, and whatever stretches were read between: a cursor loses no row, and every gap
is named."""

from datetime import datetime, timedelta
from itertools import pairwise

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gaps import _stretches
from pipeline.progress import covered_until

START = datetime(2026, 1, 1)
OVERLAP = 2
moments = st.integers(0, 8)
stretches = st.tuples(moments, moments).filter(lambda pair: pair[0] < pair[1])


def at(moment):
    return START + timedelta(hours=moment)


EVERY_ROW = {(stamp, late) for stamp in range(9) for late in range(OVERLAP + 1)}
"""Hour of its stamp, and how much later it was committed."""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.none() | stretches, st.booleans())))
def test_every_row_committed_within_the_overlap_is_read(attempts):
    """Attempts are (hours since the last one, the stretch of a backfill or None for a night's
    sync, whether it loaded)."""
    now, loaded, read = 0, [], set()
    for pause, asked, loads in [*attempts, (9 + OVERLAP, None, True)]:
        now += pause
        covered = covered_until(sorted(loaded, key=lambda one: one[0] or datetime.min),
                                timedelta(hours=OVERLAP))  # fmt: skip
        if asked:
            high = min(at(asked[1]), at(now))
            low, end = min(at(asked[0]), high), high
        else:
            low, high, end = covered and covered - timedelta(hours=OVERLAP), at(now), datetime.max
        if loads:
            loaded.append((low, high))
            read |= {
                (stamp, late) for stamp, late in EVERY_ROW
                if stamp + late <= now and (low or datetime.min) <= at(stamp) < end
            }  # fmt: skip
    assert read == EVERY_ROW


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | moments, moments, st.booleans())))
def test_what_is_not_covered_is_what_no_later_batch_loaded(attempts):
    """Attempts are (from, None is the beginning; up to; whether it loaded)."""
    connection = duckdb.connect()
    connection.execute(
        """
        ATTACH ':memory:' AS lake;
        CREATE SCHEMA lake.ops;
        CREATE TABLE lake.ops.interval (source VARCHAR, stream VARCHAR, low_at TIMESTAMP,
            high_at TIMESTAMP, batch_id BIGINT, outcome VARCHAR);
        CREATE TABLE declared AS SELECT 's' AS source, 't' AS stream, 'cursor' AS strategy
        """
    )
    missing, seen = set(), set()
    last = max((high for _, high, loads in attempts if loads), default=None)
    for number, (low, high, loads) in enumerate(attempts, start=1):
        connection.execute(
            "INSERT INTO lake.ops.interval VALUES ('s', 't', ?, ?, ?, ?)",
            [None if low is None else at(low), at(high), number, "loaded" if loads else "failed"],
        )
        hours = set(range(-1 if low is None else low, high))
        missing = missing - hours if loads else missing | hours
        seen |= hours if loads else set()
    if last is not None:
        missing |= set(range(-1, last)) - seen
    found = [(gap.low, gap.high) for gap in _stretches(connection)]
    named = [
        hour for low, high in found
        for hour in range(-1, 9) if (low is None or at(hour) >= low) and at(hour) < high
    ]  # fmt: skip
    assert named == sorted(missing), "each once, in order"
    assert all(one[1] < two[0] for one, two in pairwise(found))

"""`checksum`: inserts, updates and deletions are seen without a timestamp, and little is read."""

import pytest

from common.errors import TooManyDeletions
from connectors.readers.sql import dialect
from tests.world import Cameras, counts, monitor


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path, strategy="checksum")
    cameras.hold(*many())
    cameras.sync()
    cameras.next_night()
    return cameras


def many(start=1, end=401, **changes):
    return [monitor(number, **changes) for number in range(start, end)]


def test_an_unchanged_night_reads_no_row(cameras):
    assert counts(cameras.sync()) == {}
    assert len(cameras.core()) == 400


def test_an_insert_an_update_and_a_deletion_are_found_and_few_rows_are_read(cameras):
    cameras.hold(*many(2, 200), monitor(200, name="Baru"), *many(201), monitor(999))
    account = cameras.sync()
    found = counts(account)
    assert found.pop("extracted") == found.pop("unchanged") + 2 < 40
    assert found == {"inserted": 1, "updated": 1, "deleted": 1}
    assert {1, 999} ^ {number for number, _, _ in cameras.core()} >= {1}
    assert cameras.rebuild_differences() == {}
    cameras.next_night()
    assert counts(cameras.sync()) == {}


def test_a_swap_of_two_values_is_seen(cameras):
    cameras.hold(monitor(1, name="A"), monitor(2, name="B"), *many(3))
    cameras.sync()
    cameras.hold(monitor(1, name="B"), monitor(2, name="A"), *many(3))
    assert counts(cameras.sync())["updated"] == 2


def test_a_doubled_row_is_seen(cameras):
    cameras.hold(*many(), monitor(7))
    assert counts(cameras.sync())["excluded"] == 1
    assert counts(cameras.sync()) == {}


def test_a_row_that_turns_bad_is_held_and_leaves_quarantine_when_it_goes(cameras):
    cameras.hold(monitor(1, function="Rusak"), *many(2))
    assert counts(cameras.sync())["quarantined"] == 1
    assert cameras.core()[0] == (1, "Simpang", ["held_in_quarantine"])
    cameras.next_night()
    assert counts(cameras.sync()) == {}, "still broken, not read again"
    cameras.next_night()
    cameras.hold(*many(2))
    assert counts(cameras.sync())["deleted"] == 1
    assert cameras.rows("SELECT state FROM lake.quarantine.row") == [("withdrawn",)]


def test_the_kill_switch_keeps_the_old_sums(cameras):
    cameras.hold(*many(101))
    for _ in range(2):
        with pytest.raises(TooManyDeletions, match="100 of 400 rows vanished"):
            cameras.sync()
    assert counts(cameras.sync(accept_deletions=True))["deleted"] == 100
    assert counts(cameras.sync()) == {}


def test_sums_of_another_shape_are_not_compared(cameras, monkeypatch):
    monkeypatch.setattr(dialect.Sqlite, "row_hash", lambda self, text: f"muara_hash({text}, 9)")
    assert counts(cameras.sync()) == {"extracted": 400, "unchanged": 400}
    assert counts(cameras.sync()) == {}


def test_a_table_that_grew_from_nothing(tmp_path):
    cameras = Cameras(tmp_path, strategy="checksum")
    assert counts(cameras.sync()) == {}
    cameras.hold(*many())
    assert counts(cameras.sync()) == {"extracted": 400, "inserted": 400}
    bits = cameras.rows("SELECT DISTINCT bits FROM lake.ops.checksum")
    assert bits == [(7,)], "buckets became as narrow as the table now wants"
    cameras.hold()
    with pytest.raises(TooManyDeletions):
        cameras.sync()

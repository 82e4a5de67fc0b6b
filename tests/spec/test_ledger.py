"""What each kind of night does to the ledger, landing, quarantine and core."""

import duckdb
import pytest

from common.errors import SourceUnavailable, TooManyDeletions
from pipeline import sync as way
from tests.world import NOTED_EVERY_NIGHT, Cameras, counts, monitor
from warehouse.catalog import changed_since, reading


@pytest.fixture
def cameras(tmp_path):
    return Cameras(tmp_path)


def many(start=1, end=41, **changes):
    return [monitor(number, **changes) for number in range(start, end)]


def test_a_first_night_inserts_and_an_unchanged_one_counts_only(cameras):
    cameras.hold(*many())
    assert counts(cameras.sync()) == {"extracted": 40, "inserted": 40}
    snapshot = newest_snapshot(cameras)
    cameras.next_night()
    assert counts(cameras.sync()) == {"extracted": 40, "unchanged": 40}
    assert tables_changed_since(cameras, snapshot) == NOTED_EVERY_NIGHT
    assert cameras.rebuild_differences() == {}


def newest_snapshot(cameras):
    return cameras.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")[0][0]


def tables_changed_since(cameras, snapshot):
    with reading(cameras.settings) as connection:
        return changed_since(connection, snapshot)


def test_changed_since_sees_changes(cameras):
    before = newest_snapshot(cameras)
    cameras.hold(*many())
    cameras.sync()
    assert tables_changed_since(cameras, before) == {
        "landing.cctv__monitor", "core.camera", "ops.core_ledger", "ops.ledger",
        "ops.finding", "ops.fingerprint", "ops.judgement", "ops.source_column",
    }  # fmt: skip


def test_a_changed_row_keeps_its_old_version(cameras):
    cameras.hold(*many())
    cameras.sync()
    cameras.next_night()
    cameras.hold(monitor(1, name="Alun-alun"), *many(2))
    assert counts(cameras.sync()) == {"extracted": 40, "updated": 1, "unchanged": 39}
    history = cameras.rows(
        "SELECT camera_name, valid_from, valid_to, closed_reason FROM lake.core.camera "
        "WHERE camera_number = 1 ORDER BY valid_from"
    )
    first, second = cameras.settings.today.replace(day=23), cameras.settings.today
    assert history == [
        ("Simpang", first, second, "replaced"),
        ("Alun-alun", second, None, None),
    ]
    assert cameras.rebuild_differences() == {}


def test_a_deleted_row_keeps_its_last_values_and_names_the_batch(cameras):
    cameras.hold(*many())
    cameras.sync()
    cameras.next_night()
    cameras.hold(*many(2))
    account = cameras.sync()
    assert counts(account) == {"extracted": 39, "unchanged": 39, "deleted": 1}
    assert cameras.rows(
        "SELECT camera_name, closed_reason, closed_batch_id FROM lake.core.camera "
        "WHERE camera_number = 1"
    ) == [("Simpang", "deleted", account.batch_id)]
    cameras.next_night()
    cameras.hold(*many())
    assert counts(cameras.sync()) == {"extracted": 40, "inserted": 1, "unchanged": 39}
    assert cameras.rebuild_differences() == {}


def test_too_many_deletions_stop_the_stream_until_accepted(cameras):
    cameras.hold(*many())
    cameras.sync()
    cameras.hold(*many(21))
    with pytest.raises(TooManyDeletions, match="20 of 40 rows vanished"):
        cameras.sync()
    assert len(cameras.core()) == 40
    outcome = cameras.rows("SELECT outcome, error_code FROM lake.ops.ledger ORDER BY batch_id")
    assert outcome == [("loaded", None), ("stopped", "TooManyDeletions")]
    assert counts(cameras.sync(accept_deletions=True))["deleted"] == 20
    assert len(cameras.core()) == 20


def test_a_sound_row_that_turns_bad_is_held_not_deleted(cameras):
    cameras.hold(*many())
    cameras.sync()
    cameras.next_night()
    cameras.hold(monitor(1, name="Baru", function="Rusak"), *many(2))
    expected = {"extracted": 40, "unchanged": 39, "quarantined": 1}
    assert counts(cameras.sync()) == expected
    assert cameras.core()[0] == (1, "Simpang", ["held_in_quarantine"])
    assert cameras.rebuild_differences() == {}

    cameras.next_night()
    assert counts(cameras.sync()) == expected, "still broken: counted again"
    entries = "SELECT rules, state FROM lake.quarantine.row"
    assert cameras.rows(entries) == [(["function_unknown"], "open")], "but stored once"

    cameras.next_night()
    cameras.hold(*many())
    assert counts(cameras.sync()) == {"extracted": 40, "updated": 1, "unchanged": 39}
    assert cameras.core()[0] == (1, "Simpang", [])
    assert cameras.rows(entries) == [(["function_unknown"], "fixed_at_source")]
    assert cameras.rebuild_differences() == {}


def test_an_exact_copy_is_excluded_and_two_rows_with_one_key_are_both_rejected(cameras):
    cameras.hold(monitor(1), monitor(1), monitor(2), monitor(2, name="Lain"), monitor(3))
    account = cameras.sync()
    assert counts(account) == {"extracted": 5, "inserted": 2, "quarantined": 2, "excluded": 1}
    assert account.excluded_reasons == {"exact_duplicate": 1}
    assert [number for number, _, _ in cameras.core()] == [1, 3]


def test_a_row_without_its_key_is_quarantined(cameras):
    cameras.hold(monitor(None), monitor(2))
    assert counts(cameras.sync()) == {"extracted": 2, "inserted": 1, "quarantined": 1}
    assert cameras.rows("SELECT rules FROM lake.quarantine.row") == [(["key_missing"],)]


def test_a_warning_loads_and_flags(cameras):
    cameras.hold(monitor(1, owner="pemilik_x"), monitor(2))
    assert counts(cameras.sync()) == {"extracted": 2, "inserted": 2, "flagged": 1}
    assert cameras.core() == [(1, "Simpang", ["owner_unknown"]), (2, "Simpang", [])]


def test_a_night_of_zero_rows_is_a_recorded_success(cameras):
    account = cameras.sync()
    assert (account.outcome, counts(account)) == ("loaded", {})
    assert cameras.rows("SELECT outcome, extracted FROM lake.ops.ledger") == [("loaded", 0)]


def test_quarantine_keeps_the_row_as_sent(cameras):
    cameras.hold(monitor(7, function="Rusak"))
    cameras.sync()
    ((sent,),) = cameras.rows("SELECT row_as_sent FROM lake.quarantine.row")
    assert '"camera_number":"7"' in sent
    assert '"function":"Rusak"' in sent


def test_an_attempt_that_cannot_be_recorded_ends_with_what_stopped_it(cameras, monkeypatch):
    def full(*_):
        raise duckdb.IOException("no space")

    monkeypatch.setattr(way, "record_failure", full)
    cameras.database.unlink()
    with pytest.raises(SourceUnavailable):
        cameras.sync()
    assert "failure_not_recorded" in (cameras.settings.home / "logs" / "muara.log").read_text()

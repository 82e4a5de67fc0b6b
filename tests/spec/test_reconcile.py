"""Source and warehouse compared: what differs is named, and why where it is known."""

import sqlite3

import pytest

from common.errors import Unreconciled
from pipeline.reconcile import reconcile, require_explained
from tests.world import Cameras, monitor
from warehouse.catalog import attach, open_duckdb, writer_lock


@pytest.fixture(params=["snapshot", "checksum"])
def cameras(request, tmp_path):
    """400 cameras, loaded."""
    cameras = Cameras(tmp_path, strategy=request.param)
    cameras.hold(*many())
    cameras.sync()
    return cameras


def many(start=1, end=401):
    return [monitor(number, name=f"Kamera {number}") for number in range(start, end)]


def compared(cameras):
    return reconcile(cameras.settings, cameras.source, cameras.stream, cameras.url)


def at_source(cameras, statement):
    with sqlite3.connect(cameras.database) as connection:
        assert connection.execute(statement).rowcount > 0


def on_our_side(cameras, statement):
    with writer_lock(cameras.settings):
        connection = open_duckdb(cameras.settings)
        attach(connection, cameras.settings)
        assert connection.execute(statement).fetchall()[0][0] > 0
        connection.close()


def named(report):
    return [(one.key, one.kind, one.reason) for one in report.differences]


def test_what_is_equal_differs_in_nothing_and_no_row_is_pulled(cameras):
    report = compared(cameras)
    outcome = report.outcome
    assert (outcome.source_rows, outcome.landed_rows, outcome.rows_pulled) == (400, 400, 0)
    assert (outcome.method, outcome.explained, outcome.unexplained) == ("sums", {}, 0)
    assert report.differences == []
    require_explained([outcome])


def test_what_changed_since_the_batch_is_explained_and_little_is_pulled(cameras):
    at_source(cameras, "UPDATE Monitors SET Name = 'lain' WHERE Id = 7")
    at_source(cameras, "DELETE FROM Monitors WHERE Id = 9")
    cameras.source  # the definition stays
    with sqlite3.connect(cameras.database) as connection:
        connection.execute(f"INSERT INTO Monitors VALUES ({', '.join('?' * 10)})", monitor(999))
    report = compared(cameras)
    assert report.outcome.explained == {"changed_since": 1, "new_since": 1, "deleted_since": 1}
    assert report.outcome.unexplained == 0
    assert report.outcome.rows_pulled < 200
    assert sorted(named(report)) == [
        ("7", "changed", "changed_since"), ("9", "extra", "deleted_since"),
        ("999", "missing", "new_since"),
    ]  # fmt: skip
    cameras.sync()
    assert named(compared(cameras)) == []


def test_a_landed_value_that_changed_is_an_alarm(cameras):
    on_our_side(
        cameras,
        "UPDATE lake.landing.cctv__monitor SET camera_name = 'lain' WHERE camera_number = '7'",
    )
    report = compared(cameras)
    assert named(report) == [("7", "changed", "altered_here")]
    assert report.outcome.unexplained_kinds == {"altered_here": 1}
    with pytest.raises(Unreconciled, match=r"cctv.monitor: 1 altered_here\. Next: .*backup"):
        require_explained([report.outcome])
    cameras.sync()
    assert named(compared(cameras)) == [("7", "changed", "altered_here")], "no batch mends it"

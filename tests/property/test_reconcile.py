"""Whatever differs, on either side, is found by a reconciliation, and nothing else is."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.readers import Pull
from pipeline.reconcile import reconcile
from tests.tables import rows_of
from tests.world import Cameras, monitor
from warehouse.catalog import writing

NUMBERS = st.integers(1, 60)
NAMES = st.sampled_from(["Simpang", "simpang", " ", "", "é😀", "a|b", "'", None])
AT_SOURCE = st.one_of(
    st.tuples(st.just("name"), NUMBERS, NAMES),
    st.tuples(st.just("break"), NUMBERS, st.just("Rusak")),
    st.tuples(st.just("delete"), NUMBERS, st.none()),
    st.tuples(st.just("insert"), st.integers(50, 90), NAMES),
    st.tuples(st.just("twice"), NUMBERS, st.none()),
)
ON_OUR_SIDE = st.one_of(
    st.tuples(st.just("name"), NUMBERS, NAMES),
    st.tuples(st.just("delete"), NUMBERS, st.none()),
)
STATEMENTS = {
    "name": "UPDATE Monitors SET Name = ?2 WHERE Id = ?1",
    "break": "UPDATE Monitors SET Function = ?2 WHERE Id = ?1",
    "delete": "DELETE FROM Monitors WHERE Id = ?1 AND ?2 IS NULL",
    "twice": "INSERT INTO Monitors SELECT * FROM Monitors WHERE Id = ?1 AND ?2 IS NULL",
}


@pytest.fixture(scope="module", params=["snapshot", "checksum"])
def loaded(request, tmp_path_factory):
    """60 cameras over two nights: some are in quarantine, some on hold, one is there twice."""
    cameras = Cameras(tmp_path_factory.mktemp(request.param), strategy=request.param)
    rows = [monitor(number, name=f"Kamera {number}") for number in range(1, 61)]
    rows[3] = monitor(4, function="Rusak")
    cameras.hold(*rows, rows[8])
    cameras.sync()
    rows[5] = monitor(6, function="Rusak")
    cameras.hold(*rows, rows[8])
    cameras.next_night()
    cameras.sync()
    return cameras


def copied(loaded: Cameras, folder: Path) -> Cameras:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(loaded.database.parent, folder)
    cameras = Cameras.__new__(Cameras)
    cameras.__dict__ |= loaded.__dict__
    cameras.database = folder / loaded.database.name
    cameras.settings = loaded.settings.model_copy(update={"home": folder / "var"})
    return cameras


def change_source(cameras: Cameras, changes: list) -> None:
    with sqlite3.connect(cameras.database) as connection:
        for what, number, value in changes:
            if what == "insert":
                row = monitor(number, name=value)
                connection.execute(f"INSERT INTO Monitors VALUES ({', '.join('?' * 10)})", row)
            else:
                connection.execute(STATEMENTS[what], (number, value))


def change_ours(cameras: Cameras, changes: list) -> None:
    table = "lake.landing.cctv__monitor"
    with writing(cameras.settings) as connection:
        for what, number, value in changes:
            if what == "name":
                connection.execute(
                    f"UPDATE {table} SET camera_name = ? WHERE camera_number = ?",
                    [value, str(number)],
                )
            else:
                connection.execute(f"DELETE FROM {table} WHERE camera_number = ?", [str(number)])


def oracle(cameras: Cameras) -> set[str]:
    """Numbers of the cameras whose rows are not the same on both sides, row by row in Python."""
    whole = cameras.stream.model_copy(update={"strategy": "snapshot"})
    theirs = set(rows_of(Pull(cameras.source, whole, cameras.url(""), cameras.settings)))
    names = ", ".join(cameras.stream.names)
    newest = {
        record: (op, tuple(values))
        for record, op, *values in cameras.rows(
            f"SELECT _record_id, _op, {names} FROM lake.landing.cctv__monitor ORDER BY _batch_id"
        )
    }
    ours = {values for op, values in newest.values() if op in ("insert", "update")}
    ours |= {
        tuple(json.loads(sent)[name] for name in cameras.stream.names)
        for (sent,) in cameras.rows(
            "SELECT row_as_sent FROM lake.quarantine.row WHERE state = 'open'"
        )
    }
    place = cameras.stream.names.index("camera_number")
    return {row[place] for row in theirs ^ ours}


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(AT_SOURCE, max_size=6), st.lists(ON_OUR_SIDE, max_size=3))
def test_what_differs_is_found_and_nothing_is_invented(loaded, tmp_path, at_source, on_our_side):
    cameras = copied(loaded, tmp_path / "world")
    change_source(cameras, at_source)
    change_ours(cameras, on_our_side)
    report = reconcile(cameras.settings, cameras.source, cameras.stream, cameras.url)
    assert {one.key for one in report.differences} == oracle(cameras)
    outcome = report.outcome
    named = sum(not one.is_explained for one in report.differences)
    assert outcome.unexplained == named, "and the counts add up"
    if not on_our_side:
        assert outcome.unexplained == 0
    if cameras.stream.strategy == "snapshot":
        # A row that is gone here is brought by the next batch; one that was altered is not.
        assert set(outcome.unexplained_kinds) <= {"altered_here"}

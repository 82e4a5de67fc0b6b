"""Source and warehouse compared: what differs is named, and why where it is known."""

import sqlite3
from datetime import datetime, timedelta

import pytest

from common.definition import Window
from common.errors import SourceResting, Unreconciled
from pipeline.reconcile import reconcile, require_explained
from pipeline.sync import sync
from tests.world import Cameras, monitor
from warehouse.catalog import writing


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
    with writing(cameras.settings) as connection:
        assert connection.execute(statement).fetchall()[0][0] > 0


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
    at_source(cameras, f"INSERT INTO Monitors VALUES {monitor(999)}")
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
    with pytest.raises(Unreconciled, match=r"monitor: 1 altered_here\. Next: .*backup"):
        require_explained([report.outcome])
    cameras.sync()
    assert named(compared(cameras)) == [("7", "changed", "altered_here")], "no batch mends it"


def test_quarantine_holds_and_duplicates_are_explained(cameras):
    cameras.hold(monitor(1, function="Rusak"), monitor(2, function="Rusak"), *many(3), monitor(401),
                 *many(400, 401))  # fmt: skip
    cameras.sync()
    at_source(cameras, "DELETE FROM Monitors WHERE Id = 2")
    report = compared(cameras)
    outcome = report.outcome
    assert (outcome.source_rows, outcome.landed_rows) == (401, 399)
    assert (outcome.quarantined_rows, outcome.held_records) == (2, 2)
    assert outcome.explained == {"in_quarantine": 1, "exact_duplicate": 1, "deleted_since": 1}
    assert outcome.unexplained == 0
    assert named(report) == [("2", "extra", "deleted_since")]
    assert report.rules == {"function_unknown": 2}


def test_a_row_altered_in_quarantine_is_an_alarm(cameras):
    cameras.hold(monitor(1, function="Rusak"), *many(2))
    cameras.sync()
    on_our_side(
        cameras,
        "UPDATE lake.quarantine.row SET row_as_sent = replace(row_as_sent, 'Simpang', 'Simpul')",
    )
    assert named(compared(cameras)) == [("1", "changed", "altered_here")]


def test_what_a_definition_gained_since_is_no_alarm(cameras):
    on_our_side(cameras, "UPDATE lake.landing.cctv__monitor SET owner_agency_code = NULL")
    on_our_side(cameras, "UPDATE lake.ops.ledger SET definition_hash = 'another'")
    assert compared(cameras).outcome.explained == {"definition_changed": 400}


def test_the_outcome_is_recorded_and_holds_no_value(cameras):
    at_source(cameras, "UPDATE Monitors SET Name = 'canary' WHERE Id = 7")
    outcome = compared(cameras).outcome
    stored = cameras.rows(
        "SELECT source_rows, landed_rows, rows_pulled, explained, unexplained "
        "FROM lake.ops.reconciliation"
    )
    assert stored == [(400, 400, outcome.rows_pulled, {"changed_since": 1}, 0)]
    assert "canary" not in (cameras.settings.home / "logs" / "muara.log").read_text()


def test_outside_the_owners_hours_the_source_is_not_touched(cameras):
    now = datetime.now(cameras.settings.zone)
    before = {"from": (now - timedelta(hours=3)).time(), "to": (now - timedelta(hours=2)).time()}
    cameras.source = cameras.source.model_copy(update={"window": Window.model_validate(before)})
    cameras.database.unlink()
    with pytest.raises(SourceResting):
        compared(cameras)


class Notices:
    """A hospital's drop folder, and a warehouse beside it."""

    HEAD = ("no_surat;tgl_surat;nama_ibu;nik_ibu;umur_ibu;nama_ayah;jk_bayi;tgl_lahir;jam_lahir;"
            "berat_kg;panjang_cm;jenis_lahir;penolong;alamat")  # fmt: skip

    def __init__(self, folder):
        self.cameras = Cameras(folder)
        self.source = self.cameras.sources["brojol"]
        self.stream = self.source.stream("birth_notice")
        self.folder = folder / "drops" / "rs1"
        self.folder.mkdir(parents=True)

    def drop(self, name, **mothers):
        """A file with one notice per mother."""
        lines = [
            f"{number};20/11/2026;{mother};3274014107909002;36;BUDI;P;18/11/2026;07.05;3,15;49,5;"
            "1;BIDAN;Jl. Kartini 5"
            for number, mother in mothers.items()
        ]
        path = self.folder / f"kelahiran_{name}.csv"
        path.write_text("\n".join([self.HEAD, *lines, ""]), encoding="cp1252")
        return path

    def sync(self):
        sync(self.cameras.settings, self.source, self.stream, self.url)

    def url(self, _):
        return f"file://{self.folder.parent}"

    def found(self):
        outcome = reconcile(self.cameras.settings, self.source, self.stream, self.url).outcome
        return outcome.explained, outcome.unexplained_kinds


def test_files_are_read_again(tmp_path):
    notices = Notices(tmp_path)
    first = notices.drop("1", A1="SITI", A2="AMINAH", A3="RENÉE")
    notices.sync()
    assert notices.found() == ({}, {})
    second = notices.drop("2", A2="AMINAH NUR", A3="RENÉE", B1="DEWI")
    assert notices.found() == ({"exact_duplicate": 1, "changed_since": 1, "new_since": 1}, {})
    notices.sync()
    assert notices.found() == ({"exact_duplicate": 1, "superseded": 1}, {})
    second.unlink()
    assert notices.found() == ({"file_gone": 2, "superseded": 1}, {})
    first.write_bytes(first.read_bytes()[:-1])
    assert notices.found() == ({"file_gone": 2, "file_unreadable": 2}, {})
    notices.drop("1", A1="SITI", A2="AMINAH", A3="RENÉE")
    on_our_side(
        notices.cameras,
        "UPDATE lake.landing.brojol__birth_notice SET mother_name = 'X' WHERE notice_number = 'A1'",
    )
    assert notices.found() == ({"file_gone": 2, "superseded": 1}, {"altered_here": 1})

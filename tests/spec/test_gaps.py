"""What did not arrive is named, and a repair brings it in; a cursor misses nothing."""

import json

import pytest

from common.errors import SourceMalformed, SourceUnavailable
from connectors.readers import sql
from tests.archive import Archive, at, command_line
from tests.world import counts


@pytest.fixture
def archive(tmp_path):
    """Letters of two days are loaded; nothing else is missing of them."""
    return Archive(tmp_path).with_two_letters()


@pytest.fixture
def muara(archive, monkeypatch, capsys):
    return command_line(archive, monkeypatch, capsys)


def breaks_off(rows):
    raise SourceUnavailable("broke off", where="archive.letter", next_step="wait.")


def test_no_gaps_after_good_nights_also_without_a_row(archive):
    archive.next_night()
    assert counts(archive.sync()) == {}
    assert archive.rows(
        "SELECT outcome, extracted FROM lake.ops.ledger ORDER BY batch_id DESC LIMIT 1"
    ) == [("loaded", 0)]
    assert archive.gaps() == []


def test_a_stream_that_was_never_tried(tmp_path):
    archive = Archive(tmp_path)
    assert archive.gaps() == [("night", "never loaded")]
    assert [gap.stream for gap in archive.repair().closed] == ["letter"]
    assert archive.gaps() == []


def test_failed_nights_are_one_gap_until_repaired(archive, muara):
    with archive.away():
        for _ in range(2):
            archive.next_night()
            with pytest.raises(SourceUnavailable):
                archive.sync()
        why = ("night", "last loaded for 2026-11-20; 2 attempts since 2026-11-21: "
               "SourceUnavailable, the database file is not there")  # fmt: skip
        assert archive.gaps() == [why]
        code, told = muara("repair", "archive", "letter")
        assert code == SourceUnavailable.exit_code
        assert "0 closed, 1 remain" in told
    archive.write((3, "2026-11-20 10:00:00"))
    assert muara("gaps", "archive")[0] == 1
    code, told = muara("repair")
    assert "2 closed, 0 remain" in told  # the scans too, which were never read
    assert (code, archive.letters(), archive.gaps()) == (0, [1, 2, 3], [])
    assert muara("gaps") == (0, "no gaps\n")
    before = archive.rows("SELECT count(*) FROM lake.ops.ledger")
    assert "0 closed, 0 remain" in muara("repair")[1]
    assert archive.rows("SELECT count(*) FROM lake.ops.ledger") == before, "nothing was touched"


def test_what_to_do_is_said(archive, muara):
    archive.next_night()
    with archive.away(), pytest.raises(SourceUnavailable):
        archive.sync()
    gap, scans = json.loads(muara("gaps", "--json")[1])
    assert scans["what"] == "never loaded"
    assert (gap["since"], gap["attempts"], gap["error"]) == ("2026-11-21", 1, "SourceUnavailable")
    assert gap["next_step"] == (
        "check the path of connection archive, then `muara repair archive letter`"
    )


def test_a_night_that_broke_off_names_its_stretch(archive, monkeypatch):
    archive.next_night()
    archive.write((3, "2026-11-20 10:00:00"))
    with monkeypatch.context() as patched:
        patched.setattr(sql, "_sent", breaks_off)
        with pytest.raises(SourceUnavailable):
            archive.sync()
    assert [kind for kind, _ in archive.gaps()] == ["night", "stretch"]
    assert archive.gaps()[1][1] == "2026-11-19 23:00:00 to 2026-11-21 00:00:00 is not covered"
    archive.next_night()
    archive.sync()
    assert (archive.letters(), archive.gaps()) == ([1, 2, 3], [])


def test_a_hole_between_stretches_and_what_came_late_beside_it(archive):
    archive.next_night(3)
    archive.write((3, "2026-11-21 10:00:00"), (4, "2026-11-22 10:00:00"))
    assert counts(archive.sync("2026-11-22", "2026-11-23")) == {"extracted": 1, "inserted": 1}
    archive.write((5, "2026-11-19 23:30:00"))  # committed after its night had been read
    assert archive.gaps() == [
        ("stretch", "2026-11-20 00:00:00 to 2026-11-22 00:00:00 is not covered")
    ]
    repaired = archive.repair()
    assert ([gap.high for gap in repaired.closed], repaired.remaining) == ([at("2026-11-22")], [])
    assert archive.letters() == [1, 2, 3, 4, 5]


def test_a_stretch_that_merely_adjoins_does_not_end_the_overlap(archive):
    archive.write((3, "2026-11-19 23:30:00"))  # committed late
    archive.next_night()
    archive.sync("2026-11-20", "2026-11-21")
    assert archive.gaps() == []
    archive.next_night()
    archive.sync()
    assert archive.letters() == [1, 2, 3]


def test_a_stretch_ahead_of_the_clock_covers_nothing(archive):
    archive.write((3, "2026-11-20 12:00:00"))
    assert counts(archive.sync("2026-11-19", "2027-01-01")) == {"extracted": 1, "unchanged": 1}
    assert counts(archive.sync("2026-12-01", "2027-01-01")) == {}
    archive.write((4, "2026-11-20 11:00:00"))
    archive.next_night()
    archive.sync()
    assert archive.letters() == [1, 2, 3, 4]


def test_late_rows_inside_the_overlap_are_read_and_older_ones_are_not(archive):
    archive.write((3, "2026-11-19 23:00:00"), (4, "2026-11-19 22:59:59"))
    archive.next_night()
    assert counts(archive.sync()) == {"extracted": 1, "inserted": 1}
    assert archive.letters() == [1, 2, 3]
    archive.sync("2026-11-19", "2026-11-20")
    assert archive.letters() == [1, 2, 3, 4], "a backfill brings them in"


def test_a_wider_overlap_reads_again_what_was_read_with_a_narrower(archive):
    archive.next_night()
    archive.sync()
    archive.write((3, "2026-11-19 22:00:00"))
    letter = archive.source.stream("letter")
    wider = letter.cursor.model_copy(update={"overlap_minutes": 180})
    letter = letter.model_copy(update={"cursor": wider})
    archive.source = archive.source.model_copy(update={"streams": (letter,)})
    archive.next_night()
    archive.sync()
    assert archive.letters() == [1, 2, 3]


def test_rows_of_the_future_are_read_every_night_until_they_have_passed(archive):
    archive.write((3, "2027-01-01 00:00:00"))
    archive.next_night()
    assert counts(archive.sync()) == {"extracted": 1, "inserted": 1}
    archive.write((3, "2027-01-01 00:00:00"), subject="Edaran")
    archive.write((4, "2026-11-21 10:00:00"))
    archive.next_night()
    assert counts(archive.sync()) == {"extracted": 2, "inserted": 1, "updated": 1}
    assert archive.gaps() == []


def test_rows_without_a_value_are_read_every_night_and_by_no_stretch(archive):
    archive.write((3, None))
    archive.next_night()
    assert counts(archive.sync("2026-11-01", "2026-11-21")) == {"extracted": 2, "unchanged": 2}
    assert counts(archive.sync()) == {"extracted": 1, "inserted": 1}
    archive.write((3, None), subject="Edaran")
    archive.next_night()
    assert counts(archive.sync()) == {"extracted": 1, "updated": 1}


def test_a_refused_file_is_a_gap_until_it_comes_again(archive):
    (archive.drops / "a.csv").write_text("id\n1\n")
    (archive.drops / "b.csv").write_text("id\n2")
    for _ in range(2):
        archive.next_night()
        with pytest.raises(SourceMalformed):
            archive.sync(stream="scan")
    told = "file b.csv: half-written: the last line has no end; 2 attempts since 2026-11-21"
    assert archive.gaps("scan") == [("file", told)]
    repaired = archive.repair("scan")
    assert len(repaired.remaining) == 1
    assert isinstance(repaired.failure, SourceMalformed)
    (archive.drops / "b.csv").write_text("id\n2\n")
    repaired = archive.repair("scan")
    assert ([gap.origin for gap in repaired.closed], repaired.remaining) == (["b.csv"], [])
    assert archive.rows("SELECT count(*) FROM lake.landing.archive__scan_now") == [(2,)]

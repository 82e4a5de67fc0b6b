"""A stretch of the past, read again step by step: resumable, idempotent, its price known before."""

import json

import pytest

from common.errors import DefinitionError, SourceUnavailable
from pipeline import backfill as backfills
from tests.archive import Archive, command_line

WHOLE = ("backfill", "archive", "letter", "--from", "2026-11-16", "--to", "2026-11-20")


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path).with_two_letters()


@pytest.fixture
def muara(archive, monkeypatch, capsys):
    return command_line(archive, monkeypatch, capsys)


def stretches(archive):
    """Begin, outcome and rows of every step, in the order in which they were read."""
    return archive.rows(
        "SELECT strftime(low_at, '%d %H'), outcome, extracted FROM "
        "(SELECT low_at, batch_id FROM lake.ops.interval WHERE low_at IS NOT NULL) "
        "JOIN lake.ops.ledger USING (batch_id) ORDER BY batch_id"
    )


def test_every_step_is_a_batch_and_is_read_once(archive, muara):
    archive.write((1, "2026-11-18 10:00:00"), subject="Edaran")  # the stamp stayed
    code, told = muara(*WHOLE, "--step", "2d")
    assert (code, told) == (0, "2 of 2 steps loaded, 2 rows read\n")
    assert stretches(archive) == [("16 00", "loaded", 0), ("18 00", "loaded", 2)]
    assert archive.rows("SELECT subject FROM lake.landing.archive__letter_now") == [
        ("Undangan",), ("Edaran",),
    ]  # fmt: skip
    told = muara(*WHOLE, "--step", "2d")[1]
    assert told == "0 of 0 steps loaded, 0 rows read; 2 loaded before (--again reads them too)\n"
    assert "2 of 2 steps loaded" in muara(*WHOLE, "--step", "2d", "--again")[1]
    assert archive.rows("SELECT sum(unchanged) FROM lake.ops.ledger") == [(3,)]


def test_the_last_step_ends_where_it_was_told_to(archive, muara):
    muara(*WHOLE[:5], "--to", "2026-11-17T06:00", "--step", "12h")
    assert archive.rows(
        "SELECT strftime(high_at, '%d %H') FROM lake.ops.interval WHERE low_at IS NOT NULL "
        "ORDER BY batch_id"
    ) == [("16 12",), ("17 00",), ("17 06",)]


def test_after_a_failure_it_goes_on_where_it_stopped(archive, muara, monkeypatch):
    sync, broken_days = backfills.sync, {18}

    def breaks(*arguments, interval):
        if interval.low.day not in broken_days:
            return sync(*arguments, interval=interval)
        with archive.away():
            return sync(*arguments, interval=interval)

    monkeypatch.setattr(backfills, "sync", breaks)
    code, told = muara(*WHOLE)
    assert code == SourceUnavailable.exit_code
    assert "2 of 4 steps loaded, 0 rows read" in told
    hole = ("stretch", "2026-11-18 00:00:00 to 2026-11-19 00:00:00 is not covered")
    assert hole in archive.gaps()
    broken_days.clear()
    told = muara(*WHOLE)[1]
    assert "2 of 2 steps loaded, 2 rows read; 2 loaded before" in told
    assert stretches(archive) == [
        ("16 00", "loaded", 0), ("17 00", "loaded", 0), ("18 00", "failed", 0),
        ("18 00", "loaded", 1), ("19 00", "loaded", 1),
    ]  # fmt: skip
    assert archive.gaps() == []


def test_a_repair_reads_the_failed_stretch_alone(archive):
    with archive.away(), pytest.raises(SourceUnavailable):
        archive.sync("2026-11-18", "2026-11-19")
    assert [kind for kind, _ in archive.gaps()] == ["night", "stretch"]
    repaired = archive.repair()
    assert (len(repaired.closed), repaired.remaining) == (2, [])
    assert stretches(archive) == [("18 00", "failed", 0), ("18 00", "loaded", 1)]


def test_a_dry_run_counts_and_writes_nothing(archive, muara):
    archive.write(*((number, f"2026-11-17 {number}:00:00") for number in range(10, 20)))
    before = archive.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    steps = json.loads(muara(*WHOLE, "--dry-run", "--json")[1])
    assert [step["rows"] for step in steps] == [0, 10, 1, 1]
    ((per_row,),) = archive.rows(
        "SELECT epoch(committed_at - started_at) / 2 FROM lake.ops.ledger WHERE extracted = 2"
    )
    assert steps[1]["seconds"] == pytest.approx(10 * per_row)
    code, told = muara(*WHOLE, "--dry-run")
    assert code == 0
    assert f"4 steps, 12 rows, {12 * per_row:,.1f} seconds; nothing was read" in told
    assert archive.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')") == before


def test_a_stream_without_history_has_no_price_yet(tmp_path, monkeypatch, capsys):
    archive = Archive(tmp_path)
    archive.write((1, "2026-11-18 10:00:00"))
    told = command_line(archive, monkeypatch, capsys)(*WHOLE, "--dry-run")[1]
    assert "4 steps, 1 rows, unknown seconds" in told


def test_only_a_cursor_has_a_past(archive, muara):
    code, told = muara("backfill", "archive", "scan", *WHOLE[3:])
    assert code == DefinitionError.exit_code
    told = " ".join(told.split())
    assert "archive.scan: strategy `files` can only be read as it is now" in told
    assert "Next: `muara sync archive scan`" in told


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("--from", "2026-11-20", "--to", "2026-11-20"), "is no stretch of the past"),
        (("--from", "2026-11-19", "--to", "2026-11-22"), "is no stretch of the past"),
        ((*WHOLE[3:], "--step", "0d"), "0d is no length of a step"),
        ((*WHOLE[3:], "--step", "a week"), "a week is no length of a step"),
    ],
)
def test_what_is_no_stretch_is_refused(archive, muara, wrong, why):
    code, told = muara("backfill", "archive", "letter", *wrong)
    assert code == DefinitionError.exit_code
    assert why in " ".join(told.split())

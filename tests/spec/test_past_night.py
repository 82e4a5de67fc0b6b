"""A clock that was set back writes nothing, and no version ends before it begins."""

import os
from dataclasses import replace
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from common.errors import NightInPast, WarehouseFault
from muara.cli import app
from pipeline import leave
from pipeline.link import link
from pipeline.reconcile import reconcile
from pipeline.replay import replay
from pipeline.sync import prepare
from tests.same import content_hashes
from tests.world import NIGHT, Cameras, monitor
from warehouse import quarantine
from warehouse.catalog import data_folder, tidy, writing
from warehouse.mark import read_mark, write_mark


@pytest.fixture
def cameras(tmp_path):
    made = Cameras(tmp_path, impact_assessment="test")
    made.hold(monitor(1), monitor(2))
    made.sync()
    made.next_night()
    made.hold(monitor(1, name="Lain"), monitor(2))
    made.sync()
    return made


def newest(cameras):
    return cameras.rows("SELECT max(snapshot_id) FROM lake.snapshots()")


def inverted(cameras):
    return cameras.rows("SELECT count(*) FROM lake.core.camera WHERE valid_to < valid_from")[0][0]


def test_every_writer_of_history_refuses_an_earlier_night_before_it_writes(cameras):
    settings = cameras.settings
    settings.today = NIGHT - timedelta(days=3)
    cameras.hold(monitor(1, name="Mundur"), monitor(2))
    before, state = content_hashes(settings), newest(cameras)
    entry = "00000000-0000-0000-0000-000000000000"
    for act in (
        lambda: prepare(settings, cameras.sources),
        cameras.sync,
        lambda: replay(settings, cameras.source, cameras.stream),
        lambda: link(settings),
        lambda: reconcile(settings, cameras.source, cameras.stream, cameras.url),
        lambda: leave.publish(settings),
        lambda: leave.deliver(settings),
        lambda: leave.return_rejections(settings),
        lambda: quarantine.undo_waiver(settings, entry, night=settings.today),
    ):
        with pytest.raises(NightInPast, match="2026-11-24 was worked on already"):
            act()
    assert newest(cameras) == state
    assert content_hashes(settings) == before
    assert not (settings.home / "extracts").exists()
    settings.today = NIGHT + timedelta(days=1)
    assert cameras.sync().updated == 1


def test_upkeep_in_a_wrong_night_makes_no_night(cameras):
    """A service that starts while the clock is years ahead does not make every true night past."""
    cameras.settings.today = date(2050, 1, 1)
    prepare(cameras.settings, cameras.sources)
    assert read_mark(data_folder(cameras.settings)).night == NIGHT + timedelta(days=1)


def test_a_machines_clock_that_leapt_ahead_is_not_believed(cameras):
    """It would forget originals, and make every true night a past one."""
    settings = cameras.settings
    mark = read_mark(data_folder(settings))
    write_mark(data_folder(settings), replace(mark, night=date(2019, 1, 1)))
    original = settings.home / "originals" / "x" / "ab" / "abc"
    original.parent.mkdir(parents=True)
    original.touch()
    os.utime(original, (0, 0))
    settings.today = None
    for act in (lambda: prepare(settings, cameras.sources), cameras.sync):
        with pytest.raises(WarehouseFault, match="days after the newest night"):
            act()
    assert original.exists()
    settings.today = date.today()
    cameras.sync()


def test_a_past_night_is_written_when_it_is_asked_for_and_the_stream_has_no_later_one(cameras):
    settings = cameras.settings
    with writing(settings) as connection:  # another source has worked on a later night
        connection.execute("UPDATE lake.ops.ledger SET stream = 'other' WHERE batch_id = 2")
        connection.execute("DELETE FROM lake.core.camera WHERE batch_id = 2")
        connection.execute("UPDATE lake.core.camera SET valid_to = NULL, closed_batch_id = NULL, "
                           "closed_reason = NULL")  # fmt: skip
    settings.today, settings.replay_night = None, NIGHT
    assert cameras.sync().night == NIGHT
    assert inverted(cameras) == 0
    assert read_mark(data_folder(settings)).night == NIGHT + timedelta(days=1)
    with pytest.raises(NightInPast):
        link(settings)
    settings.replay_night = None
    settings.today = NIGHT
    with pytest.raises(NightInPast):
        cameras.sync()


def test_a_replay_of_a_night_before_the_newest_of_its_stream_is_refused(cameras):
    cameras.settings.replay_night = NIGHT
    before = content_hashes(cameras.settings)
    cameras.hold(monitor(1, name="Mundur"))
    with pytest.raises(NightInPast, match="2026-11-24 has loaded"):
        cameras.sync(accept_deletions=True)
    assert content_hashes(cameras.settings) == before


def test_no_version_ends_before_it_begins_even_where_the_ledger_knows_of_no_later_night(cameras):
    settings = cameras.settings
    with writing(settings) as connection:
        connection.execute("UPDATE lake.ops.ledger SET outcome = 'failed' WHERE batch_id = 2")
    settings.replay_night = NIGHT
    cameras.hold(monitor(1, name="Mundur"), monitor(2))
    with pytest.raises(NightInPast, match="began after 2026-11-23"):
        cameras.sync()
    assert inverted(cameras) == 0


def test_the_command_line_says_so_and_has_its_own_exit_code(cameras, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    monkeypatch.setenv("MUARA_TODAY", "2020-01-01")
    for command in (["sync", "cctv"], ["publish"], ["extract"], ["rejections"]):
        told = CliRunner().invoke(app, command)
        assert isinstance(told.exception, NightInPast)
        assert told.exception.exit_code == 17


def test_a_lost_mark_is_written_again_with_the_night_of_the_ledger(cameras):
    (data_folder(cameras.settings) / "lake.json").unlink()
    tidy(cameras.settings)
    assert read_mark(data_folder(cameras.settings)).night == NIGHT + timedelta(days=1)

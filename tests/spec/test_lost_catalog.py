"""A lake whose catalog is lost, spoilt, foreign or old is never overwritten, and nothing of its
data is deleted."""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime

import pytest

from common import night as order
from common.errors import HomeFault, WarehouseFault
from common.settings import Settings
from pipeline import night
from pipeline.sync import prepare
from tests.same import content_hashes
from tests.world import NIGHT, Cameras, monitor
from warehouse import catalog, copies, steps
from warehouse.catalog import (
    catalog_file,
    data_folder,
    delete_orphans,
    lake_folder,
    set_up,
    tidy,
    writing,
)
from warehouse.damage import look
from warehouse.guest import ask
from warehouse.mark import named_key, read_mark, told_of
from warehouse.steps import Outcome

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def cameras(tmp_path):
    made = Cameras(tmp_path)
    made.hold(*(monitor(number) for number in range(40)))
    made.sync()
    return made


def data_of(settings):
    """Path → SHA-256 of every data file."""
    data = data_folder(settings)
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data.rglob("*.parquet")
    }


def long_ago(settings, days=9):
    for path in data_folder(settings).rglob("*"):
        os.utime(path, (time.time() - days * 86_400,) * 2)


def lose(settings):
    for path in lake_folder(settings).glob("catalog.sqlite*"):
        path.unlink()


def empty(settings):
    lose(settings)
    catalog_file(settings).touch()


def cut(settings):
    checkpoint(settings)
    whole = catalog_file(settings).read_bytes()
    lose(settings)
    catalog_file(settings).write_bytes(whole[: len(whole) // 2])


def garbage(settings):
    lose(settings)
    catalog_file(settings).write_bytes(b"not a catalog\n" * 1000)


def another_database(settings):
    lose(settings)
    with sqlite3.connect(catalog_file(settings)) as connection:
        connection.execute("CREATE TABLE t (i)")


def foreign(settings):
    other = Settings(home=settings.home.parent / "other", today=NIGHT)
    set_up(other, {})
    checkpoint(other)
    lose(settings)
    shutil.copy(catalog_file(other), catalog_file(settings))


def log_only(settings):
    checkpoint(settings)
    lose(settings)
    catalog_file(settings).with_name("catalog.sqlite-wal").write_bytes(b"x" * 32)


def checkpoint(settings):
    with sqlite3.connect(catalog_file(settings)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


HARMS = (lose, empty, cut, garbage, another_database, foreign, log_only)


def test_a_catalog_that_is_not_ours_stops_everything_and_put_back_gives_all(cameras):
    settings = cameras.settings
    checkpoint(settings)
    kept = catalog_file(settings).read_bytes()
    core, data = cameras.core(), data_of(settings)
    long_ago(settings)
    for harm in HARMS:
        harm(settings)
        for act in (
            lambda: prepare(settings, cameras.sources),
            lambda: tidy(settings),
            cameras.sync,
            cameras.core,
        ):
            with pytest.raises(WarehouseFault) as told:
                act()
            assert "muara catalog restore" in told.value.next_step
        assert data_of(settings) == data, harm.__name__
        lose(settings)
        catalog_file(settings).write_bytes(kept)
        assert cameras.core() == core


def test_a_catalog_of_an_earlier_night_is_refused_and_later_files_stay(cameras):
    settings = cameras.settings
    checkpoint(settings)
    old = catalog_file(settings).read_bytes()
    cameras.next_night()
    cameras.hold(*(monitor(number, name="Lain") for number in range(40)))
    cameras.sync()
    checkpoint(settings)
    new, data = catalog_file(settings).read_bytes(), data_of(settings)
    long_ago(settings)
    lose(settings)
    catalog_file(settings).write_bytes(old)
    for act in (lambda: prepare(settings, cameras.sources), cameras.sync, cameras.core):
        with pytest.raises(WarehouseFault, match="older than its data"):
            act()
    assert data_of(settings) == data
    lose(settings)
    catalog_file(settings).write_bytes(new)
    assert {name for _, name, _ in cameras.core()} == {"Lain"}


def test_a_lost_log_of_the_catalog_is_noticed(cameras):
    """Commits that were only in the -wal are gone: the catalog opens and is older than its data."""
    settings = cameras.settings
    checkpoint(settings)
    behind = catalog_file(settings).read_bytes()
    cameras.hold(*(monitor(number) for number in range(30, 60)))
    cameras.sync(accept_deletions=True)
    lose(settings)
    catalog_file(settings).write_bytes(behind)
    with pytest.raises(WarehouseFault, match="older than its data"):
        cameras.sync()


def test_a_fork_of_the_catalog_is_noticed(cameras, tmp_path):
    """As many snapshots as were committed, but not those."""
    twin = Settings(home=tmp_path / "twin", today=NIGHT)
    shutil.copytree(cameras.settings.home, twin.home)
    for settings, name in ((cameras.settings, "A"), (twin, "B")):
        cameras.hold(*(monitor(number, name=name) for number in range(40)))
        mine = cameras.settings
        cameras.settings = settings
        cameras.sync()
        cameras.settings = mine
    for settings in (cameras.settings, twin):
        checkpoint(settings)
    shutil.copy(catalog_file(twin), catalog_file(cameras.settings))
    with pytest.raises(WarehouseFault, match="another snapshot"):
        cameras.sync()


@pytest.mark.parametrize("name", ["published/current/manifest.json", "originals/x/ab/abc",
                                  "lake/data/core/camera/a.parquet", "extracts/a/b/c.csv",
                                  "lake/copies/2026-11-23.4.sqlite"])  # fmt: skip
def test_no_lake_is_made_where_there_was_one(tmp_path, name):
    settings = Settings(home=tmp_path / "var", today=NIGHT)
    trace = settings.home / name
    trace.parent.mkdir(parents=True)
    trace.write_text("x")
    with pytest.raises(WarehouseFault, match="begin anew"):
        set_up(settings, {})
    assert not catalog_file(settings).exists()


@pytest.mark.parametrize("died_at", ["name_lake", "write_mark", "os.replace"])
def test_a_lake_whose_making_was_killed_is_made(tmp_path, monkeypatch, died_at):
    settings = Settings(home=tmp_path / "var", today=NIGHT)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(f"warehouse.catalog.{died_at}", die)
        with pytest.raises(KeyboardInterrupt):
            set_up(settings, {})
    set_up(settings, {})
    assert read_mark(data_folder(settings)).snapshot > 0


def test_a_lake_of_before_there_were_marks_is_marked(cameras):
    settings, hashes = cameras.settings, content_hashes(cameras.settings)
    (data_folder(settings) / "lake.json").unlink()
    with sqlite3.connect(catalog_file(settings)) as connection:
        connection.execute("DELETE FROM ducklake_metadata WHERE key = 'muara_lake'")
    connection.close()
    prepare(settings, cameras.sources)
    assert read_mark(data_folder(settings)).lake
    assert content_hashes(settings) == hashes


def test_an_unmarked_folder_with_many_strange_files_is_not_taken(cameras):
    settings = cameras.settings
    (data_folder(settings) / "lake.json").unlink()
    for number in range(5):
        (data_folder(settings) / f"{number}.parquet").write_bytes(b"x" * 100)
    with pytest.raises(WarehouseFault, match="do not belong together"):
        prepare(settings, cameras.sources)


def test_a_mark_never_runs_ahead_and_follows_every_commit(cameras):
    def newest():
        with writing(cameras.settings) as connection:
            return connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchone()[0]

    for _ in range(2):
        cameras.next_night()
        cameras.sync()
        assert read_mark(data_folder(cameras.settings)).snapshot == newest()


def strangers(settings, count, days):
    folder = data_folder(settings) / "core" / "camera"
    for number in range(count):
        (folder / f"stranger-{number}.parquet").write_bytes(b"x")
    if days:
        long_ago(settings, days)
    return folder


def is_left(folder):
    return len(list(folder.glob("stranger-*")))


def test_orphans_go_when_they_are_old_and_few(cameras):
    for _ in range(3):
        cameras.next_night()
        cameras.sync()
    folder = strangers(cameras.settings, 1, days=0)
    tidy(cameras.settings)
    assert is_left(folder) == 1, "not older than a day"
    long_ago(cameras.settings, 2)
    tidy(cameras.settings)
    assert is_left(folder) == 0


def test_orphans_stay_when_they_are_many_in_files_or_in_bytes(cameras):
    folder = strangers(cameras.settings, 5, days=9)
    tidy(cameras.settings)
    assert is_left(folder) == 5
    with writing(cameras.settings) as connection:
        assert delete_orphans(connection, data_folder(cameras.settings), few=False) == 5
    (folder / "stranger-big.parquet").write_bytes(b"x" * 10_000_000)
    long_ago(cameras.settings)
    tidy(cameras.settings)
    assert is_left(folder) == 1


def test_nothing_is_deleted_where_a_named_file_is_damaged(cameras):
    folder = strangers(cameras.settings, 1, days=9)
    next(path for path in folder.glob("ducklake-*")).unlink()
    with pytest.raises(WarehouseFault, match=r"core\.camera.*damaged"):
        tidy(cameras.settings)
    assert is_left(folder) == 1


def test_a_clock_years_ahead_forgets_no_snapshot(cameras):
    """Two wrong nights: those of before them stay, for copies of the catalog stand on them."""
    settings = cameras.settings
    with sqlite3.connect(catalog_file(settings)) as connection:
        connection.execute("UPDATE ducklake_snapshot SET snapshot_time = '2016-01-01 00:00:00+00'")
    connection.close()
    lake = json.loads((data_folder(settings) / "lake.json").read_text())
    (data_folder(settings) / "lake.json").write_text(json.dumps({**lake, "committed": ""}))
    cameras.next_night()
    cameras.sync()
    tidy(settings)
    assert cameras.rows("SELECT count(*) FROM lake.snapshots() WHERE snapshot_time < '2017-01-01'"
                        )[0][0] > 1  # fmt: skip


def test_merged_files_are_there_for_an_hour_at_least(cameras, monkeypatch):
    """A reader may have begun with them."""
    monkeypatch.setattr(catalog, "SMALL_FILES", 2)
    for number in range(4):
        cameras.next_night()
        cameras.hold(*(monitor(one, name=f"n{number}") for one in range(40)))
        cameras.sync()
    tidy(cameras.settings)
    before = data_of(cameras.settings)
    tidy(cameras.settings)
    assert data_of(cameras.settings) == before


def test_files_that_a_copy_of_the_catalog_names_outlive_a_clean_up(cameras, monkeypatch):
    monkeypatch.setattr(catalog, "SMALL_FILES", 2)
    settings = cameras.settings
    for number in range(4):
        cameras.next_night()
        cameras.hold(*(monitor(one, name=f"n{number}") for one in range(40)))
        cameras.sync()
    copy = copies.copy_catalog(settings)
    tidy(settings)  # merges; what was merged waits for its deletion
    with sqlite3.connect(catalog_file(settings)) as connection:
        connection.execute(
            "UPDATE ducklake_files_scheduled_for_deletion "
            "SET schedule_start = datetime('now', '-3 days') || '+00'"
        )
    connection.close()
    os.utime(copy.path, (time.time() - 3 * 86_400 - 60,) * 2)
    tidy(settings)
    assert copies.weigh(settings, copy).damaged == []
    copies.forget_copies(settings)
    assert tidy(settings) > 0


def test_another_key_than_the_lakes_is_refused_and_nothing_is_written(cameras):
    cameras.next_night()
    key = cameras.settings.home / "secrets" / "pseudonym.key"
    own, before = key.read_text(), content_hashes(cameras.settings)
    key.write_text("0123456789abcdef" * 4)
    other = Settings(home=cameras.settings.home, today=cameras.settings.today)
    with pytest.raises(HomeFault, match=r"pseudonym\.key: this is another key"):
        prepare(other, cameras.sources)
    with pytest.raises(HomeFault, match=r"pseudonym\.key: this is another key"):
        content_hashes(other)
    key.write_text(own)
    assert content_hashes(cameras.settings) == before


def test_a_lake_from_before_notes_its_key_in_the_next_night(cameras):
    with writing(cameras.settings) as connection:
        connection.execute(
            "DELETE FROM __ducklake_metadata_lake.ducklake_metadata WHERE key = 'muara_key'"
        )
        assert named_key(connection) is None
    prepare(cameras.settings, cameras.sources)
    with writing(cameras.settings) as connection:
        assert named_key(connection) == told_of(cameras.settings.pseudonym_key)


def test_a_full_disk_is_not_called_a_lost_catalog(cameras, monkeypatch):
    """SQLite makes files of its own beside a catalog to read it, and cannot on a full disk."""
    garbage(cameras.settings)
    usage = shutil.disk_usage(cameras.settings.home)
    monkeypatch.setattr(catalog.shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(HomeFault, match="the disk is full"):
        content_hashes(cameras.settings)


def test_a_question_about_a_lost_file_is_told_so_and_not_blamed(cameras):
    (path,) = (data_folder(cameras.settings) / "core" / "camera").rglob("*.parquet")
    path.unlink()
    with pytest.raises(WarehouseFault, match=r"core\.camera: the data file .* cannot be read"):
        ask(cameras.settings, "FROM lake.core.camera", 5)


def test_the_copy_of_the_night_just_ended_loses_nothing(cameras):
    """The notes of the steps after the copy are no history."""
    settings = cameras.settings
    stage = next(stage for stage in order.STAGES if stage.name == "morning")
    for step in stage.steps:
        if step.name == "copy_catalog":
            night.take(settings, stage, step, {}.__getitem__)
    steps.record(settings, Outcome(NIGHT, "morning.check", "done", None, None, NOW, NOW))
    core = cameras.core()
    lose(settings)
    assert copies.put_back(settings, copies.copies(settings)[0]).lost == 0
    assert cameras.core() == core


def test_a_damaged_copy_hides_no_good_one(cameras):
    settings = cameras.settings
    older = copies.copy_catalog(settings)
    cameras.next_night()
    cameras.hold(*(monitor(one, name="n") for one in range(40)))
    cameras.sync()
    newer = copies.copy_catalog(cameras.settings)
    for content in (b"", b"garbage" * 999, newer.path.read_bytes()[:9000]):
        newer.path.write_bytes(content)
        assert copies.weigh(settings, newer).fault
        with pytest.raises(WarehouseFault, match="of no use") as told:
            copies.put_back(settings, newer)
        assert f"muara catalog restore {older.night}" in told.value.next_step
    assert not copies.weigh(settings, older).fault


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda data: (shutil.rmtree(data), data.mkdir())])
def test_a_disk_that_is_not_mounted_is_no_lost_catalog(cameras, harm):
    settings = cameras.settings
    moved = lake_folder(settings) / "elsewhere"
    shutil.copytree(data_folder(settings), moved)
    core = cameras.core()
    harm(data_folder(settings))
    for act in (lambda: prepare(settings, cameras.sources), cameras.sync, cameras.core):
        with pytest.raises(WarehouseFault, match="empty or gone") as told:
            act()
        assert "mount" in told.value.next_step
    shutil.rmtree(data_folder(settings), ignore_errors=True)
    moved.rename(data_folder(settings))
    assert cameras.core() == core


def test_a_spoilt_file_is_named_though_a_question_stumbles_over_it_first(cameras):
    settings = cameras.settings
    file = next((data_folder(settings) / "core" / "camera").glob("ducklake-*"))
    file.write_bytes(b"x" * file.stat().st_size)
    for every in (False, True):
        named = look(settings, every=every)["contents of data files"]
        assert any(file.name in one.what for one in named)


def test_a_data_folder_of_another_lake_says_nothing_of_the_clock(cameras):
    settings = cameras.settings
    mark = json.loads((data_folder(settings) / "lake.json").read_text())
    stranger = {**mark, "lake": "0" * 32, "night": "2031-01-01"}
    (data_folder(settings) / "lake.json").write_text(json.dumps(stranger))
    with pytest.raises(WarehouseFault, match="another lake"):
        cameras.sync()

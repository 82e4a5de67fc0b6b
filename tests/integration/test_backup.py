"""Backups: taken while loads run, kept in a folder, on an SSH server or in an object store, brought
back elsewhere; and the ways in which one can be no good."""

import copy
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from common import log
from common.errors import (
    BackupFault,
    BackupPlaceUnavailable,
    DefinitionError,
    MuaraError,
    WarehouseBusy,
)
from common.night import STAGES
from common.settings import ROOT
from pipeline import night
from pipeline.backup import at, backup, backups, part_of, restore, verify
from pipeline.doctor import examine
from pipeline.drill import drill
from pipeline.steps import STEPS
from pipeline.sync import prepare, sync
from tests.same import content_hashes
from tests.world import NIGHT, Cameras, monitor
from warehouse.audit.store import open_store
from warehouse.backup import repository
from warehouse.backup.copy import CATALOG, DATA, LEFT_OUT, alone, catalogued
from warehouse.backup.keys import keys_of, read_keys, write_keys
from warehouse.catalog import lake_folder, writing


def test_a_backup_taken_while_two_syncs_run_is_one_moment_and_the_next_night_plays_on_it(
    first_night, tmp_path
):
    town = first_night.copy(tmp_path / "var")
    town.settings.backup_place = str(tmp_path / "place")
    town.tomorrow()
    with town.resolver() as resolve:
        with two_syncs(town, resolve, tmp_path / "witness"):
            backup(town.settings, resolve)
        restored = restore(town.settings, resolve, to=tmp_path / "another" / "path")
        assert restored.night == str(town.settings.today)
        copied = at(town.settings, restored.home)
        then = content_hashes(at(town.settings, tmp_path / "witness"))
        assert content_hashes(copied) == then
        assert content_hashes(town.settings) != then, "a sync wrote while the backup was made"

        assert night.run(copied, town.sources, resolve) == []


@contextmanager
def two_syncs(town, resolve, witness):
    """Both are under way when the backup begins, one of them inside its transaction, which it
    commits when the backup waits for the lake. When the backup has its copy, `witness` gets a copy
    of the lake as it is then, both go on, and every file that only the past needs is deleted."""
    begun = {name: threading.Event() for name in ("brojol", "civil_registry")}
    waiting, copied = threading.Event(), threading.Event()

    def load(name):
        for stream in town.sources[name].streams:
            sync(town.settings, town.sources[name], stream, resolve)

    def follow(stage, where):
        name = where.get("source")
        if (name, stage) == ("civil_registry", "written") and not begun[name].is_set():
            begun[name].set()
            assert waiting.wait(300)
        elif stage == "pulled" and (name == "brojol" or begun["civil_registry"].is_set()):
            begun[name].set()
            assert copied.wait(300)
        elif stage == "backup_copying":
            waiting.set()
        elif stage == "backup_copied":
            for folder in ("lake", "secrets"):
                shutil.copytree(town.home / folder, witness / folder)
            copied.set()
            for thread in loads:
                thread.join()
            forget_the_past(town.settings)

    loads = [threading.Thread(target=load, args=[name]) for name in begun]
    log.on_stage(follow)
    try:
        for thread in loads:
            thread.start()
        for event in begun.values():
            assert event.wait(300)
        yield
    finally:
        log.forget_stage(follow)


def forget_the_past(settings):
    with writing(settings) as connection:
        for call in (
            "ducklake_expire_snapshots('lake', older_than => now())",
            "ducklake_cleanup_old_files('lake', cleanup_all => true)",
            "ducklake_delete_orphaned_files('lake', cleanup_all => true)",
        ):
            connection.execute(f"CALL {call}")


def test_all_but_what_is_declared_comes_back_readable_by_its_owner_only(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    town.settings.backup_place = str(tmp_path / "place")
    open_store(town.settings).dispose()
    (town.home / "a_folder_of_tomorrow").mkdir()
    (town.home / "a_folder_of_tomorrow" / "note").write_text("kept")
    backup(town.settings, no_connection)
    first = size(tmp_path / "place")
    backup(town.settings, no_connection)
    added = size(tmp_path / "place") - first
    assert 0 < added < 0.02 * first, "what did not change is not stored again"

    other = tmp_path / "other"
    restore(town.settings, no_connection, to=other)
    wanted = {
        path.relative_to(town.home)
        for path in town.home.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }
    wanted = {
        path
        for path in wanted
        if not any(path.is_relative_to(folder) for folder in LEFT_OUT if folder != "secrets")
    }
    wanted = {path for path in wanted if not path.is_relative_to(DATA) or path.suffix == ".json"}
    wanted |= {Path(path) for path in catalogued(town.home / CATALOG)}
    come = {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    assert come == wanted
    assert {path.parts[0] for path in come} >= {"lake", "originals", "extracts", "portal"}
    for path in come:
        if path.suffix != ".sqlite":
            assert (other / path).read_bytes() == (town.home / path).read_bytes()
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in [other, *other.rglob("*")]}
    assert modes == {0}
    keys = [key.encode() for key in keys_of(town.home).values()]
    for path in other.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            assert not any(key in path.read_bytes() for key in keys), path
    assert not list((town.home / "backup").glob("staging"))


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def no_connection(connection_id):
    raise AssertionError("a folder needs no connection")


class World(Cameras):
    """Cameras of one night, and a place of backups."""

    def __init__(self, folder, **settings):
        super().__init__(folder, **settings)
        self.hold(*(monitor(number) for number in range(50)))
        self.sync()

    def copy(self, folder, place=""):
        """The same world in another folder."""
        other = copy.copy(self)
        other.folder, other.place, other.resolve = folder, folder / "place", no_connection
        shutil.copytree(self.settings.home, folder / "var")
        other.database = Path(shutil.copy(self.database, folder))
        other.settings = at(self.settings, folder / "var")
        other.settings.backup_place = place or str(other.place)
        log.configure(other.settings)
        return other

    def backup(self, **options):
        return backup(self.settings, self.resolve, **options)

    def restore(self, to="restored", **options):
        return restore(self.settings, self.resolve, to=self.folder / to, **options)

    @property
    def packs(self):
        return sorted((self.place / "data").glob("*/*"), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def one_night(tmp_path_factory):
    return World(tmp_path_factory.mktemp("one_night"))


@pytest.fixture(scope="module")
def one_backup(one_night, tmp_path_factory):
    world = one_night.copy(tmp_path_factory.mktemp("one_backup"))
    world.backup()
    return world


@pytest.fixture
def world(one_night, tmp_path):
    """One night, never backed up."""
    return one_night.copy(tmp_path)


@pytest.fixture
def backed_up(one_backup, tmp_path):
    """One night and its backup."""
    shutil.copytree(one_backup.place, tmp_path / "place")
    return one_backup.copy(tmp_path)


@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_at_a_server_that_is_reached_without_a_secret_on_a_command_line(
    kind, one_night, tmp_path, request, monkeypatch
):
    server = request.getfixturevalue(f"{kind}_server")
    if kind == "s3":
        server.put({})
        url = server.url(folder="cadangan")
    else:
        server.writable("cadangan")
        url = server.url().replace("/drops?", "/drops/cadangan?")
    world = one_night.copy(tmp_path, "place_of_backups")
    world.resolve = {"place_of_backups": url}.__getitem__
    lines = []
    run = subprocess.run
    monkeypatch.setattr(
        repository.subprocess, "run",
        lambda words, **how: lines.append(words) or run(words, **how),
    )  # fmt: skip
    world.backup()
    assert verify(world.settings, world.resolve) == 1
    world.restore(place="place_of_backups")
    assert content_hashes(at(world.settings, tmp_path / "restored")) == content_hashes(
        world.settings
    )
    told = json.dumps(lines)
    assert lines
    for secret in ("rahasia", *keys_of(world.settings.home).values()):
        assert secret not in told

    server.stop()
    try:
        with pytest.raises(BackupPlaceUnavailable, match="does not answer"):
            world.backup()
    finally:
        server.start()


def test_an_ssh_server_that_poses_as_the_place_is_refused(one_night, tmp_path, ssh_server):
    world = one_night.copy(tmp_path, "place_of_backups")
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7y2QWmwRLPjzDYqc8i3qGFtqgYYZXy2NJ9m3mcV9sA"
    world.resolve = {"place_of_backups": ssh_server.url(other)}.__getitem__
    with pytest.raises(BackupFault):
        world.backup()
    assert not list(ssh_server.drops.glob("keys"))


@pytest.mark.parametrize(
    "url",
    [
        "sftp://user:password@host/path?host_key=ssh-ed25519%20AAAA",
        "sftp://user@host/path?key_file=/k",
        "ftp://host/path",
        "s3+x://host/path",
    ],
)
def test_a_place_that_cannot_be_trusted_or_understood_is_refused(world, url):
    world.settings.backup_place, world.resolve = "somewhere", lambda _: url
    with pytest.raises(DefinitionError) as refused:
        world.backup()
    assert "password" not in str(refused.value).replace("not by a password", "")


def test_no_place_within_the_home(world):
    world.settings.backup_place = str(world.settings.home / "backups")
    with pytest.raises(DefinitionError, match="lies in the home"):
        world.backup()


def cut(pack):
    os.truncate(pack, pack.stat().st_size // 2)


def alter(pack):
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, alter, pytest.param(os.unlink, marks=pytest.mark.soak)])
def test_a_damaged_backup_is_found_before_it_is_needed_and_never_restored(backed_up, harm):
    world = backed_up
    harm(world.packs[-1])
    with pytest.raises(BackupFault, match="missing or damaged"):
        verify(world.settings, world.resolve)
    if harm is alter:  # is read in one night of the week
        bad = [day for day in range(7) if not part_is_good(world, day)]
        assert len(bad) == 1
        world.settings.today += timedelta(days=bad[0])
    with pytest.raises(BackupFault):
        world.backup()
    with pytest.raises(BackupFault, match="missing or damaged"):
        world.restore(night=NIGHT)
    assert not (world.folder / "restored").exists()


def part_is_good(world, day):
    key = world.settings.backup_key
    with repository.repository(world.settings, world.resolve, key) as place:
        try:
            place.check(part_of(world.settings.today + timedelta(days=day)))
        except BackupFault:
            return False
        return True


def test_a_file_of_the_lake_that_rots_does_not_replace_its_good_copy(backed_up):
    world = backed_up
    then = content_hashes(world.settings)
    file = max((lake_folder(world.settings) / "data").rglob("*.parquet"), key=os.path.getsize)
    state = file.stat()
    alter(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    world.next_night()
    world.backup()
    world.restore()
    assert content_hashes(at(world.settings, world.folder / "restored")) == then
    world.settings.backup_place = str(world.folder / "another")
    with pytest.raises(BackupFault, match="cannot be read"):
        world.backup(anew=True)
    assert backups(world.settings, world.resolve) == []


def test_a_damaged_home_is_not_backed_up(world):
    file = max((lake_folder(world.settings) / "data").rglob("*.parquet"), key=os.path.getsize)
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(BackupFault, match="1 data files that the catalog names are missing"):
        world.backup()
    file.write_bytes(content)
    store = world.settings.home / "portal" / "portal.sqlite"
    open_store(world.settings).dispose()
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE much AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
                           "SELECT i + 1 FROM n LIMIT 9999) SELECT i FROM n")  # fmt: skip
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    os.truncate(store, store.stat().st_size // 8192 * 4096)
    with pytest.raises(BackupFault, match=r"portal\.sqlite"):
        world.backup()


def test_a_wrong_key_is_refused_before_anything_is_fetched(backed_up, monkeypatch):
    world = backed_up
    file = world.folder / "keys"
    write_keys(world.settings, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    right = read_keys(file)
    assert right == keys_of(world.settings.home)
    monkeypatch.setattr(repository.Repository, "restore", None)
    for wrong, said in [
        (right | {"pseudonym.key": "0" * 64}, "wrong key: pseudonym.key"),
        ({"backup.key": right["backup.key"]}, "lacks pseudonym.key"),
        (right | {"backup.key": "0" * 64}, "made with another key"),
        ({"pseudonym.key": right["pseudonym.key"]}, "the key of the backups is not here"),
    ]:
        with pytest.raises(BackupFault, match=said) as refused:
            world.restore(keys=wrong)
        assert right["pseudonym.key"] not in str(refused.value)
        assert not (world.folder / "restored").exists()


def test_keys_are_written_once_outside_the_home_and_asked_for_until_they_are(world):
    assert said_of_backups(world) == (False, "none yet; run `muara backup`")
    world.backup()
    assert said_of_backups(world)[0] is False
    with pytest.raises(DefinitionError, match="in the home"):
        write_keys(world.settings, world.settings.home / "keys")
    file = world.folder / "keys"
    write_keys(world.settings, file)
    with pytest.raises(DefinitionError, match="such a file already"):
        write_keys(world.settings, file)
    assert said_of_backups(world) == (True, "the newest is of 2026-11-23, 0 nights old")
    world.settings.today += timedelta(days=3)
    assert said_of_backups(world) == (False, "the newest is of 2026-11-23, 3 nights old")
    (world.settings.home / "secrets" / "new.key").write_text("another")
    assert "keys" in said_of_backups(world)[1], "a key that came later is nowhere else"
    world.settings.backup_place = ""
    assert said_of_backups(world) == (True, "none configured (docs/backup.md)")
    for text in ("", "{}", '{"keys": []}', '{"keys": {"backup.key": 1}}', "[1]"):
        file.write_text(text)
        with pytest.raises(BackupFault, match="no file of keys"):
            read_keys(file)


def said_of_backups(world):
    return next((one.holds, one.detail) for one in examine(world.settings) if one.name == "backup")


def test_another_lakes_place_is_refused_by_backup_and_by_verification(backed_up, tmp_path):
    world = backed_up
    (tmp_path / "other").mkdir()
    other = world.copy(tmp_path / "other", world.settings.backup_place)
    shutil.rmtree(other.settings.home / "backup")
    key = other.settings.home / "secrets" / "backup.key"
    right = key.read_text()
    key.unlink()
    with pytest.raises(BackupFault, match="another key"):
        other.backup()
    # a home that was copied has the same keys; its lake may be another one
    key.write_text(right)
    replace_lake_id(other)
    with pytest.raises(BackupFault, match="of another lake"):
        other.backup()
    assert len(backups(world.settings, world.resolve)) == 1


def replace_lake_id(world):
    with sqlite3.connect(lake_folder(world.settings) / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE ducklake_schema SET schema_uuid = 'another' WHERE schema_id = 0")
    catalog.close()


def test_a_place_that_lost_its_backups_is_not_begun_anew_by_itself(backed_up):
    world = backed_up
    world.place.rename(world.folder / "unmounted")
    with pytest.raises(BackupFault, match="holds no backups any more"):
        world.backup()
    assert not world.place.exists()
    world.backup(anew=True)
    assert len(backups(world.settings, world.resolve)) == 1
    world.settings.backup_place = str(world.folder / "not" / "mounted")
    with pytest.raises(BackupPlaceUnavailable, match="is not there"):
        world.backup()


def test_any_kept_night_comes_back_and_never_over_a_home(world):
    seen = {}
    world.settings.backup_kept_nights, world.settings.backup_kept_weeks = 2, 0
    world.settings.backup_kept_months = 0
    for name in ("Satu", "Dua", "Tiga"):
        world.hold(*(monitor(number, name) for number in range(50)))
        world.sync()
        world.backup()
        seen[world.settings.today] = content_hashes(world.settings)
        world.next_night()
    nights = sorted(seen)
    assert [one.night for one in backups(world.settings, world.resolve)] == nights[1:]
    world.restore(night=nights[1])
    assert content_hashes(at(world.settings, world.folder / "restored")) == seen[nights[1]]
    with pytest.raises(BackupFault, match=f"no backup of {nights[0]}"):
        world.restore("first", night=nights[0])
    for folder in ("restored", "var"):
        with pytest.raises(DefinitionError, match="new or empty folder"):
            world.restore(folder)
    assert content_hashes(at(world.settings, world.folder / "restored")) == seen[nights[1]]


def test_who_was_erased_since_is_named_with_the_restored_night(backed_up):
    world = backed_up
    world.next_night()
    record = "00000000-0000-4000-8000-000000000001"
    with writing(world.settings) as connection:
        connection.execute(
            "INSERT INTO lake.ops.erasure BY NAME SELECT ? AS source_record_id, 'civil_registry' "
            "AS source, 'resident' AS stream, '470/1' AS reference, ? AS erased_on",
            [record, world.settings.today],
        )
    world.backup()
    first = world.restore(night=world.settings.today - timedelta(days=1))
    assert [(one["source_record_id"], one["reference"]) for one in first.erased_since] == [
        (record, "470/1")
    ]
    assert world.restore("newest").erased_since == []


DRIVER = """
import os, signal, sys
from pathlib import Path
from common import log
from common.settings import Settings
from pipeline.backup import backup, restore
home, place, to, fatal = sys.argv[1:]
settings = Settings(home=home, backup_place=place, today="2026-11-23")
def die(stage, where):
    if stage == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
log.on_stage(die)
backup(settings, None) if fatal.startswith("backup") else restore(settings, None, to=Path(to))
"""


def killed_at(world, stage):
    words = [world.settings.home, world.settings.backup_place, world.folder / "restored", stage]
    done = subprocess.run([sys.executable, "-c", DRIVER, *map(str, words)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_backup_or_restore_leaves_nothing_by_halves_and_is_done_again(world):
    killed_at(world, "backup_described")
    assert (world.settings.home / "backup" / "staging" / DATA).is_dir()
    prepare(world.settings, world.sources)
    assert not (world.settings.home / "backup" / "staging").exists()
    killed_at(world, "backup_stored")
    world.backup()
    killed_at(world, "restore_verified")
    assert not (world.folder / "restored" / "lake").exists()
    world.restore()
    assert content_hashes(at(world.settings, world.folder / "restored")) == content_hashes(
        world.settings
    )
    assert not (world.folder / "restored" / ".restoring").exists()


def test_a_second_backup_waits_for_the_first(world):
    world.settings.lock_timeout_seconds = 0.1
    with alone(world.settings, "backup"), pytest.raises(WarehouseBusy, match="another backup"):
        world.backup()


def test_restic_that_is_not_installed_is_named(world, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackupFault, match="restic is not installed"):
        world.backup()


def test_the_drill_plays_a_night_on_the_newest_backup_and_removes_it(backed_up, monkeypatch):
    world, sources = backed_up, {"cctv": backed_up.source}
    before = content_hashes(world.settings)
    played = []
    sync_all = night.run

    def watched(settings, *rest, **options):
        failures = sync_all(settings, *rest, **options)
        played.append((settings.home, options, content_hashes(settings)))
        return failures

    monkeypatch.setattr(night, "run", watched)
    world.hold(*(monitor(number, "Lain") for number in range(50)))
    done = drill(world.settings, sources, world.url)
    copy = world.settings.home / "backup" / "drill"
    assert (done.night, done.streams, done.unread) == (str(NIGHT), 2, [])
    assert [one[:2] for one in played] == [(copy, {"on_copy": True})]
    assert played[0][2]["core.camera"] != before["core.camera"]
    assert content_hashes(world.settings) == before
    assert not copy.exists()

    def fails(*_):
        raise MuaraError("no publication")

    monkeypatch.setitem(STEPS, "publish", fails)
    with pytest.raises(BackupFault, match=r"copy failed: publish\.publish"):
        drill(world.settings, sources, world.url)
    assert not copy.exists()


def test_a_night_on_a_copy_gives_nothing_to_anybody():
    assert {step.name for stage in STAGES for step in stage.steps if step.leaves} == {
        "send_reports", "back_up", "check_alarms",
    }  # fmt: skip

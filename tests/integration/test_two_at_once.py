"""Two of the same at once, as real processes: one waits for the other, and both end well."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from common import scratch
from common.errors import ExtractFault, HomeFault, WarehouseBusy
from common.lock import alone
from common.settings import ROOT
from pipeline import leave
from pipeline.data_docs import write_data_docs
from tests.world import Cameras, monitor
from warehouse.manifest import leaving, verify
from warehouse.publish import files_published


@pytest.fixture
def cameras(tmp_path):
    world = Cameras(tmp_path)
    world.hold(*(monitor(number) for number in range(20)))
    world.sync()
    return world


def muara(world, *command):
    return subprocess.Popen(
        [sys.executable, "-m", "muara", *command],
        cwd=ROOT,
        env={
            **os.environ,
            "MUARA_HOME": str(world.settings.home),
            "MUARA_TODAY": str(world.settings.today),
            "AIRFLOW_CONN_CCTV": world.url("cctv"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ends(processes):
    errors = [process.communicate(timeout=300)[1].decode() for process in processes]
    return [process.returncode for process in processes], errors


def test_publications_and_deliveries_at_once_leave_each_one_whole(cameras):
    """Before, each of two `publish` removed what the other was building."""
    settings = cameras.settings
    commands = ("publish", "publish", "extract", "extract", "rejections")
    codes, errors = ends([muara(cameras, command) for command in commands])
    assert codes == [0] * len(commands), errors
    due = leave.due(settings, cameras.sources, settings.today)
    for folder, files in due.items():
        assert {one["path"] for one in verify(folder, files)["files"]} == files
    left = [one for place in ("published", "shares", "extracts", "extracts/bp4d")
            for one in (settings.home / place).glob(".*")]  # fmt: skip
    assert left == []


def test_what_a_killed_one_left_goes_and_what_is_being_built_does_not(cameras):
    settings = cameras.settings
    home = settings.home / "published"
    (home / ".building-dead").mkdir(parents=True)
    (home / ".current-dead").symlink_to("nowhere")
    settings.lock_timeout_seconds = 0
    with leaving(settings), pytest.raises(WarehouseBusy, match="another publication"):
        leave.publish(settings)
    assert sorted(one.name for one in home.iterdir()) == [".building-dead", ".current-dead"]
    leave.publish(settings)
    assert {one.name for one in home.glob("*")} == {"current", (home / "current").readlink().name}


def test_a_manifest_says_what_was_declared_not_what_lies_there(cameras):
    """A publication without its database is no publication, though its manifest agrees with it."""
    settings = cameras.settings
    leave.publish(settings)
    current = settings.home / "published" / "current"
    manifest = json.loads((current / "manifest.json").read_text())
    for path, named in (("warehouse.duckdb", "tables"), ("parquet/core/camera.parquet", "tables")):
        kept = (current / path).read_bytes()
        (current / path).unlink()
        less = manifest | {"files": [one for one in manifest["files"] if one["path"] != path]}
        (current / "manifest.json").write_text(json.dumps(less))
        with pytest.raises(ExtractFault, match=f"the manifest lacks {path}"):
            verify(current)
        del less[named]
        (current / "manifest.json").write_text(json.dumps(less))
        with pytest.raises(ExtractFault, match=f"the manifest lacks {path}"):
            verify(current, files_published())
        (current / path).write_bytes(kept)
        (current / "manifest.json").write_text(json.dumps(manifest))
    (current / "more.txt").write_text("x")
    with pytest.raises(ExtractFault, match=r"more\.txt is not in the manifest"):
        verify(current)
    leave.publish(settings)  # makes it whole again
    verify(current, files_published())


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"null", b"\x00\xff", b"{}x",
     b'{"night": "2026-11-23", "files": [{"path": "../../x", "bytes": 1, "sha256": "00"}]}',
     b'{"night": "2026-11-23", "files": 3}', None, "trailing"],
)  # fmt: skip
def test_a_damaged_manifest_is_an_error_of_ours_and_publishing_mends_it(published, damage):
    settings = published.settings
    path = settings.home / "published" / "current" / "manifest.json"
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(path.read_bytes() + b"}" if damage == "trailing" else damage)
    with pytest.raises(ExtractFault, match="muara publish"):
        verify(path.parent)
    leave.publish(settings)
    verify(settings.home / "published" / "current", files_published())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    world = Cameras(tmp_path_factory.mktemp("published"))
    leave.publish(world.settings)
    return world


@pytest.mark.parametrize("kind", ["published", "data_docs"])
def test_a_folder_in_the_links_place_is_refused_before_anything_is_built(cameras, kind):
    """As a copy of a home that follows links leaves it."""
    home = cameras.settings.home / kind
    (home / "current").mkdir(parents=True)
    (home / "current" / "manifest.json").write_text("{}")
    build = {"published": leave.publish, "data_docs": write_data_docs}[kind]
    with pytest.raises(HomeFault, match="something else stands in its place") as told:
        build(cameras.settings)
    assert f"mv {home / 'current'}" in told.value.next_step
    assert [one.name for one in home.iterdir()] == ["current"]
    (home / "current").rename(home / "before")
    build(cameras.settings)
    assert (home / "current").is_symlink()


def test_two_syncs_of_one_stream_do_not_let_the_older_reading_win(cameras):
    """The second waits before it reads, so what it reads is newer than what the first loaded."""
    settings = cameras.settings
    with alone(settings, "sync.cctv.monitor", what="x", next_step="x"):
        second = muara(cameras, "sync", "cctv", "monitor")
        log = settings.home / "logs" / "muara.log"
        deadline = time.monotonic() + 120
        while log.read_text().count('"sync_started"') < 2:
            assert time.monotonic() < deadline
            assert second.poll() is None
            time.sleep(0.1)
        cameras.hold(*(monitor(number) for number in range(25)))
    assert ends([second]) == ([0], [""])
    assert len(cameras.core()) == 25


def test_a_second_sync_that_waits_too_long_is_refused_by_name(cameras):
    cameras.settings.lock_timeout_seconds = 0
    with alone(cameras.settings, "sync.cctv.monitor", what="x", next_step="x"):
        with pytest.raises(WarehouseBusy, match="another sync of this stream"):
            cameras.sync()
    cameras.settings.today += timedelta(days=1)
    assert cameras.sync().outcome == "loaded"


def test_what_is_in_use_is_not_cleared_away(tmp_path):
    with scratch.scratch(tmp_path, "x.") as used:
        left = tmp_path / "x.left"
        left.mkdir()
        scratch.clear_abandoned(tmp_path)
        assert (used.is_dir(), left.exists()) == (True, False)
    assert not used.exists()


SPILL = """
import sys
from common.settings import Settings
from warehouse.catalog import open_duckdb
connection = open_duckdb(Settings())
connection.execute("SET memory_limit = '60MB'; SET threads = 1")
print(connection.execute(
    "SELECT count(*), sum(place) FROM (SELECT row_number() OVER (ORDER BY md5(i::VARCHAR)) "
    "AS place FROM range(1500000) AS t (i))").fetchall())
"""


def test_queries_that_spill_at_once_do_not_crash_each_other(cameras):
    """DuckDB's processes that share a folder to spill into overwrite each other's files."""
    environment = {**os.environ, "MUARA_HOME": str(cameras.settings.home)}
    ours = set((cameras.settings.home / "spill").iterdir())
    both = [
        subprocess.Popen([sys.executable, "-c", SPILL], cwd=ROOT, env=environment,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    told = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert {out for out, _ in told} == {b"[(1500000, 1125000750000)]\n"}
    assert set((cameras.settings.home / "spill").iterdir()) == ours

"""Damage of the lake and of what is published is noticed, named, and mended where that is
possible."""

import re
import shutil
import sqlite3
from datetime import timedelta

import duckdb
import pytest
from typer.testing import CliRunner

from common.errors import WarehouseFault
from muara.cli import app
from pipeline import doctor, leave, night
from pipeline.sync import prepare
from tests.same import content_hashes
from tests.world import Cameras, monitor
from warehouse.catalog import catalog_file, data_folder, reading, transaction, writing
from warehouse.damage import NIGHTS_TO_READ_ALL, look
from warehouse.files import named_files


@pytest.fixture
def cameras(tmp_path):
    made = Cameras(tmp_path)
    made.hold(*(monitor(number) for number in range(30)))
    made.sync()
    made.next_night()
    made.hold(
        *(monitor(number, name=f"Simpang {number % 2 or ''}".strip()) for number in range(30))
    )
    made.sync()
    return made


def file_of(cameras, table):
    """The first data file of a table."""
    with reading(cameras.settings) as connection:
        path = next(one.path for one in named_files(connection)
                    if one.table == table and "delete" not in one.path)  # fmt: skip
    return data_folder(cameras.settings) / path


def damages(cameras, **options):
    return {
        name: [str(one) for one in found]
        for name, found in look(cameras.settings, **options).items()
        if found
    }


def flip(path):
    """One bit of the content altered; the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def remove(path):
    path.unlink()


def ask(settings, *command):
    environment = {"MUARA_HOME": str(settings.home), "MUARA_TODAY": str(settings.today)}
    return CliRunner().invoke(app, list(command), env=environment)


def test_a_sound_lake_has_no_damage(cameras):
    leave.publish(cameras.settings)
    assert damages(cameras, every=True) == {}


@pytest.mark.parametrize(
    ("table", "harm"), [("landing.cctv__monitor", remove), ("core.camera", cut)]
)
def test_a_lost_or_cut_file_is_an_error_of_ours_everywhere(cameras, table, harm):
    path = file_of(cameras, table)
    harm(path)
    for command in (["status"], ["status", "--json"], ["sync", "cctv"], ["publish"], ["extract"]):
        told = ask(cameras.settings, *command)
        assert isinstance(told.exception, WarehouseFault), command
        assert path.name in str(told.exception)
        assert told.exception.where == table
    told = ask(cameras.settings, "night", "--direct")  # goes on to its end, and names every step
    assert told.exit_code == 1
    assert path.name in re.sub(r"\s+", "", told.output)
    told = ask(cameras.settings, "doctor")
    assert told.exit_code == 1
    assert path.name in re.sub(r"\s+", "", told.output)
    (found,) = damages(cameras)["data files"]
    assert path.name in found
    assert ("doctor --mend" if table == "core.camera" else "muara restore") in found


def test_an_altered_file_is_found_within_seven_nights_and_at_once_when_all_are_read(cameras):
    path = file_of(cameras, "core.camera")
    flip(path)
    assert [path.name in one for one in damages(cameras, every=True)["contents of data files"]]
    found = 0
    for _ in range(NIGHTS_TO_READ_ALL):
        cameras.next_night()
        found += "contents of data files" in damages(cameras)
    assert found == 1
    with pytest.raises(WarehouseFault, match="altered"):
        cameras.rows("SELECT bit_xor(hash(one)) FROM lake.core.camera AS one")
    with pytest.raises(WarehouseFault, match="altered"):
        leave.publish(cameras.settings)


def test_what_is_made_of_other_tables_is_mended(cameras):
    leave.publish(cameras.settings)
    hashes = content_hashes(cameras.settings)
    harms = {"core.camera": flip, "mart.camera_count": cut, "ref.region": remove}
    with reading(cameras.settings) as connection:
        present = {one.table for one in named_files(connection)} & harms.keys()
    for table in present:
        harms[table](file_of(cameras, table))
    assert set(doctor.mend(cameras.settings, every=True)) == present
    prepare(cameras.settings, cameras.sources)
    leave.publish(cameras.settings)
    assert content_hashes(cameras.settings) == hashes
    assert damages(cameras, every=True) == {}


def test_what_only_a_backup_has_is_not_mended(cameras):
    remove(file_of(cameras, "ops.ledger"))
    assert doctor.mend(cameras.settings) == []
    assert "muara restore" in damages(cameras)["data files"][0]


def test_core_is_not_made_from_a_landing_that_forgot_somebody(cameras):
    with writing(cameras.settings) as connection, transaction(connection):
        connection.execute(
            "INSERT INTO lake.ops.erasure "
            "VALUES (uuid(), 'cctv', 'monitor', '1', DATE '2026-11-23', 'record')"
        )
    remove(file_of(cameras, "core.camera"))
    with pytest.raises(WarehouseFault, match="erased"):
        doctor.mend(cameras.settings)


def in_catalog(cameras, statement):
    with sqlite3.connect(catalog_file(cameras.settings)) as connection:
        connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM ducklake_data_file WHERE data_file_id = (SELECT max(data_file_id) "
         "FROM ducklake_delete_file)", "deletions in files that are not there"),
        ("UPDATE ducklake_data_file SET begin_snapshot = 9999 WHERE data_file_id = 1", "to come"),
        ("UPDATE ducklake_data_file SET encryption_key = NULL", "without a key"),
        ("DELETE FROM ducklake_table WHERE table_name = 'camera'", "tables that are not there"),
    ],
)  # fmt: skip
def test_a_catalog_that_contradicts_itself_is_named(cameras, statement, told):
    in_catalog(cameras, statement)
    assert any(told in one for one in damages(cameras)["catalog"])


def test_a_catalog_with_a_spoilt_page_is_named(cameras):
    in_catalog(cameras, "SELECT 1")
    with sqlite3.connect(catalog_file(cameras.settings)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ducklake_file_column_stats'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(catalog_file(cameras.settings).read_bytes())
    content[(page - 1) * size : (page - 1) * size + 64] = b"\xff" * 64
    catalog_file(cameras.settings).write_bytes(content)
    told = doctor.examine(cameras.settings)
    assert any(not one.holds and "muara catalog restore" in one.detail for one in told)
    with pytest.raises(WarehouseFault):
        prepare(cameras.settings, cameras.sources)


def test_versions_that_end_before_they_begin_and_nights_in_the_wrong_order_are_named(cameras):
    with writing(cameras.settings) as connection, transaction(connection):
        connection.execute("UPDATE lake.core.camera SET valid_to = valid_from - 1 "
                           "WHERE valid_to IS NOT NULL")  # fmt: skip
        connection.execute("UPDATE lake.ops.ledger SET night = night - 9 WHERE batch_id = 2")
    found = damages(cameras)
    assert any("core.camera" in one and "15 versions" in one for one in found["order of versions"])
    assert any("cctv.monitor" in one for one in found["order of nights"])


def test_a_night_of_the_future_is_named_where_the_clock_is_the_machines(cameras):
    cameras.settings.today += timedelta(days=9999)
    cameras.sync()
    cameras.settings.today = None
    assert any("was worked on" in one for one in damages(cameras)["order of nights"])
    told = doctor.examine(cameras.settings)
    assert any(one.name == "tonight" and not one.holds for one in told)


@pytest.mark.parametrize("name", ["warehouse.duckdb", "manifest.json",
                                  "parquet/core/camera.parquet"])  # fmt: skip
def test_a_spoilt_publication_is_named(cameras, name):
    leave.publish(cameras.settings)
    current = cameras.settings.home / "published" / "current"
    for harm in (cut, remove):
        harm(current / name)
        assert "muara publish" in damages(cameras)["published copy"][0]
    shutil.rmtree(current.resolve())
    assert "published copy" in damages(cameras)


def test_a_publication_without_a_declared_table_is_named_though_its_manifest_is_right(cameras):
    from warehouse import manifest

    leave.publish(cameras.settings)
    current = cameras.settings.home / "published" / "current"
    with duckdb.connect(str(current / "warehouse.duckdb")) as connection:
        connection.execute("DROP VIEW now.camera; DROP TABLE core.camera")
    facts = manifest.read_manifest(current)
    del facts["files"]
    manifest.write_manifest(current, facts)
    assert any("core.camera" in one for one in damages(cameras)["published copy"])


def test_each_night_asks(cameras):
    """Damage is a check of the night, with the file's name."""
    path = file_of(cameras, "core.camera")
    remove(path)
    check = night._undamaged(cameras.settings)
    assert not check.holds
    assert path.name in check.detail

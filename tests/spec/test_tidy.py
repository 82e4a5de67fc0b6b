"""What many nights leave behind: files that only few of its readers need are merged."""

import pytest

from tests.same import content_hashes
from tests.world import Cameras
from warehouse import catalog
from warehouse.catalog import changed_since, insert, reading, tidy, transaction, writing


@pytest.fixture
def cameras(tmp_path):
    return Cameras(tmp_path)


def files(settings, table):
    """Paths of the Parquet files that make up a table now."""
    with reading(settings) as connection:
        found = connection.execute(
            "SELECT data_file FROM ducklake_list_files('lake', ?, schema => 'ops')", [table]
        ).fetchall()
    return {path for (path,) in found}


def note(settings, times):
    for number in range(times):
        with writing(settings) as connection, transaction(connection):
            insert(connection, "ops.core_ledger", [[number, "core.person", 1, 0, 0, 0]])


def test_rows_inserted_together_are_one_file(cameras):
    with writing(cameras.settings) as connection:
        insert(connection, "ops.core_ledger", [[n, "core.person", 1, 0, 0, 0] for n in range(9)])
        insert(connection, "ops.core_ledger", [])
    assert len(files(cameras.settings, "core_ledger")) == 1


def test_small_files_become_one_and_nothing_changed(cameras, monkeypatch):
    monkeypatch.setattr(catalog, "SMALL_FILES", 5)
    settings = cameras.settings
    note(settings, 5)
    tidy(settings)
    assert len(files(settings, "core_ledger")) == 5
    note(settings, 2)
    before, hashes = files(settings, "core_ledger"), content_hashes(settings)
    with reading(settings) as connection:
        snapshot = connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchone()[0]
    with reading(settings) as reader:
        reader.execute("BEGIN")
        rows = reader.execute("SELECT count(*) FROM lake.ops.core_ledger").fetchall()
        tidy(settings)
        tidy(settings)
        assert reader.execute("SELECT count(*) FROM lake.ops.core_ledger").fetchall() == rows
    assert len(files(settings, "core_ledger")) == 1
    assert not files(settings, "core_ledger") & before
    assert content_hashes(settings) == hashes
    with reading(settings) as connection:
        assert changed_since(connection, snapshot) == set()

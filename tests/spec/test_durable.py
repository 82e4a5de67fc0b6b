"""What is committed is on the disk: data files are flushed before the catalog names them."""

import os
from pathlib import Path

from tests.world import Cameras, monitor
from warehouse.catalog import reading


def test_every_data_file_is_flushed_before_the_catalog_names_it(tmp_path, monkeypatch):
    cameras, flushed = Cameras(tmp_path), set()
    system = os.fsync

    def fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not flushed:
            assert path not in live(cameras.settings), "flushed after it was named"
        flushed.add(path)
        system(descriptor)

    before = live(cameras.settings)
    monkeypatch.setattr(os, "fsync", fsync)
    cameras.hold(monitor(1), monitor(2))
    cameras.sync()
    cameras.hold(monitor(1, name="Lain"))
    cameras.sync(accept_deletions=True)
    written = live(cameras.settings) - before
    assert written
    assert written <= flushed
    assert {str(Path(path).parent) for path in written} <= flushed, "nor is their folder"


def live(settings):
    """Data and delete files that the catalog names now."""
    with reading(settings) as connection:
        data = settings.home / "lake" / "data"
        return {
            str(data / schema / table / name)
            for schema, table, name in connection.execute(
                "SELECT schema_name, table_name, file.path FROM ("
                "SELECT table_id, path FROM __ducklake_metadata_lake.ducklake_data_file "
                "UNION ALL SELECT table_id, path "
                "FROM __ducklake_metadata_lake.ducklake_delete_file) AS file "
                "JOIN __ducklake_metadata_lake.ducklake_table USING (table_id) "
                "JOIN __ducklake_metadata_lake.ducklake_schema USING (schema_id)"
            ).fetchall()
        }

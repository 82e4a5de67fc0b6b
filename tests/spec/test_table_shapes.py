"""A lake whose tables have another shape than the schema home asks for."""

import pytest

from common.errors import WarehouseFault
from tests.world import Cameras, monitor
from warehouse.catalog import reading, set_up, writing
from warehouse.tables import tables


def alter(world, statement):
    with writing(world.settings) as connection:
        connection.execute(statement)


def columns(world, table):
    with reading(world.settings) as connection:
        return [row[0] for row in connection.execute(f"DESCRIBE lake.{table}").fetchall()]


def test_a_table_of_another_shape_is_refused_by_name_and_nothing_changes(tmp_path):
    world = Cameras(tmp_path)
    world.hold(monitor(1))
    world.sync()
    alter(world, "ALTER TABLE lake.core.camera RENAME COLUMN camera_name TO name")
    with pytest.raises(WarehouseFault, match=r"core\.camera: columns differ: camera_name, name"):
        set_up(world.settings, world.sources)
    alter(world, "ALTER TABLE lake.core.camera RENAME COLUMN name TO camera_name")
    set_up(world.settings, world.sources)
    assert len(world.core()) == 1


@pytest.mark.parametrize("table", [name for name, one in tables().items() if one.remade])
def test_a_table_that_is_made_again_is_made_in_its_new_shape(tmp_path, table):
    world = Cameras(tmp_path)
    alter(world, f"ALTER TABLE lake.{table} DROP COLUMN {list(tables()[table].columns)[-1]}")
    alter(world, f"INSERT INTO lake.{table} ({tables()[table].key[0]}) VALUES (uuid())")
    set_up(world.settings, world.sources)
    assert columns(world, table) == list(tables()[table].columns)
    assert world.rows(f"FROM lake.{table}") == []


def test_a_table_that_grows_gains_the_columns_that_are_declared_behind_its_own(tmp_path):
    world = Cameras(tmp_path)
    alter(world, "ALTER TABLE lake.core.person_answer DROP COLUMN withdrawn_at")
    alter(world, "INSERT INTO lake.core.person_answer (answer_id) VALUES (uuid())")
    set_up(world.settings, world.sources)
    assert columns(world, "core.person_answer") == list(tables()["core.person_answer"].columns)
    assert world.rows("SELECT withdrawn_at FROM lake.core.person_answer") == [(None,)]


@pytest.mark.parametrize("table", ["core.golden_record", "core.person_decision"])
def test_a_table_that_does_not_grow_is_refused_when_a_column_is_declared_behind_its_own(
    tmp_path, table
):
    world = Cameras(tmp_path)
    last = list(tables()[table].columns)[-1]
    alter(world, f"ALTER TABLE lake.{table} DROP COLUMN {last}")
    with pytest.raises(WarehouseFault, match=f"{table}: columns differ: {last}"):
        set_up(world.settings, world.sources)


NOTES = """
    SELECT column_name, record_count, next_row_id, contains_null, min_value, max_value
    FROM __ducklake_metadata_lake.ducklake_table_stats
    JOIN __ducklake_metadata_lake.ducklake_table USING (table_id)
    JOIN __ducklake_metadata_lake.ducklake_column USING (table_id)
    JOIN __ducklake_metadata_lake.ducklake_table_column_stats USING (table_id, column_id)
    WHERE table_name = 'drift' AND ducklake_table.end_snapshot IS NULL
    ORDER BY column_order
"""
DRIFTS = """
    INSERT INTO lake.ops.drift (source, stream, batch_id) VALUES ('a', 'b', 2), ('c', NULL, 1)
"""


def test_a_table_that_never_held_a_row_is_noted_as_empty_and_then_as_any_other(tmp_path):
    world = Cameras(tmp_path)
    with writing(world.settings) as connection:
        noted = connection.execute(NOTES).fetchall()
        assert {row[1:] for row in noted} == {(0, 0, 0, None, None)}
        connection.execute(DRIFTS)
        begun_with_a_note = connection.execute(NOTES).fetchall()
        connection.execute(f"DROP TABLE lake.ops.drift; {tables()['ops.drift'].ddl('lake')}")
        assert connection.execute(NOTES).fetchall() == []
        connection.execute(DRIFTS)
        assert connection.execute(NOTES).fetchall() == begun_with_a_note
        before = connection.execute("FROM lake.ops.drift ORDER BY batch_id").fetchall()
    set_up(world.settings, world.sources)
    assert world.rows("FROM lake.ops.drift ORDER BY batch_id") == before
    assert world.rows("SELECT source FROM lake.ops.drift WHERE batch_id = 1") == [("c",)]
    assert world.rows("SELECT source FROM lake.ops.drift WHERE stream IS NULL") == [("c",)]

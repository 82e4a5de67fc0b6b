"""What a batch may hold: DuckDB's memory is bounded, and rows do not pile up before it."""

import pyarrow as pa
import pytest

from common.errors import WarehouseFault
from tests.world import Cameras, monitor
from warehouse import staging

PIECES, ROWS = 150, 10_000


def test_rows_are_read_when_there_is_room_for_them(tmp_path):
    world = Cameras(tmp_path)
    held = []

    def pieces():
        for number in range(PIECES):
            held.append(pa.total_allocated_bytes())
            texts = pa.array([f"{number}-{row:030}" for row in range(ROWS)])
            names = list(world.stream.columns)
            yield pa.RecordBatch.from_arrays([texts] * len(names), names), None

    with staging.staging(world.settings, world.source, world.stream) as area:
        staging.stage(area, pieces())
        staged = area.connection.execute("SELECT count(*) FROM raw").fetchone()
    assert staged == (PIECES * ROWS,)
    one_piece = ROWS * 50
    assert max(held) - held[0] < 12 * one_piece


def test_a_batch_that_needs_more_than_it_may_take_is_refused_by_name(tmp_path):
    world = Cameras(tmp_path)
    world.hold(*(monitor(number) for number in range(1, 4)))
    world.sync()
    world.settings = world.settings.model_copy(update={"batch_memory_limit": 1_000_000})
    world.hold(*(monitor(number) for number in range(1, 6)))
    with pytest.raises(WarehouseFault, match="batch_memory_limit"):
        world.sync()
    world.settings = world.settings.model_copy(update={"batch_memory_limit": 200_000_000})
    assert world.sync().inserted == 2

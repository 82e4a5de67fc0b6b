"""Small counts are pooled with their neighbours: a floor of five, counts as a table."""

import pytest

from tests.disclosed import lake
from warehouse.cells import pooled
from warehouse.tables import tables

RESIDENTS = tables()["mart.resident_count"]


def left(rows, table=RESIDENTS, floor=5):
    connection = lake(table.name)
    connection.executemany(
        f"INSERT INTO lake.{table.name} VALUES ({', '.join('?' * len(table.columns))})", rows
    )
    query = pooled(table, f"lake.{table.name}", floor)
    return connection.execute(f"FROM ({query}) ORDER BY ALL NULLS LAST").fetchall()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # nothing is small
        ({("A", "f", "00-04"): 5, ("A", "f", "05-09"): 8},
         {("A", "f", "00-04"): 5, ("A", "f", "05-09"): 8}),
        # a small one alone takes the smallest neighbour with it
        ({("A", "f", "00-04"): 4, ("A", "f", "05-09"): 8, ("A", "f", "10-14"): 9},
         {("A", "f", "10-14"): 9, ("A", "f", None): 12}),
        # several small ones are enough by themselves
        ({("A", "f", "00-04"): 3, ("A", "f", "05-09"): 2, ("A", "f", "10-14"): 9},
         {("A", "f", "10-14"): 9, ("A", "f", None): 5}),
        # the unknown join the pool, lest two rows look alike
        ({("A", "f", None): 6, ("A", "f", "05-09"): 2, ("A", "f", "10-14"): 9},
         {("A", "f", "10-14"): 9, ("A", "f", None): 8}),
        # all of one sex are too few: both sexes of that region become one
        ({("A", "f", "00-04"): 4, ("A", "m", "00-04"): 7, ("B", "f", "00-04"): 9},
         {("A", None, None): 11, ("B", "f", "00-04"): 9}),
        # a whole region is too small
        ({("A", "f", "00-04"): 3, ("B", "f", "00-04"): 7, ("C", "f", "00-04"): 30},
         {("C", "f", "00-04"): 30, (None, None, None): 10}),
        # everybody together are too few: nothing is told
        ({("A", "f", "00-04"): 1, ("B", "m", "00-04"): 2}, {}),
    ],
)  # fmt: skip
def test_small_cells(cells, expected):
    assert left([(*key, count) for key, count in cells.items()]) == [
        (*key, count) for key, count in expected.items()
    ]


def test_a_part_is_pooled_when_the_rest_would_be_small():
    births = tables()["mart.birth_month"]
    rows = [("2026-01-01", 9, 7, 0, 0), ("2026-02-01", 20, 10, 0, 0), ("2026-03-01", 30, 0, 0, 0)]
    shown = left(rows, births)
    assert [(str(month), reports, late) for month, reports, late, _, _ in shown] == [
        ("2026-01-01", 9, None), ("2026-02-01", 20, None), ("2026-03-01", 30, 0),
        ("None", None, 17)]  # fmt: skip

"""Which keys are one, and which are not: literal tables, and random ones."""

import random
from types import SimpleNamespace

import duckdb
import pytest

from common.definition import Column
from common.keys import MACROS, key_of, row_text


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        opened.execute(MACROS)
        yield opened


def spelt(connection, rows, **declared):
    """The key of each row; `declared`: part → what its column declares."""
    stream = SimpleNamespace(
        key=tuple(declared),
        columns={name: Column(name=name, **facts) for name, facts in declared.items()},
    )
    names = ", ".join(declared)
    held = ", ".join(f"one[{n}] AS {name}" for n, name in enumerate(declared, 1))
    found = connection.execute(
        f"SELECT {key_of(stream)} FROM (SELECT {held} FROM (SELECT unnest(?::VARCHAR[][]) AS one))"
        f" AS rows({names})",
        [[list(row) for row in rows]],
    ).fetchall()
    return [key for (key,) in found]


@pytest.mark.parametrize(
    ("declared", "same"),
    [
        ({"type": "integer"}, ["7", "007", " 7", "7 ", "7.0", "+7", "\u200b7", "7\u00a0"]),
        ({"type": "integer"}, ["-7", "-07", "-7.00"]),
        ({"type": "decimal"}, ["7.5", "7.50", "07.5", "+7.5"]),
        ({"type": "decimal"}, ["700", "700.0", "0700"]),
        ({}, ["A1", "A1 ", "\tA1", "\ufeffA1", "A\u200b1", "A\u00ad1", "A1\r\n"]),
        ({}, ["RT 01", "RT  01", "RT\u00a001", "RT\t01", "RT\n01", "RT \u200b01"]),
        ({}, ["\u00e9", "e\u0301"]),
    ],
)
def test_what_is_the_same_value_is_one_key(connection, declared, same):
    (key,) = set(spelt(connection, [(text,) for text in same], part=declared))
    assert key == same[0], "an ordinary key is spelt as it is sent"


@pytest.mark.parametrize(
    ("declared", "different"),
    [
        ({"type": "integer"}, ["7", "70", "-7", "7.5", "x7", "0x7", "7e0", "9" * 25, "9" * 24]),
        ({"type": "decimal"}, ["7.5", "7.05", "75", "0.75"]),
        ({}, ["A1", "a1", "A-1", "A 1", "007", "7", "7.0", "|", "\\", "\\|"]),
    ],
)
def test_what_is_not_is_not(connection, declared, different):
    assert len(set(spelt(connection, [(text,) for text in different], part=declared))) == len(
        different
    )


def test_a_day_is_one_key_however_its_format_spells_it(connection):
    days = [("1/2/2026",), ("01/02/2026",), (" 01/2/2026",)]
    assert set(spelt(connection, days, day={"type": "date", "formats": ("%d/%m/%Y",)})) == {
        "2026-02-01"
    }


def test_a_key_of_which_a_part_is_missing_is_none(connection):
    rows = [(None, "1"), ("1", None), ("", "1"), ("1", " \u200b")]
    assert spelt(connection, rows, one={}, other={}) == [None] * 4


def test_parts_are_joined_so_that_they_can_be_parted(connection):
    chance = random.Random(7)
    texts = {"".join(chance.choices("|\\a1", k=chance.randint(1, 4))) for _ in range(400)}
    rows = [(one, other) for one in texts for other in texts]
    found = spelt(connection, rows, one={}, other={})
    assert len(set(found)) == len(rows)
    assert spelt(connection, [("01", "02")], one={}, other={}) == ["01|02"]


def test_rows_that_differ_have_different_texts(connection):
    cells = [None, "", "a", "\x1e", "\x1f", "a\x1fb", "b", "\x1e\x1f", '["a","b"]']
    rows = [[one, other] for one in cells for other in cells]
    found = connection.execute(
        f"SELECT {row_text(['one[1]', 'one[2]'])} FROM (SELECT unnest(?::VARCHAR[][]) AS one)",
        [rows],
    ).fetchall()
    assert len(set(found)) == len(rows)

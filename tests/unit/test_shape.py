"""Which new column a gone one lives on as: clear cases, and those that people decide."""

from types import SimpleNamespace

import pytest

from common.shape import compare

BEFORE = {"id": "integer", "nama": "text", "alamat": "text", "lahir": "date"}


def found(now, before=BEFORE):
    stream = SimpleNamespace(columns=dict.fromkeys(BEFORE), ignore={})
    drifts = compare(stream, now, before)
    return {
        one.column: one.likely or one.candidates
        for one in drifts
        if one.kind in ("renamed", "missing")
    }


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"id": "integer", "nama_lengkap": "text", "alamat": "text", "lahir": "date"},
         {"nama": "nama_lengkap"}),
        # Neighbours renamed together: neither place nor type tells which is which.
        ({"id": "integer", "x1": "text", "x2": "text", "lahir": "date"},
         {"nama": (), "alamat": ()}),
        ({"id": "integer", "name1": "text", "name2": "text", "alamat": "text", "lahir": "date"},
         {"nama": ("name1", "name2")}),
        ({"id": "integer", "alamat_kk": "text", "nama_kk": "text", "lahir": "date"},
         {"nama": "nama_kk", "alamat": "alamat_kk"}),
        ({"id": "integer", "nama": "text", "alamat": "text", "tgl": "date"}, {"lahir": "tgl"}),
    ],
)  # fmt: skip
def test_only_what_is_clear_is_mapped(now, expected):
    assert found(now) == expected


def test_the_order_of_the_columns_decides_nothing():
    now = {"id": "integer", "name2": "text", "name1": "text", "alamat": "text", "lahir": "date"}
    assert set(found(now)["nama"]) == {"name1", "name2"}

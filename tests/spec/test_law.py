"""Mutations of reader, load and merge: each must block the commit and name what is wrong."""

import pytest

from common.errors import Imbalance
from connectors.readers import sql
from tests.world import Cameras, monitor
from warehouse import load, merge


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(*(monitor(number) for number in range(1, 31)))
    return cameras


def refused(cameras, message):
    """The sync raises Imbalance, nothing is visible, and the attempt is in the ledger."""
    with pytest.raises(Imbalance, match=message):
        cameras.sync()
    assert cameras.core() == []
    assert cameras.rows("SELECT count(*) FROM lake.landing.cctv__monitor") == [(0,)]
    assert cameras.rows("SELECT outcome, error_code FROM lake.ops.ledger") == [
        ("stopped", "Imbalance")
    ]


def test_a_reader_that_drops_one_row(cameras, monkeypatch):
    monkeypatch.setattr(sql, "_sent", lambda rows: rows.slice(1))
    refused(cameras, "the reader counted 30 rows, 29 were staged")


def test_a_load_that_skips_one_insert(cameras, monkeypatch):
    original = load._write_landing

    def skipping(area, account):
        original(area, account)
        area.connection.execute(f"DELETE FROM {area.landing} WHERE _row = 7")

    monkeypatch.setattr(load, "_write_landing", skipping)
    refused(cameras, "rows without exactly one home: 7")


def test_a_load_that_lands_one_row_twice(cameras, monkeypatch):
    original = load._write_landing

    def doubling(area, account):
        original(area, account)
        twice = f"SELECT * FROM {area.landing} WHERE _row = 7"
        area.connection.execute(f"INSERT INTO {area.landing} {twice}")

    monkeypatch.setattr(load, "_write_landing", doubling)
    refused(cameras, "31 landed|core.camera holds 31|landed twice|holds 31")


def test_a_merge_that_skips_one_core_row(cameras, monkeypatch):
    original = merge._merge

    def losing(connection, table, rows, *rest):
        original(connection, table, f"SELECT * FROM ({rows}) WHERE camera_number <> 3", *rest)

    monkeypatch.setattr(merge, "_merge", losing)
    refused(cameras, "conforms to 30 records, core.camera holds 29")


def test_a_conform_that_doubles_a_key(cameras, monkeypatch):
    original = merge._merge

    def doubling(connection, table, rows, *rest):
        doubled = f"SELECT * FROM ({rows}) UNION ALL SELECT * FROM ({rows}) WHERE camera_number = 3"
        original(connection, table, doubled, *rest)

    monkeypatch.setattr(merge, "_merge", doubling)
    refused(cameras, "30 of them distinct")


def test_a_write_that_loses_a_quarantined_row(cameras, monkeypatch):
    cameras.hold(*(monitor(number) for number in range(1, 30)), monitor(30, function="Rusak"))
    monkeypatch.setattr(load, "_write_quarantine", lambda *_: None)
    refused(cameras, "rows without exactly one home: 30")

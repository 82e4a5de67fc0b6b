"""A source whose rows join no core table is checked, quarantined, landed and counted all the same;
its typed view is how people ask it."""

import sqlite3
import sys
from datetime import date, timedelta
from types import ModuleType

import pytest

from common.definition import load_source
from common.errors import DefinitionError
from common.settings import Settings
from pipeline.sync import prepare, sync
from tests.world import counts
from transforms.conform import conform_of, landing_only
from transforms.standardise.typed import typed
from warehouse.catalog import changed_since, reading
from warehouse.rebuild import differences

DEFINITION = """
name: market
title: Markets
agency: dlh
contact: {unit: Pasar, email: pasar@dlh.example}
streams:
  - name: stall
    title: Stalls
    connection: market
    read: {reader: sql, table: kios}
    strategy: snapshot
    key: [stall_number]
    max_deleted_share: 0.5
    columns:
      nomor: {name: stall_number, type: integer}
      luas: {name: area_m2, type: decimal, decimal_comma: true}
      sejak: {name: rented_date, type: date, empty: ["0000-00-00"]}
      jenis: {name: kind, values: {"1": food, "2": cloth}}
"""
RULES = """
streams:
  stall:
    - rule: area_small
      expect_rows_to_satisfy: {condition: "area_m2 >= 1"}
      severity: warning
      reason: "nobody can stand in it"
      origin: "assumed"
      plain: "Luas kios kurang dari 1 meter persegi."
      remedy: "Ukur ulang kios."
"""


class Market:
    """One table of stalls and a warehouse that knows nothing else."""

    def __init__(self, folder):
        for name, text in (("connectors/market/source.yml", DEFINITION),
                           ("expectations/market.yml", RULES)):  # fmt: skip
            path = folder / name
            path.parent.mkdir(parents=True)
            path.write_text(text)
        self.settings = Settings(home=folder / "var", today=date(2026, 11, 23),
                                 connectors=folder / "connectors",
                                 expectations=folder / "expectations")  # fmt: skip
        self.source = load_source(self.settings, "market")
        self.database = folder / "market.db"
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE kios (nomor, luas, sejak, jenis)")

    def night(self, *rows):
        with sqlite3.connect(self.database) as connection:
            connection.execute("DELETE FROM kios")
            connection.executemany("INSERT INTO kios VALUES (?, ?, ?, ?)", rows)
        self.settings.today += timedelta(days=1)
        prepare(self.settings, {"market": self.source})
        stream = self.source.stream("stall")
        account = sync(self.settings, self.source, stream, lambda _: f"sqlite:///{self.database}")
        return counts(account)

    def rows(self, query):
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def stalls(self):
        return self.rows(
            "SELECT stall_number, CAST(area_m2 AS DOUBLE), rented_date, kind, _flags "
            "FROM lake.landing.market__stall_now ORDER BY 1"
        )


@pytest.fixture
def market(tmp_path):
    return Market(tmp_path)


def test_rows_land_and_the_view_shows_the_newest_sound_version(market):
    first = [(1, "4,5", "2020-03-01", "1"), (2, "0,5", "0000-00-00", "2"), (3, "9", None, "1")]
    broken = (4, "2", None, "9")
    assert market.night(*first, broken) == {
        "extracted": 4, "inserted": 3, "quarantined": 1, "flagged": 1,
    }  # fmt: skip
    assert market.rows("SELECT rules FROM lake.quarantine.row") == [(["kind_unknown"],)]
    assert market.rows("FROM lake.ops.core_ledger") == []
    sound = [
        (1, 4.5, date(2020, 3, 1), "food", []),
        (2, 0.5, None, "cloth", ["area_small"]),
        (3, 9.0, None, "food", []),
    ]
    assert market.stalls() == sound

    changed, turned_bad = (1, "5", "2020-03-01", "1"), (2, "besar", "0000-00-00", "2")
    assert market.night(changed, turned_bad, broken) == {
        "extracted": 3, "updated": 1, "quarantined": 2, "deleted": 1,
    }  # fmt: skip
    assert market.stalls() == [(1, 5.0, *sound[0][2:]), sound[1]], "held, and gone"
    assert differences(
        market.settings, {"market": market.source}, lambda one: lambda rows: typed(rows, one),
        conform_of,
    ) == {}  # fmt: skip


def test_an_unchanged_night_writes_its_ledger_row_only(market):
    market.night((1, "4", None, "1"))
    newest = "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')"
    ((before,),) = market.rows(newest)
    assert market.night((1, "4", None, "1")) == {"extracted": 1, "unchanged": 1}
    with reading(market.settings) as connection:
        assert changed_since(connection, before) == {"ops.ledger"}
    assert market.rows(newest) == [(before + 1,)]


def test_a_view_follows_its_definition(market):
    market.night((1, "4", None, "1"))
    path = market.settings.connectors / "market" / "source.yml"
    path.write_text(path.read_text().replace('"2": cloth', '"2": textile'))
    market.source = load_source(market.settings, "market")
    market.night((1, "4", None, "2"))
    assert [kind for _, _, _, kind, _ in market.stalls()] == ["textile"]


def test_a_conform_module_that_fails_is_not_taken_for_none(market, monkeypatch, tmp_path):
    import transforms.conform

    (tmp_path / "market.py").write_text("import a_library_that_is_not_there")
    places = [*transforms.conform.__path__, str(tmp_path)]
    monkeypatch.setattr(transforms.conform, "__path__", places)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        conform_of(market.source, "stall")


def test_a_conform_of_an_unknown_stream_is_a_fault(market, monkeypatch):
    module = ModuleType("transforms.conform.market")
    module.STREAMS = {"stalls": landing_only}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(DefinitionError, match=r"unknown stream\(s\): stalls"):
        conform_of(market.source, "stall")

"""Reconciliation against real servers: one changed value on either side is found, as a full
comparison of all rows in DuckDB finds it, and little is read."""

from datetime import date

import pytest
import sqlalchemy as sa

from common.settings import Settings
from connectors.readers import sql
from connectors.readers.sql.dialect import Dialect
from pipeline.reconcile import reconcile
from pipeline.sync import prepare, sync
from tests.tables import pull_of, rows_of, source_of
from warehouse.catalog import reading, writing

ROWS = 3000
COLUMNS = {"id": {}, "nama": {}, "jumlah": {}, "lahir": {}, "biner": {}, "tinggi": {},
           "diubah": {"type": "timestamp"}}  # fmt: skip
KINDS = {"sqlite": ("blob", "double"), "mysql": ("blob", "double"),
         "postgresql": ("bytea", "double precision")}  # fmt: skip
ODD = ["Siti Fa'izah", "é😀", " blank ", "", None, 'a"b,c\nd', "\\N", "%s {x}"]


@pytest.fixture
def url(empty_database):
    """A database with table `t` of values of several types, some of them odd."""
    url = empty_database
    kind = sa.make_url(url).get_backend_name()
    characters = " CHARACTER SET utf8mb4" if kind == "mysql" else ""
    binary, double = KINDS[kind]
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE t (id int PRIMARY KEY, nama text{characters}, jumlah decimal(20,2), "
            f"lahir date, biner {binary}, tinggi {double}, diubah timestamp NULL)"
        )
        connection.execute(
            sa.text("INSERT INTO t VALUES (:id, :nama, :jumlah, :lahir, :biner, :tinggi, :diubah)"),
            [
                {"id": number, "nama": ODD[number % len(ODD)], "jumlah": f"{number * 3}.50",
                 "lahir": f"19{number % 90 + 10}-01-02", "biner": bytes([number % 256, 0]),
                 "tinggi": number / 7, "diubah": "2026-10-01 08:00:00"}
                for number in range(1, ROWS + 1)
            ],
        )  # fmt: skip
    engine.dispose()
    return url


class Loaded:
    """The table as a stream of some strategy, loaded."""

    def __init__(self, url, folder, strategy, columns=COLUMNS):
        (folder / "made.yml").write_text("streams: {}\n")
        cursor = {"cursor": {"column": "diubah"}} if strategy == "cursor" else {}
        self.url, self.source = url, source_of("t", columns, strategy=strategy, **cursor)
        self.folder = folder
        self.settings = Settings(home=folder / "var", expectations=folder, today=date(2026, 11, 1))
        prepare(self.settings, {"made": self.source})
        sync(self.settings, self.source, self.source.streams[0], lambda _: url)

    def reconcile(self):
        return reconcile(self.settings, self.source, self.source.streams[0], lambda _: self.url)

    def at_source(self, statement):
        engine = sa.create_engine(self.url)
        with engine.connect().execution_options(no_parameters=True) as connection:
            assert connection.exec_driver_sql(statement).rowcount > 0
            connection.commit()
        engine.dispose()

    def on_our_side(self, statement):
        with writing(self.settings) as connection:
            assert connection.execute(statement).fetchall()[0][0] > 0

    def oracle(self):
        """Ids that differ, by a full comparison of all rows as texts."""
        names = ", ".join(self.source.streams[0].names)
        with reading(self.settings) as connection:
            ours = connection.execute(f"SELECT {names} FROM lake.landing.made__rows").fetchall()
        theirs = rows_of(pull_of(self.url, source_of("t", COLUMNS), self.folder))
        return {row[0] for row in set(ours) ^ set(theirs)}

    def ids(self, report):
        with reading(self.settings) as connection:
            known = dict(
                connection.execute(
                    "SELECT CAST(record_id('made', 'rows', id) AS VARCHAR), id "
                    f"FROM (SELECT CAST(range AS VARCHAR) AS id FROM range({2 * ROWS}))"
                ).fetchall()
            )
        return {known[one.record_id] for one in report.differences}


PLANTED = {
    "change_not_seen": ("source", "UPDATE t SET jumlah = jumlah + 0.01 WHERE id = 1234"),
    "row_not_seen": ("source", "INSERT INTO t (id, nama, diubah) "
                     "VALUES (4000, 'x', '2026-10-01 08:00:00')"),
    "deletion_not_seen": ("source", "DELETE FROM t WHERE id = 77"),
    "altered_here": ("ours", "UPDATE lake.landing.made__rows SET jumlah = '1.50' WHERE id = '5'"),
}  # fmt: skip


def test_each_planted_difference_is_found_and_named(url, tmp_path):
    loaded = Loaded(url, tmp_path, "cursor")
    whole = loaded.reconcile()
    assert (whole.outcome.source_rows, whole.outcome.landed_rows) == (ROWS, ROWS)
    assert (whole.outcome.rows_pulled, whole.differences) == (0, [])
    found = {}
    for kind, (where, statement) in PLANTED.items():
        (loaded.at_source if where == "source" else loaded.on_our_side)(statement)
        report = loaded.reconcile()
        found[kind] = 1
        assert report.outcome.unexplained_kinds == found
        assert loaded.ids(report) == loaded.oracle()
        assert 0 < report.outcome.rows_pulled < 500
        assert report.outcome.method == "sums"
    loaded.at_source("UPDATE t SET nama = 'x', diubah = '2026-11-02 08:00:00' WHERE id IN (8, 9)")
    loaded.at_source("UPDATE t SET nama = 'x', diubah = NULL WHERE id = 7")
    report = loaded.reconcile()
    assert report.outcome.explained == {"changed_since": 3}, "their stamps say so"
    assert report.outcome.unexplained_kinds == found
    assert loaded.ids(report) == loaded.oracle()


def test_the_sources_own_sums_tell_who_changed(url, tmp_path):
    loaded = Loaded(url, tmp_path, "checksum")
    loaded.at_source("UPDATE t SET nama = 'x' WHERE id = 5")
    loaded.on_our_side("DELETE FROM lake.landing.made__rows WHERE id = '9'")
    report = loaded.reconcile()
    assert report.outcome.explained == {"changed_since": 1}
    assert report.outcome.unexplained_kinds == {"row_not_seen": 1}
    assert loaded.ids(report) == loaded.oracle() == {"5", "9"}
    loaded.at_source("UPDATE t SET jumlah = jumlah + 1 WHERE id % 5 = 1")
    report = loaded.reconcile()
    assert (report.outcome.method, report.outcome.rows_pulled) == ("rows", ROWS), "much differs"
    assert report.outcome.explained["changed_since"] == ROWS // 5 + 1
    assert loaded.ids(report) == loaded.oracle()


def test_a_database_that_cannot_sum_is_read_whole(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/u.db"
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id int, nama text)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)")
    monkeypatch.setattr(sql, "dialect_of", lambda _: Dialect())
    loaded = Loaded(url, tmp_path, "snapshot", {"id": {}, "nama": {}})
    loaded.on_our_side("UPDATE lake.landing.made__rows SET nama = 'x' WHERE id = '3'")
    report = loaded.reconcile()
    assert (report.outcome.method, report.outcome.rows_pulled) == ("rows", 3)
    assert report.outcome.unexplained_kinds == {"altered_here": 1}
    assert loaded.ids(report) == {"3"}

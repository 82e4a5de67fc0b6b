"""Thirty nights of random change, late rows, a jumping clock and failed nights: after every good
night the warehouse equals the source, for each strategy on each database."""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from common.errors import SourceUnavailable
from common.settings import Settings
from pipeline.sync import prepare, sync
from tests.tables import source_of
from warehouse.catalog import reading

NIGHTS = 30
COLUMNS = {"id": {"type": "integer"}, "nama": {}, "jumlah": {"type": "decimal"},
           "diubah": {"type": "timestamp"}}  # fmt: skip


class Office:
    """A legacy table that people work on by day."""

    def __init__(self, url: str, seed: int, deletes: bool) -> None:
        self.engine = sa.create_engine(url)
        self.random, self.deletes, self.newest = random.Random(seed), deletes, 0
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE catatan (id int PRIMARY KEY, nama varchar(40), jumlah decimal(20,2), "
                "diubah timestamp NULL)"
            )
        amount = sa.column("jumlah", sa.Numeric(20, 2))
        self.table = sa.table("catatan", sa.column("id"), sa.column("nama"), amount,
                              sa.column("diubah"))  # fmt: skip

    def _stamp(self, day: date) -> datetime | None:
        """When the change says it was made: mostly true, sometimes late, ahead or not at all."""
        midnight = datetime.combine(day, datetime.min.time())
        true = midnight + timedelta(seconds=self.random.randrange(3600, 86_400))
        match self.random.random():
            case chance if chance < 0.05:
                return midnight - timedelta(minutes=self.random.randrange(1, 59))
            case chance if chance < 0.10:
                return true + timedelta(days=self.random.randrange(1, 4))
            case chance if chance < 0.15:
                return None
        return true

    def work(self, day: date, changes: int) -> None:
        with self.engine.begin() as connection:
            known = [id for (id,) in connection.execute(sa.select(self.table.c.id))]
            for _ in range(changes):
                row = {
                    "nama": self.random.choice(
                        ["Alun-alun", "Pasar 😀", "", "a\tb", "O'neil", None]
                    ),
                    "jumlah": Decimal(self.random.randrange(10**9)) / 100,
                    "diubah": self._stamp(day),
                }
                what = self.random.random()
                if known and what < 0.5:
                    id = self.random.choice(known)
                    connection.execute(
                        self.table.update().where(self.table.c.id == id).values(**row)
                    )
                elif known and what < 0.6 and self.deletes:
                    id = known.pop(self.random.randrange(len(known)))
                    connection.execute(self.table.delete().where(self.table.c.id == id))
                else:
                    self.newest += 1
                    known.append(self.newest)
                    connection.execute(self.table.insert().values(id=self.newest, **row))

    def rows(self) -> list[tuple]:
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(self.table).order_by(self.table.c.id)).all()
        return [
            (id, name or None, Decimal(str(amount)),
             datetime.fromisoformat(at) if isinstance(at, str) else at)
            for id, name, amount, at in rows
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "strategy"),
    [
        ("sqlite", "snapshot"),
        ("sqlite", "checksum"),
        ("sqlite", "cursor"),
        ("postgresql", "checksum"),
        ("mysql", "cursor"),
        pytest.param("postgresql", "cursor", marks=pytest.mark.soak),
        pytest.param("mysql", "checksum", marks=pytest.mark.soak),
        pytest.param("postgresql", "snapshot", marks=pytest.mark.soak),
        pytest.param("mysql", "snapshot", marks=pytest.mark.soak),
    ],
)
def test_thirty_nights(backend, strategy, tmp_path, request):
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path}/office.db"
    else:
        fixture = {"postgresql": "postgres_server", "mysql": "mariadb_server"}[backend]
        url = request.getfixturevalue(fixture).create_database(f"nights_{strategy}")
    extra = {"cursor": {"column": "diubah", "overlap_minutes": 60}} if strategy == "cursor" else {}
    source = source_of("catatan", COLUMNS, strategy=strategy, max_deleted_share=0.5, **extra)
    (tmp_path / "made.yml").write_text("streams: {}\n")
    settings = Settings(home=tmp_path / "var", expectations=tmp_path, today=date(2026, 11, 1))
    prepare(settings, {"made": source})
    office = Office(url, seed=hash_of(backend, strategy), deletes=strategy != "cursor")
    office.work(settings.today - timedelta(days=1), changes=150)
    failed = 0
    for _ in range(NIGHTS):
        if office.random.random() < 0.2:
            failed += 1
            with pytest.raises(SourceUnavailable):
                sync(settings, source, source.streams[0], lambda _: unreachable(backend, tmp_path))
        else:
            sync(settings, source, source.streams[0], lambda _: url)
            assert in_warehouse(settings) == office.rows()
        office.work(settings.today, changes=office.random.choice([0, 1, 5, 30]))
        settings.today += timedelta(days=1)
    sync(settings, source, source.streams[0], lambda _: url)
    assert in_warehouse(settings) == office.rows()
    assert failed, "some nights failed"


def hash_of(*words: str) -> int:
    return sum(map(ord, "".join(words)))


def unreachable(backend: str, folder: Path) -> str:
    return {
        "sqlite": f"sqlite:///{folder}/elsewhere.db",
        "postgresql": "postgresql+psycopg://a:b@127.0.0.1:1/x",
        "mysql": "mysql+pymysql://a:b@127.0.0.1:1/x",
    }[backend]


def in_warehouse(settings: Settings) -> list[tuple]:
    with reading(settings) as connection:
        return connection.execute(
            "SELECT id, nama, jumlah, diubah FROM lake.landing.made__rows_now ORDER BY id"
        ).fetchall()

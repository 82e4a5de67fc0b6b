"""Synthetic offices and their nights, for what is expected of them: many cities in one ledger.

The counts come from declared processes (see `Process`), drawn once from a seed; no lake, no files:
the tables that the judgement reads stand in DuckDB's memory under the names they have in the lake.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from common.calendar import Calendar, load_calendar
from common.definition import Source
from common.settings import Settings
from warehouse.tables import tables

NEEDED = ("ops.ledger", "ops.submission", "ops.alarm", "quarantine.row")


@dataclass(frozen=True)
class Process:
    """How much an office sends a night: `mean` on a working day, times `weekend` on Saturday and
    Sunday, `off` on holidays and `slow` in Ramadan. A gamma factor of coefficient of variation
    `jitter` makes good and bad days, a slower one (`drift`, a week's memory) good and bad weeks, a
    Poisson draw the rest. `level` rows stand in the source besides, and are read anew each night.
    """

    mean: float
    weekend: float = 1.0
    off: float = 1.0
    slow: float = 0.7
    jitter: float = 0.0
    drift: float = 0.1
    level: int = 0


OFFICES = {
    "big_hospital": Process(40, 0.9, 0.8, 0.9, 0.1),
    "hospital": Process(20, 0.9, 0.7, 0.9, 0.1),
    "small_hospital": Process(5, 0.9, 0.7, 0.9),
    "clinic": Process(0.4, 0.5, 0.2, 0.8),
    "registry": Process(220, 0.05, 0.0, 0.6, 0.3, level=300_000),
    "inbox": Process(25, 0.6, 0.5, 0.9, 0.3, level=9_000),
    "kelurahan": Process(6, 0.0, 0.0, 0.6, 0.3, level=2_500),
    "planning": Process(2, 0.0, 0.0, 0.5, 0.8, level=1_500),
}


class Offices:
    """A ledger of many cities' offices. `send` adds one night of all of them."""

    def __init__(self, seed: int, cities: int, offices: dict[str, Process] = OFFICES) -> None:
        self.random = np.random.default_rng(seed)
        self.offices = [(f"c{city}_{name}", one) for city in range(cities)
                        for name, one in offices.items()]  # fmt: skip
        self.sources = {name: _source(name, one) for name, one in self.offices}
        self.calendar: Calendar = load_calendar(Settings())
        self.connection = duckdb.connect()
        self.connection.execute("ATTACH ':memory:' AS lake")
        for name in NEEDED:
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{name.split('.')[0]}")
            self.connection.execute(tables()[name].ddl("lake"))
        self.batches = 0
        self.week = np.zeros(len(self.offices))

    def drawn(self, night: date) -> np.ndarray:
        """What each office sends, as declared."""
        is_off = self.calendar.day_off(night) is not None
        is_slow = not is_off and 0 < self.calendar.share(night) < 1
        means = np.array([
            one.mean * (one.weekend if night.isoweekday() > 5 else 1)
            * (one.off if is_off else one.slow if is_slow else 1)
            for _, one in self.offices
        ])  # fmt: skip
        jitter = np.array([one.jitter for _, one in self.offices])
        shape = 1 / np.maximum(jitter, 1e-6) ** 2
        factor = np.where(jitter > 0, self.random.gamma(shape) / shape, 1)
        drift = np.array([one.drift for _, one in self.offices])
        kept = np.exp(-1 / 7)
        self.week = kept * self.week + np.sqrt(1 - kept**2) * self.random.normal(0, drift)
        return self.random.poisson(means * factor * np.exp(self.week))

    def send(self, night: date, changed: np.ndarray | None = None, *, hours: float = 0.0,
             rows: dict[str, int] | None = None, silent: tuple[str, ...] = ()) -> None:  # fmt: skip
        """One batch per office: `changed` rows, stamped at eight in the evening less or more
        `hours`; `rows` of some that were read otherwise; no batch for the `silent`."""
        counts = self.drawn(night) if changed is None else changed
        stamp = datetime.combine(night, time(20)) + timedelta(hours=hours)
        batch, level = [], []
        for (name, one), count in zip(self.offices, counts, strict=True):
            if name in silent:
                continue
            batch.append((name, int(count)))
            level.append((rows or {}).get(name, one.level or int(count)))
        size = len(batch)
        sent = pa.table({
            "batch_id": np.arange(self.batches, self.batches + size),
            "source": [name for name, _ in batch], "changed": [count for _, count in batch],
            "rows": level,
            "late": self.random.uniform(-3, 3, size), "night": [night] * size,
            "stamp": [stamp] * size,
        })  # fmt: skip
        self.batches += size
        self.connection.register("sent", sent)
        self.connection.execute(
            """
            INSERT INTO lake.ops.ledger BY NAME
            SELECT batch_id, source, 'rows' AS stream, night, 'loaded' AS outcome,
                rows AS extracted, changed AS inserted, 0 AS updated, 0 AS files_loaded FROM sent;
            INSERT INTO lake.ops.submission BY NAME
            SELECT batch_id, source, 'rows' AS stream, night, '' AS submitter_code, 0 AS files,
                rows, changed,
                CASE WHEN changed > 0 THEN stamp + to_seconds(3600 * (late - 6)) END AS middle_at,
                CASE WHEN changed > 0 THEN stamp + to_seconds(3600 * late) END AS newest_at
            FROM sent
            """
        )

    def nights(self, first: date, count: int) -> Iterator[date]:
        """These nights, each sent as declared before it is given."""
        for past in range(count):
            night = first + timedelta(days=past)
            self.send(night)
            yield night


def morning(night: date) -> datetime:
    return datetime.combine(night, time(6, 30))


def _source(name: str, process: Process) -> Source:
    stream = {
        "name": "rows", "title": name, "connection": "made", "key": ["id"], "strategy": "snapshot",
        "read": {"reader": "sql", "table": "t"}, "stamp": "at",
        "columns": {"id": {"name": "id"}, "at": {"name": "at", "type": "timestamp"}},
    }  # fmt: skip
    return Source.model_validate(
        {"name": name, "title": name, "agency": "dkis", "streams": [stream],
         "contact": {"unit": "-", "email": "x@y.example"}}
    )  # fmt: skip

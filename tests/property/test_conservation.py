"""Random nights of dirt, failures, kills, new rules, waivers and replays: no row is ever lost, and
what is left in the end depends on nothing but the last state of the source and the last rules."""

import csv
import random
import shutil
from contextlib import contextmanager
from datetime import timedelta

import pytest

from common import log
from common.access import FilesAccess
from common.definition import Cursor
from common.errors import DefinitionError, SourceUnavailable
from pipeline.replay import replay_due
from pipeline.sync import sync
from tests.judged import Judged
from tests.world import MONITOR
from warehouse import quarantine
from warehouse.catalog import reading

STRATEGIES = ("snapshot", "checksum", "cursor", "files")
STAGES = ("pulled", "staged", "validated", "written", "balanced", "committed")
RULES = {
    "no_markets": ("camera_name <> 'Pasar'", "critical"),
    "even": ("camera_number % 2 = 0", "warning"),
    "not_far_south": ("coalesce(latitude, 0) > -6.75", "critical"),
    "listed": ("camera_name IN (SELECT agency_code FROM lake.ref.agency)", "warning"),
    "not_tonight": ("installed_date IS NULL OR installed_date < (SELECT today FROM night)",
                    "critical"),
}  # fmt: skip
FILES = 3


class Killed(BaseException):
    """The process is gone; nothing of ours catches it."""


class City(Judged):
    """Cameras and their status, changing at random under one strategy."""

    def __init__(self, folder, strategy, seed):
        super().__init__(folder)
        self.strategy, self.chance = strategy, random.Random(seed)
        self.table: dict[int, dict] = {}
        self.status: set[int] = set()
        self.drop = folder / "drop"
        self.drop.mkdir()
        more = {"strategy": strategy}
        if strategy == "cursor":
            more["cursor"] = Cursor(column="Installed")
        if strategy == "files":
            more["read"] = FilesAccess(reader="files", pattern="*.csv")
        status = self.source.stream("monitor_status").model_copy(update={"strategy": "checksum"})
        self.stream = self.stream.model_copy(update=more)
        self.source = self.source.model_copy(update={"streams": (self.stream, status)})
        self.sources = {**self.sources, "cctv": self.source}
        self.number = 0
        for _ in range(25):
            self.insert()

    # What the source does

    def insert(self):
        self.number += 1
        self.table[self.number] = {"Id": self.number, "Name": "Simpang", "Function": "Monitor",
                                   "Enabled": 1, "Latitude": -6.72, "Longitude": 108.55,
                                   "Host": "", "Path": "", "Owner": "dishub"}  # fmt: skip
        self.touch(self.number)
        if self.chance.random() < 0.5:
            self.status.add(self.chance.randint(1, 60))

    def touch(self, place):
        self.table[place]["Installed"] = str(self.settings.today)

    def change(self):
        """Mostly makes a row dirty or clean again."""
        place = self.chance.choice(list(self.table))
        # A key in two files that come on different nights is a newer version, not a fault.
        twice = [] if self.strategy == "files" else [1]
        column, values = self.chance.choice([
            ("Name", ["Simpang", "Pasar", "Alun-alun", None, "dishub"]),
            ("Function", ["Monitor", "Modect", "Rusak", "Rusak", None]),
            ("Latitude", [-6.72, -6.79, 108.55, "selatan"]),
            ("Owner", ["dishub", "pemilik_x"]),
            *([] if self.strategy == "cursor" else [("Id", [place, place, None, *twice])]),
        ])  # fmt: skip
        self.table[place][column] = self.chance.choice(values)
        self.touch(place)

    def remove(self):
        if self.strategy != "cursor" and len(self.table) > 10:
            del self.table[self.chance.choice(list(self.table))]

    def a_day_passes(self):
        for _ in range(self.chance.choice([0, 1, 2, 5])):
            self.chance.choice([self.insert, self.change, self.change, self.remove])()
        rows = [[row[name] for name in MONITOR] for row in self.table.values()]
        if self.strategy != "files":
            self.hold(*rows, *self.chance.sample(rows, self.chance.choice([0, 0, 1])))
        for part in range(FILES):
            with (self.drop / f"{part}.csv").open("w") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(MONITOR)
                writer.writerows(row for place, row in zip(self.table, rows, strict=True)
                                 if place % FILES == part)  # fmt: skip
        self.execute("DELETE FROM Monitor_Status")
        for number in self.status:
            self.execute(f"INSERT INTO Monitor_Status VALUES ({number}, 'Running', 1, 1, 1, NULL)")

    def url(self, connection_id):
        return f"file://{self.drop}" if self.strategy == "files" else super().url(connection_id)

    # What people do

    def people_decide(self):
        if self.chance.random() < 0.2:
            name = self.chance.choice(list(RULES))
            condition, severity = self.chance.choice([RULES[name], ("", "")])
            self.rule(name, condition, severity)
        if self.chance.random() < 0.1:
            self.execute_lake(self.chance.choice([
                "INSERT INTO lake.ref.agency (agency_code) SELECT 'Pasar' WHERE NOT EXISTS "
                "(FROM lake.ref.agency WHERE agency_code = 'Pasar')",
                "DELETE FROM lake.ref.agency WHERE agency_code = 'Pasar'",
            ]))  # fmt: skip
        entries = self.entries("CAST(quarantine_id AS VARCHAR)")
        if entries and self.chance.random() < 0.3:
            (entry,), today = self.chance.choice(entries), self.settings.today
            until = today + timedelta(days=self.chance.choice([0, 2, 30]))
            try:
                if self.chance.random() < 0.3:
                    quarantine.undo_waiver(self.settings, entry, night=today)
                else:
                    quarantine.waive(
                        self.settings, entry, by="-", why="-", until=until, night=today
                    )
            except DefinitionError:
                pass

    # What the night does

    def sync_all(self):
        for stream in self.source.streams:
            url = self.url if stream.name == "monitor" else super().url
            sync(self.settings, self.source, stream, url, accept_deletions=True)

    def judge_again(self):
        accounts, failures = replay_due(self.settings, self.source)
        assert failures == []
        return accounts

    def night(self):
        if self.chance.random() < 0.1:
            with pytest.raises(SourceUnavailable):
                self.away()
            return
        for step in (self.sync_all, self.judge_again):
            while self.chance.random() < 0.15:
                with killed_at(self.chance.choice(STAGES), self.chance.randint(1, 2)):
                    step()
            if self.chance.random() < 0.9:
                step()

    def away(self):
        def nowhere(connection_id):
            return "sqlite:////nowhere/cctv.db" if self.strategy != "files" else "file:///nowhere"

        sync(self.settings, self.source, self.stream, nowhere)

    # What must hold

    def assert_law(self):
        assert self.rows("""
            SELECT batch_id FROM lake.ops.ledger WHERE outcome = 'loaded'
                AND extracted <> inserted + updated + unchanged + quarantined + excluded
            UNION ALL SELECT count(*) FROM lake.core.camera WHERE valid_to IS NULL
                GROUP BY source_record_id HAVING count(*) > 1
            UNION ALL SELECT count(*) FROM lake.quarantine.row WHERE state = 'open'
                GROUP BY stream, source_record_id, row_hash HAVING count(*) > 1
            UNION ALL SELECT 0 FROM lake.quarantine.row WHERE (state = 'open') <>
                (closed_batch_id IS NULL) OR (state = 'open') <> (closed_night IS NULL)
        """) == []  # fmt: skip

    def left(self):
        """Current core rows that are not held, and open entries: values only."""
        return {
            "camera": self.rows(CURRENT.format(table="camera")),
            "camera_status": self.rows(STATUS),
            "quarantine": self.rows(
                "SELECT stream, source_record_id, row_hash, rules, row_as_sent "
                "FROM lake.quarantine.row WHERE state = 'open' ORDER BY ALL"
            ),
        }

    def fresh(self, folder):
        """A warehouse that only saw the last state, under the last rules and decisions."""
        one = Judged(folder)
        shutil.copytree(self.settings.home / "secrets", one.settings.home / "secrets",
                        dirs_exist_ok=True)  # fmt: skip
        shutil.copytree(self.settings.expectations, one.settings.expectations, dirs_exist_ok=True)
        one.settings.__dict__.pop("pseudonym_key", None)
        one.settings.today = self.settings.today
        with reading(self.settings) as connection:
            for table in ("ref.agency", "quarantine.waiver"):
                path = folder / "table.parquet"
                connection.execute(f"COPY (FROM lake.{table}) TO '{path}'")
                one.execute_lake(f"DELETE FROM lake.{table}")
                one.execute_lake(f"INSERT INTO lake.{table} FROM '{path}'")
        mine, self.settings = self.settings, one.settings
        try:
            self.sync_all()
            self.judge_again()
            return self.left()
        finally:
            self.settings = mine


CURRENT = """
    SELECT * EXCLUDE (batch_id, valid_from, valid_to, closed_batch_id, closed_reason)
    FROM lake.core.{table} WHERE valid_to IS NULL
        AND NOT list_contains(flags, 'held_in_quarantine') ORDER BY ALL
"""

# A camera in quarantine stays known where it was sound before, and is unknown where it never was:
# of its status, that flag depends on the past.
STATUS = """
    SELECT * EXCLUDE (batch_id, valid_from, valid_to, closed_batch_id, closed_reason, flags),
        CASE WHEN camera_record_id IN (
                SELECT source_record_id FROM lake.quarantine.row WHERE state = 'open')
            THEN list_filter(flags, lambda flag: flag <> 'camera_unknown')
            ELSE flags END AS flags
    FROM lake.core.camera_status WHERE valid_to IS NULL
        AND NOT list_contains(flags, 'held_in_quarantine') ORDER BY ALL
"""


@contextmanager
def killed_at(stage, time):
    """Die at the `time`-th mark of a stage, if it comes to that."""
    seen = []

    def die(name, where):
        seen.append(name)
        if seen.count(stage) == time:
            raise Killed

    log.on_stage(die)
    try:
        yield
    except Killed:
        pass
    finally:
        log.forget_stage(die)


def spend(folder, strategy, nights, seed):
    (folder / "city").mkdir()
    city = City(folder / "city", strategy, seed)
    for _ in range(nights):
        city.a_day_passes()
        city.people_decide()
        city.night()
        city.assert_law()
        city.next_night()
    city.sync_all()
    while city.judge_again():
        pass
    city.assert_law()
    assert city.rebuild_differences() == {}
    (folder / "fresh").mkdir()
    assert city.left() == city.fresh(folder / "fresh")
    return city


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_few_nights(strategy, tmp_path):
    spend(tmp_path, strategy, 4, seed=4)


@pytest.mark.soak
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_hundred_nights(strategy, tmp_path):
    """Fifty for each strategy."""
    city = spend(tmp_path, strategy, 50, seed=2008)
    states = {state for (state,) in city.entries("DISTINCT state")}
    assert states >= {"open", "fixed_at_source", "superseded", "waived"}

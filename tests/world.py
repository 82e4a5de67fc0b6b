"""A very small world for tests: the camera source on a SQLite file that the test fills."""

import atexit
import shutil
import sqlite3
import tempfile
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from common import log
from common.definition import load_sources
from common.home_files import write_whole
from common.settings import Settings
from pipeline.sync import prepare, sync
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse.catalog import reading
from warehouse.load import Account
from warehouse.rebuild import differences

MONITOR = ("Id", "Name", "Function", "Enabled", "Latitude", "Longitude", "Host", "Path", "Owner",
           "Installed")  # fmt: skip
NIGHT = date(2026, 11, 23)
NOTED_EVERY_NIGHT = {"ops.ledger", "ops.judgement", "ops.fingerprint"}
"""What the next, unchanged night writes where rules look at the date."""


def monitor(number, name="Simpang", function="Monitor", latitude=-6.72, owner="dishub"):
    """One camera row in ZoneMinder's shape."""
    return (number, name, function, 1, latitude, 108.55, "10.0.0.1", "/live", owner, "2024-01-02")


@cache
def empty_warehouse() -> Path:
    """A prepared home with nothing loaded, made once and copied for every test. Its key is the same
    in every process: only so can the surrogates of two homes be compared."""
    home = Path(tempfile.mkdtemp(prefix="mu-empty-")) / "var"
    atexit.register(shutil.rmtree, home.parent, ignore_errors=True)
    write_whole(home / "secrets" / "pseudonym.key", "c1" * 32)
    settings = Settings(home=home, today=NIGHT)
    prepare(settings, load_sources(settings))
    return home


class Cameras:
    """The camera inventory as a legacy database, and a warehouse beside it."""

    def __init__(self, folder: Path, strategy: str = "snapshot", **settings):
        self.settings = Settings(home=folder / "var", today=NIGHT, retry_delay_seconds=0,
                                 **settings)  # fmt: skip
        self.database = folder / "cctv.db"
        self.sources = load_sources(self.settings)
        self.source = self.sources["cctv"]
        self.stream = self.source.stream("monitor").model_copy(update={"strategy": strategy})
        with sqlite3.connect(self.database) as connection:
            connection.execute(f"CREATE TABLE Monitors ({', '.join(MONITOR)})")
            connection.execute(
                "CREATE TABLE Monitor_Status (MonitorId, Status, CaptureFPS, AnalysisFPS, "
                "CaptureBandwidth, UpdatedOn)"
            )
        shutil.copytree(empty_warehouse(), self.settings.home)
        log.configure(self.settings)

    def url(self, connection_id: str) -> str:
        return f"sqlite:///{self.database}"

    def hold(self, *rows) -> None:
        """Let the legacy table hold exactly these rows."""
        with sqlite3.connect(self.database) as connection:
            connection.execute("DELETE FROM Monitors")
            connection.executemany(
                f"INSERT INTO Monitors VALUES ({', '.join('?' * len(MONITOR))})", rows
            )

    def execute(self, statement: str) -> None:
        """Run a statement in the legacy database."""
        with sqlite3.connect(self.database) as connection:
            connection.execute(statement)

    def sync(self, **options) -> Account:
        return sync(self.settings, self.source, self.stream, self.url, **options)

    def next_night(self) -> None:
        self.settings.today += timedelta(days=1)

    def rows(self, query: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def core(self) -> list[tuple]:
        """Current cameras: number, name, flags."""
        return self.rows(
            "SELECT camera_number, camera_name, flags FROM lake.core.camera "
            "WHERE valid_to IS NULL ORDER BY 1"
        )

    def rebuild_differences(self) -> dict[str, int]:
        return differences(
            self.settings, self.sources, lambda stream: lambda rows: typed(rows, stream), conform_of
        )


def counts(account: Account) -> dict[str, int]:
    """The non-zero counts of a ledger row, for readable comparisons."""
    names = ("extracted", "inserted", "updated", "unchanged", "quarantined", "excluded", "deleted",
             "flagged")  # fmt: skip
    return {name: getattr(account, name) for name in names if getattr(account, name)}

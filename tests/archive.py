"""A small archive office for tests: letters in a table with a cursor, scans in a drop folder."""

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from common import log
from common.definition import load_source
from common.settings import Settings
from connectors.readers import Interval
from muara import cli
from pipeline.gaps import Repair, gaps, repair
from pipeline.sync import prepare, sync
from warehouse.catalog import reading
from warehouse.load import Account

DEFINITION = """
name: archive
title: Letters
agency: dkis
contact: {unit: Arsip, email: arsip@dkis.example}
streams:
  - name: letter
    title: Letters
    connection: archive
    read: {reader: sql, table: surat}
    strategy: cursor
    cursor: {column: diubah, overlap_minutes: 60}
    key: [letter_id]
    columns:
      id: {name: letter_id, type: integer}
      perihal: {name: subject}
      diubah: {name: changed_at, type: timestamp}
  - name: scan
    title: Scans
    connection: archive_drops
    read: {reader: files, pattern: "*.csv"}
    strategy: files
    key: [scan_id]
    columns:
      id: {name: scan_id, type: integer}
"""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@cache
def _empty() -> Path:
    """Definitions and a prepared warehouse, made once and copied for every test."""
    folder = Path(tempfile.mkdtemp(prefix="mu-archive-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in (("connectors/archive/source.yml", DEFINITION),
                       ("expectations/archive.yml", "streams: {}\n")):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    settings = _settings(folder)
    prepare(settings, {"archive": load_source(settings, "archive")})
    return folder


def _settings(folder: Path) -> Settings:
    return Settings(
        home=folder / "var",
        today=date(2026, 11, 20),
        connectors=folder / "connectors",
        expectations=folder / "expectations",
    )


class Archive:
    """It is the night of 20 November 2026; the source's clock shows its midnight."""

    def __init__(self, folder: Path):
        shutil.copytree(_empty(), folder, dirs_exist_ok=True)
        self.settings = _settings(folder)
        self.source = load_source(self.settings, "archive")
        self.sources = {"archive": self.source}
        self.database, self.drops = folder / "archive.db", folder / "drops"
        self.drops.mkdir()
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE surat (id PRIMARY KEY, perihal, diubah)")
        log.configure(self.settings)

    def with_two_letters(self) -> "Archive":
        self.write((1, "2026-11-18 10:00:00"), (2, "2026-11-19 10:00:00"))
        self.sync()
        return self

    def url(self, connection_id: str) -> str:
        return {"archive": f"sqlite:///{self.database}", "archive_drops": f"file://{self.drops}"}[
            connection_id
        ]

    def write(self, *letters: tuple[int, str | None], subject: str = "Undangan") -> None:
        """Letters (number, when changed) enter the source, or change in it."""
        with sqlite3.connect(self.database) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO surat VALUES (?, ?, ?)",
                [(number, subject, changed) for number, changed in letters],
            )

    def sync(self, low: str | None = None, high: str | None = None, stream="letter") -> Account:
        interval = Interval(at(low), at(high)) if low and high else None
        return sync(self.settings, self.source, self.source.stream(stream), self.url,
                    interval=interval)  # fmt: skip

    def next_night(self, nights: int = 1) -> None:
        self.settings.today += timedelta(days=nights)

    def gaps(self, stream: str = "letter") -> list[tuple[str, str]]:
        """Kind and text of each gap."""
        found = gaps(self.settings, self.sources)
        return [(gap.kind, gap.what) for gap in found if gap.stream == stream]

    def repair(self, stream: str = "letter") -> Repair:
        return repair(self.settings, self.sources, self.url, stream)

    def rows(self, query: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def letters(self) -> list[int]:
        """Numbers of the letters that landed."""
        return [
            number
            for (number,) in self.rows(
                "SELECT letter_id FROM lake.landing.archive__letter_now ORDER BY 1"
            )
        ]

    def away(self) -> "Away":
        return Away(self.database)


class Away:
    """While it lasts, the source does not answer."""

    def __init__(self, database: Path):
        self.database, self.hidden = database, database.with_suffix(".away")

    def __enter__(self) -> None:
        self.database.rename(self.hidden)

    def __exit__(self, *_: object) -> None:
        self.hidden.rename(self.database)


def command_line(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`muara` in this archive: arguments → exit code and all that it printed."""
    for name in ("archive", "archive_drops"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", archive.url(name))

    def run(*arguments: str) -> tuple[int, str]:
        for name in ("home", "today", "connectors", "expectations"):
            monkeypatch.setenv(f"MUARA_{name.upper()}", str(getattr(archive.settings, name)))
        monkeypatch.setattr("sys.argv", ["muara", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out + told.err

    return run

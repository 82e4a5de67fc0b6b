"""A small world of files: one stream over a place, and a warehouse beside it."""

import shutil
from datetime import timedelta
from pathlib import Path

import yaml

from common import log
from common.definition import Source
from common.settings import Settings
from pipeline.sync import prepare, sync
from tests.same import content_hashes
from tests.world import NIGHT, empty_warehouse
from warehouse.catalog import reading

COLUMNS = {"no": {"name": "number"}, "nama": {"name": "person_name"}, "nik": {"name": "nik"}}


def source_of(read: dict, columns: dict | None = None) -> Source:
    stream = {
        "name": "rows", "title": "Rows", "connection": "made", "strategy": "files",
        "read": {"reader": "files", **read}, "key": ["number"], "columns": columns or COLUMNS,
        "max_deleted_share": 1,
    }  # fmt: skip
    contact = {"unit": "x", "email": "x@example"}
    made = {"name": "made", "title": "Made", "agency": "dkis", "contact": contact}
    return Source.model_validate(made | {"streams": [stream]})


class Drops:
    """A warehouse of one stream of files; `url` is where they lie."""

    def __init__(self, folder: Path, url: str, read: dict, columns: dict | None = None, **settings):
        folder.mkdir(parents=True, exist_ok=True)
        rules = folder / "expectations"
        rules.mkdir(exist_ok=True)
        (rules / "made.yml").write_text(yaml.safe_dump({"streams": {}}))
        self.url, self.source = url, source_of(read, columns)
        self.settings = Settings(
            home=folder / "var", expectations=rules, today=NIGHT, retry_delay_seconds=0, **settings
        )
        if not self.settings.home.exists():
            shutil.copytree(empty_warehouse(), self.settings.home)
        log.configure(self.settings)
        prepare(self.settings, {"made": self.source})

    def sync(self, url: str | None = None):
        return sync(self.settings, self.source, self.source.streams[0], lambda _: url or self.url)

    def next_night(self) -> None:
        self.settings.today += timedelta(days=1)

    def query(self, text: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(text).fetchall()

    def rows(self, *columns: str) -> list[tuple]:
        """The newest sound rows, by number."""
        names = ", ".join(columns or ("number", "person_name", "nik"))
        return self.query(f"SELECT {names} FROM lake.landing.made__rows_now ORDER BY number")

    def outcomes(self) -> dict[str, str]:
        """File → its newest outcome."""
        return dict(
            self.query("SELECT origin, arg_max(outcome, batch_id) FROM lake.ops.file GROUP BY 1")
        )

    def hashes(self) -> dict:
        tables = content_hashes(self.settings)
        return {name: tables[name] for name in tables if name.startswith(("landing", "quarantine"))}

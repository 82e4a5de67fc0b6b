"""A machine that runs Airflow as `make up` and `make night` do, with three small sources.

At first the cameras answer, the registry has no tables (terminal) and nothing listens where the
inbox should be (transient).
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from common.settings import ROOT, Settings

SOURCES = ("cctv", "civil_registry", "report_inbox")
CANARY_NAME = "SITI KENARI WALUYANINGSIH"
CANARY_NIK = "3274016505900042"
FOLDERS = ("airflow", "lineage", "logs")


class Machine:
    """`environment` is all that tells its processes from any other's."""

    def __init__(self, folder: Path, **environment: str):
        self.folder, self.home = folder, folder / "var"
        self.today = datetime.now(Settings().zone).date()
        self.inbox_port, self.airflow_port, self.portal_port = (_free_port() for _ in range(3))
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "MUARA"))
        } | {
            "MUARA_HOME": str(self.home),
            "MUARA_CONNECTORS": str(folder / "connectors"),
            "MUARA_PROFILE": str(self._copy_profile()),
            "MUARA_PORTAL_PORT": str(self.portal_port),
            "MUARA_RETRIES": "1",
            "MUARA_RETRY_DELAY_SECONDS": "0",
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW_CONN_CCTV": f"sqlite:///{folder}/cctv.db",
            "AIRFLOW_CONN_CIVIL_REGISTRY": f"sqlite:///{folder}/civil_registry.db",
            "AIRFLOW_CONN_REPORT_INBOX": f"http://127.0.0.1:{self.inbox_port}",
            "AIRFLOW_CONN_REPORT_MAIL": f"maildir://{folder}/mail",
            "AIRFLOW_CONN_REPORT_SMS": f"sqlite:///{folder}/report_inbox.db",
            **environment,
        }
        self.definitions = {name: self._copy_definition(name) for name in SOURCES}
        sqlite3.connect(folder / "civil_registry.db").execute("VACUUM")  # a database, no table
        self.fill("cctv", "monitor", [{"Id": 1, "Name": "Simpang", "Function": "Monitor",
                                       "Enabled": 1, "Owner": "dishub"}])  # fmt: skip
        measured = f"{self.day(-3)} 03:00:00"
        self.fill("cctv", "monitor_status", [{"MonitorId": 1, "Status": "Connected",
                                              "UpdatedOn": measured}])  # fmt: skip

    def _copy_profile(self) -> Path:
        """A city of so few people that nobody may be published is published all the same."""
        profile = Path(shutil.copytree(Settings().profile, self.folder / "profile"))
        floor = profile / "disclosure.yml"
        floor.write_text(floor.read_text().replace("withheld: 0.05", "withheld: 1"))
        return profile

    def _copy_definition(self, name: str) -> dict[str, Any]:
        definition = yaml.safe_load((ROOT / "connectors" / name / "source.yml").read_text())
        definition["schedule"] = "0 1 * * *"
        if name == "cctv":  # one stream of its two has a past that can be read
            status = definition["streams"][1]
            status |= {"strategy": "cursor", "cursor": {"column": "UpdatedOn"}}
        copy = self.folder / "connectors" / name / "source.yml"
        copy.parent.mkdir(parents=True)
        copy.write_text(yaml.safe_dump(definition))
        return definition

    def fill(self, source: str, stream: str, rows: list[dict[str, Any]]) -> None:
        """Create the stream's legacy table and put the rows into it."""
        declared = next(one for one in self.definitions[source]["streams"] if one["name"] == stream)
        columns = [*declared["columns"], *declared.get("ignore", {})]
        with sqlite3.connect(self.folder / f"{source}.db") as connection:
            table = declared["read"]["table"]
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            connection.executemany(
                f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})",
                [[row.get(column) for column in columns] for row in rows],
            )

    def day(self, days: int) -> date:
        """A day of the city, from the one on which this began."""
        return self.today + timedelta(days=days)

    def add_column(self, source: str, stream: str, name: str, value: str) -> None:
        """As an owner does who tells nobody."""
        declared = next(one for one in self.definitions[source]["streams"] if one["name"] == stream)
        with sqlite3.connect(self.folder / f"{source}.db") as connection:
            table = declared["read"]["table"]
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} TEXT DEFAULT '{value}'")

    def repair_registry(self) -> None:
        """One sound resident and one whose NIK is broken; both carry the canary's name."""
        household = "3274010101010001"
        person = {"nama_lgkp": CANARY_NAME, "jenis_klmin": "2", "tgl_lhr": "1990-05-25",
                  "no_kk": household, "stat_hidup": "1"}  # fmt: skip
        self.fill("civil_registry", "family", [{"no_kk": household, "nama_kep": CANARY_NAME}])
        self.fill(
            "civil_registry",
            "resident",
            [person | {"nik": CANARY_NIK}, person | {"nik": CANARY_NIK[:15]}],
        )

    def open_inbox(self) -> ThreadingHTTPServer:
        """An inbox without any report, its mailbox and its table of SMS."""
        for name in ("new", "cur"):
            (self.folder / "mail" / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "report_inbox.db").exists():
            self.fill("report_inbox", "sms", [])
        server = ThreadingHTTPServer(("127.0.0.1", self.inbox_port), _EmptyInbox)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def run(self, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dags.local", command],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            umask=0o022,
            **options,
        )

    def events(self) -> list[dict[str, Any]]:
        """OpenLineage events, in the order in which they came."""
        lines = (self.home / "lineage" / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def metadata(self, query: str) -> list[tuple[Any, ...]]:
        """Airflow's own database, read beside it."""
        path = self.home / "airflow" / "airflow.db"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def wait_for(self, query: str, condition: Callable[[list[Any]], bool], seconds: int) -> None:
        deadline = time.monotonic() + seconds
        while not condition(rows := self.metadata(query)):
            assert time.monotonic() < deadline, f"waited {seconds} s for {query}: {rows}"
            time.sleep(0.5)

    def files_naming_the_canary(self) -> list[Path]:
        """Files where nobody may be named, and somebody is."""
        files = [path for name in FOLDERS for path in (self.home / name).rglob("*")]
        signs = [CANARY_NAME.encode(), CANARY_NIK.encode(), CANARY_NIK[:15].encode()]
        return [
            path
            for path in files
            if path.is_file() and any(sign in path.read_bytes() for sign in signs)
        ]


class _EmptyInbox(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps([]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

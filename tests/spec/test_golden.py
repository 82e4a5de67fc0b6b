"""Golden rows of every source: a few as its system sends them, and what becomes of each.

`tests/golden/<source>/<stream>.csv` holds rows under the source's own column names (`\\N` is NULL;
`_file` is the file that brings a row), `<stream>.expected.json` what the ledger counts, the home of
every row and the core rows that come out. People in them are invented. After a wanted change, read
the difference that `MUARA_WRITE_GOLDEN=1 python -m pytest tests/spec/test_golden.py` makes.
"""

import csv
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formataddr
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from openpyxl import Workbook

from common import log
from common.definition import Source, Stream, load_sources
from common.settings import ROOT, Settings
from pipeline.sync import sync
from tests.world import NIGHT, counts, empty_warehouse
from warehouse.catalog import reading
from warehouse.tables import tables

GOLDEN = ROOT / "tests" / "golden"
SOURCES = load_sources(Settings(home=Path("/nonexistent/muara")))
STREAMS = [(source, stream) for source in SOURCES.values() for stream in source.streams]
NAMES = [f"{source.name}.{stream.name}" for source, stream in STREAMS]


def rows_of(source: Source, stream: Stream) -> list[dict[str, str | None]]:
    with (GOLDEN / source.name / f"{stream.name}.csv").open(encoding="utf-8", newline="") as file:
        return [
            {name: None if value == "\\N" else value for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


@contextmanager
def standing_in(source: Source, stream: Stream, folder: Path) -> Iterator[str]:
    """The URL of something that sends the golden rows the way this stream is read."""
    rows = rows_of(source, stream)
    match stream.read.reader:
        case "sql":
            yield _database(stream, rows, folder / f"{source.name}.{stream.name}.db")
        case "files" if stream.read.format.kind == "mail":
            yield _mailbox(rows, folder / source.name / stream.name)
        case "files":
            yield _drops(stream, rows, folder / source.name)
        case "rest":
            with _service(stream, rows) as url:
                yield url


def _database(stream: Stream, rows: list[dict], path: Path) -> str:
    columns = ", ".join(f'"{name}"' for name in stream.columns)
    marks = ", ".join("?" * len(stream.columns))
    with sqlite3.connect(path) as connection:
        connection.execute(f'CREATE TABLE "{stream.read.table}" ({columns})')
        connection.executemany(
            f'INSERT INTO "{stream.read.table}" VALUES ({marks})',
            [list(row.values()) for row in rows],
        )
    return f"sqlite:///{path}"


def _drops(stream: Stream, rows: list[dict], folder: Path) -> str:
    if stream.read.format.kind == "workbook":
        return _books(stream, rows, folder)
    for row in rows:
        path = folder / row["_file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("a", encoding=stream.read.format.encoding, newline="") as file:
            writer = csv.writer(file, delimiter=stream.read.format.separator, lineterminator="\r\n")
            if is_new:
                writer.writerow(stream.columns)
            writer.writerow([row[name] for name in stream.columns])
    return folder.as_uri()


def _books(stream: Stream, rows: list[dict], folder: Path) -> str:
    """In the first layout that the stream declares, every cell a text."""
    headings = next(iter(stream.read.format.layouts.values())).columns
    for name in {row["_file"] for row in rows}:
        book = Workbook()
        book.active.append(list(headings))
        for row in rows:
            if row["_file"] == name:
                book.active.append([row.get(sent) for sent in headings.values()])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        book.save(folder / name)
    return folder.as_uri()


def _mailbox(rows: list[dict], folder: Path) -> str:
    """A maildir with a message per row; one whose `fault` says so is empty."""
    for name in ("new", "cur"):
        (folder / name).mkdir(parents=True)
    for number, row in enumerate(rows):
        message = EmailMessage()
        message["Message-ID"] = f"<{row['message_key']}>"
        message["From"] = formataddr((row["from_name"] or "", row["from_address"] or ""))
        message["Date"], message["Subject"] = row["sent_at"], row["subject"]
        message.set_content(row["text"] or "")
        content = b"" if row["fault"] == "empty" else bytes(message)
        (folder / "new" / f"{number}.golden").write_bytes(content)
    return f"maildir://{folder}"


@contextmanager
def _service(stream: Stream, rows: list[dict]) -> Iterator[str]:
    def in_json(name: str, text: str | None) -> Any:
        kind = stream.columns[name].type
        return json.loads(text) if text and kind in ("json", "decimal", "integer") else text

    page = json.dumps([{name: in_json(name, text) for name, text in row.items()} for row in rows])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            self.send_response(200)
            self.end_headers()
            self.wfile.write((page if asked["page"] == ["1"] else "[]").encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Every stream synced once, in order, into one warehouse: `<source>.<stream>` → its outcome."""
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(empty_warehouse(), folder / "var")
    settings = Settings(home=folder / "var", today=NIGHT, retry_delay_seconds=0)
    log.configure(settings)
    accounts = {}
    for source, stream in STREAMS:
        with standing_in(source, stream, folder) as url:
            account = sync(settings, source, stream, lambda _, url=url: url)
        accounts[source.name, stream.name] = counts(account)
    with reading(settings) as connection:

        def found(query: str) -> list[dict[str, Any]]:
            result = connection.execute(query)
            names = [one[0] for one in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

        homes = {
            (source.name, stream.name): _homes(found, source, stream) for source, stream in STREAMS
        }
        records = {
            record: f"{source}.{stream} row {number}"
            for (source, stream), rows in homes.items()
            for number, (_, record) in rows.items()
        }
        return {
            f"{source.name}.{stream.name}": {
                "counts": accounts[source.name, stream.name],
                "rows": _said(source, stream, homes[source.name, stream.name]),
                "core": _core(found, source, stream, records),
            }
            for source, stream in STREAMS
        }


def _homes(found, source: Source, stream: Stream) -> dict[int, tuple[str, UUID]]:
    """Row number → (home, record)."""
    homes = {}
    for row in found(f"FROM lake.landing.{source.name}__{stream.name}"):
        flags = f", flagged {' '.join(row['_flags'])}" if row["_flags"] else ""
        homes[row["_row"]] = (f"landed{flags}", row["_record_id"])
    for row in found(
        "SELECT row_number, rules, source_record_id FROM lake.quarantine.row "
        f"WHERE source = '{source.name}' AND stream = '{stream.name}'"
    ):
        homes[row["row_number"]] = (
            f"quarantined: {' '.join(row['rules'])}",
            row["source_record_id"],
        )
    return homes


def _said(source: Source, stream: Stream, homes: dict[int, tuple[str, UUID]]) -> list[str]:
    numbers = range(1, len(rows_of(source, stream)) + 1)
    return [f"{number} {homes[number][0] if number in homes else 'excluded'}" for number in numbers]


def _core(found, source: Source, stream: Stream, records: dict[UUID, str]) -> dict[str, list[dict]]:
    """Core table → its rows without NULLs; a surrogate as the row it stands for."""

    def said(value: Any) -> Any:
        if isinstance(value, UUID):
            return records.get(value, "a record that is not there")
        return value if isinstance(value, bool | int | list) else str(value)

    core = {}
    for table in tables().values():
        if table.is_of_landing:
            rows = found(
                f"SELECT {', '.join(table.own_columns)}, flags FROM lake.{table.name} "
                f"WHERE source = '{source.name}' AND stream = '{stream.name}'"
            )
            plain = [
                {name: said(value) for name, value in row.items() if value not in (None, [])}
                for row in rows
            ]
            if plain:
                core[table.name] = sorted(
                    plain, key=lambda row: [str(row.get(k)) for k in table.key]
                )
    return core


@pytest.mark.parametrize("name", NAMES)
def test_golden_rows_become_what_is_written(outcomes, name):
    path = GOLDEN / (name.replace(".", "/") + ".expected.json")
    outcome = outcomes[name]
    if os.environ.get("MUARA_WRITE_GOLDEN") == "1":
        path.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert outcome == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", sorted((ROOT / "connectors").glob("*/source.yml")))
def test_every_source_has_its_rules_and_golden_files(folder):
    source = SOURCES[folder.parent.name]
    assert (ROOT / "expectations" / f"{source.name}.yml").is_file()
    there = {path.name for path in (GOLDEN / source.name).iterdir()}
    wanted = {
        f"{stream.name}{end}" for stream in source.streams for end in (".csv", ".expected.json")
    }
    assert there == wanted


def test_no_golden_files_of_a_source_that_is_gone():
    assert {path.name for path in GOLDEN.iterdir()} == set(SOURCES)


@pytest.mark.parametrize(("source", "stream"), STREAMS, ids=NAMES)
def test_golden_rows_are_few_whole_and_some_awkward(source, stream):
    rows = rows_of(source, stream)
    assert 3 <= len(rows) <= 8
    assert {name for row in rows for name in row} - {"_file"} == set(stream.columns)
    expected = (GOLDEN / source.name / f"{stream.name}.expected.json").read_text(encoding="utf-8")
    homes = {row.split()[1].rstrip(",:") for row in json.loads(expected)["rows"]}
    assert "landed" in homes
    assert homes & {"quarantined", "excluded"}

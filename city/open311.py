"""The report inbox as an HTTP service on the loopback: Open311 GeoReport v2, JSON.

`/services.json`, `/requests.json` (page, page_size, updated_after, start_date, end_date, status,
service_request_id) and `/health`. Every answer reads the inbox's file anew.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# Given a request's path and query: the status and body to answer instead, or None.
Failure = Callable[[str, dict[str, str]], tuple[int, bytes] | None]

REQUEST = (
    "service_request_id, status, status_notes, service_name, service_code, description, "
    "agency_responsible, requested_datetime, updated_datetime, expected_datetime, address, "
    "zipcode, lat, long, extended_attributes"
)


def failing(count: int, status: int = 500, body: bytes = b'{"error": "synthetic"}') -> Failure:
    """The next `count` requests get this answer; `status=200, body=b"{"` sends broken JSON."""
    left, lock = [count], threading.Lock()

    def fault(path: str, query: dict[str, str]) -> tuple[int, bytes] | None:
        with lock:
            left[0] -= 1
            return (status, body) if left[0] >= 0 else None

    return fault


@contextmanager
def serve_open311(home: Path, fault: Failure | None = None, port: int = 0) -> Iterator[str]:
    """Serves the inbox of the city in `home` while the context lasts; yields the base URL."""
    inbox = Path(home) / "systems" / "report_inbox.db"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            status, body = (fault and fault(parts.path, query)) or _answer(inbox, parts.path, query)
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Says nothing: queries may name people's reports."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(inbox: Path, path: str, query: dict[str, str]) -> tuple[int, bytes]:
    answers = {
        "/health": lambda: {"status": "ok"},
        "/services.json": lambda: _services(inbox),
        "/requests.json": lambda: _requests(inbox, query),
    }
    if path not in answers:
        return 404, b'[{"code": 404, "description": "not found"}]'
    try:
        return 200, json.dumps(answers[path](), ensure_ascii=False).encode()
    except ValueError:
        return 400, b'[{"code": 400, "description": "a parameter is not understood"}]'


def _services(inbox: Path) -> list[dict[str, Any]]:
    rows = _rows(inbox, "SELECT * FROM services ORDER BY service_code", [])
    return [
        {**row, "metadata": False, "type": "realtime", "group": row.pop("group_name")}
        for row in rows
    ]


def _requests(inbox: Path, query: dict[str, str]) -> list[dict[str, Any]]:
    page, size = int(query.get("page", 1)), min(int(query.get("page_size", 500)), 5000)
    if page < 1 or size < 1:
        raise ValueError("page and page_size count from 1")
    conditions, values = ["1 = 1"], []
    for name, column, relation in (
        ("updated_after", "updated_datetime", ">"),
        ("start_date", "requested_datetime", ">="),
        ("end_date", "requested_datetime", "<="),
    ):
        if name in query:
            conditions.append(f"datetime({column}) {relation} datetime(?)")
            values.append(query[name].replace(" ", "+"))
    for name, column in (("status", "status"), ("service_request_id", "service_request_id")):
        if name in query:
            wanted = query[name].split(",")
            conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
            values += wanted
    rows = _rows(
        inbox,
        f"""
        SELECT {REQUEST} FROM requests
        WHERE rowid IN (
            SELECT rowid FROM requests WHERE {" AND ".join(conditions)}
            ORDER BY CAST(service_request_id AS INTEGER) LIMIT ? OFFSET ?
        )
        ORDER BY CAST(service_request_id AS INTEGER)
        """,
        [*values, size, (page - 1) * size],
    )
    return [
        {
            **row,
            "service_notice": None,
            "media_url": None,
            "extended_attributes": json.loads(row["extended_attributes"]),
        }
        for row in rows
    ]


def _rows(inbox: Path, statement: str, values: list[Any]) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{inbox}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, values)]

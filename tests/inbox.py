"""The report inbox in small: an Open311 service, a maildir and Gammu's table that a test fills, and
a warehouse beside them."""

import json
import shutil
import sqlite3
import threading
from contextlib import contextmanager
from datetime import timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from common import log
from common.definition import load_sources
from common.settings import Settings
from pipeline.sync import sync
from tests.world import NIGHT, empty_warehouse
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse.catalog import reading
from warehouse.rebuild import differences

GAMMU = (
    "CREATE TABLE inbox (UpdatedInDB TEXT, ReceivingDateTime TEXT, Text TEXT, SenderNumber TEXT, "
    "Coding TEXT, UDH TEXT, SMSCNumber TEXT, Class INTEGER, TextDecoded TEXT, "
    "ID INTEGER PRIMARY KEY, RecipientID TEXT, Processed TEXT, Status INTEGER)"
)


def request(number, text, phone=None, email=None, at="2026-11-20T08:00:00+07:00", state="diproses"):
    """A request of the inbox as its API sends it."""
    closed = state in ("selesai", "ditolak")
    return {
        "service_request_id": str(number), "status": "closed" if closed else "open",
        "status_notes": None, "service_name": None, "service_code": None, "description": text,
        "agency_responsible": "dputr", "requested_datetime": at, "updated_datetime": at,
        "expected_datetime": None, "address": None, "zipcode": None, "lat": None, "long": None,
        "extended_attributes": {
            "lapor_state": state, "report_type": "pengaduan", "channel": "app",
            "is_anonymous": False, "is_secret": False, "reporter_name": "Warga",
            "reporter_phone": phone, "reporter_email": email,
            "history": [{"state": "belum_diverifikasi", "at": at}],
        },
    }  # fmt: skip


def letter(key, text, sender="warga@surel.example", at="Fri, 20 Nov 2026 09:00:00 +0700") -> bytes:
    message = EmailMessage()
    message["Message-ID"], message["From"] = f"<{key}@surel.example>", f"Warga <{sender}>"
    message["To"], message["Subject"], message["Date"] = "lapor@kota.example", "Laporan", at
    message.set_content(text)
    return bytes(message)


def sms(number, text, phone="+6281200000001", at="2026-11-20 09:00:00", udh=""):
    """A row of Gammu's inbox: ID, text, sender, time, header."""
    return (number, text, phone, at, udh)


class Inbox:
    def __init__(self, folder: Path):
        self.settings = Settings(home=folder / "var", today=NIGHT, retry_delay_seconds=0, retries=0)
        self.sources = load_sources(self.settings)
        self.source = self.sources["report_inbox"]
        self.maildir, self.gateway = folder / "mail", folder / "gammu.db"
        for name in ("new", "cur", "tmp"):
            (self.maildir / name).mkdir(parents=True)
        with sqlite3.connect(self.gateway) as connection:
            connection.execute(GAMMU)
        self.requests: list[dict] = []
        shutil.copytree(empty_warehouse(), self.settings.home)
        log.configure(self.settings)

    def mail(self, name: str, message: bytes) -> None:
        (self.maildir / "new" / name).write_bytes(message)

    def sms(self, *rows: tuple) -> None:
        """Let Gammu's table hold exactly these."""
        with sqlite3.connect(self.gateway) as connection:
            connection.execute("DELETE FROM inbox")
            connection.executemany(
                "INSERT INTO inbox (ID, TextDecoded, SenderNumber, ReceivingDateTime, UDH, "
                "Processed) VALUES (?, ?, ?, ?, ?, 'false')",
                rows,
            )

    def sync(self, *streams: str):
        with answering(self) as url:
            urls = {
                "report_inbox": url,
                "report_mail": f"maildir://{self.maildir}",
                "report_sms": f"sqlite:///{self.gateway}",
            }
            return [
                sync(self.settings, self.source, self.source.stream(name), urls.__getitem__,
                     accept_deletions=True)
                for name in streams or ("request", "mail", "sms")
            ]  # fmt: skip

    def next_night(self) -> None:
        self.settings.today += timedelta(days=1)

    def rows(self, query: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def groups(self) -> set[frozenset[str]]:
        """Which records are one report, each named by channel and text."""
        found = self.rows(
            "SELECT list(channel || ': ' || coalesce(description, '')) "
            "FROM lake.core.report_source AS origin "
            "JOIN lake.core.report_record AS record USING (source_record_id) "
            "JOIN lake.core.report_identity AS who USING (source_record_id) "
            "WHERE origin.valid_to IS NULL AND record.valid_to IS NULL AND who.valid_to IS NULL "
            "GROUP BY report_record_id"
        )
        return {frozenset(names) for (names,) in found}

    def reports(self) -> list[tuple]:
        """Current reports: channel, state, records, whole."""
        return self.rows(
            "SELECT channel, state, record_count, is_complete FROM lake.core.report "
            "WHERE valid_to IS NULL ORDER BY ALL"
        )

    def rebuild_differences(self) -> dict[str, int]:
        return differences(
            self.settings, self.sources, lambda stream: lambda rows: typed(rows, stream), conform_of
        )


@contextmanager
def answering(inbox: Inbox):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            self.send_response(200)
            self.end_headers()
            page = inbox.requests if asked["page"] == ["1"] else []
            self.wfile.write(json.dumps(page).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""Bad input is normal input: one clear message, its own exit code, nothing half-done."""

import json
import re
import sqlite3
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from common.definition import load_sources
from common.errors import (
    DefinitionError,
    SourceDenied,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
    TooManyDeletions,
)
from common.settings import Settings
from pipeline.sync import sync
from tests.world import Cameras, counts, monitor

CANARY = "Siti Rahayu Canary"


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(*(monitor(number, name=CANARY) for number in range(1, 41)))
    return cameras


def refused(cameras, error, match, **call):
    """The error is raised with what, where and next; only a failed attempt is in the ledger."""
    before = cameras.core()
    with pytest.raises(error, match=match) as caught:
        cameras.sync(**call) if not call else sync(cameras.settings, *call.values())
    assert caught.value.where
    assert caught.value.next_step
    assert CANARY not in str(caught.value)
    assert cameras.core() == before
    ((outcome, code, text),) = cameras.rows(
        "SELECT outcome, error_code, error_message FROM lake.ops.ledger "
        "ORDER BY batch_id DESC LIMIT 1"
    )
    assert outcome in ("failed", "stopped")
    assert code == error.__name__
    assert CANARY not in text
    assert CANARY not in (cameras.settings.home / "logs" / "muara.log").read_text()


def test_a_database_that_is_down(cameras):
    cameras.database.rename(cameras.database.with_suffix(".away"))
    refused(cameras, SourceUnavailable, "database file is not there")


def test_a_server_that_is_down(cameras, free_port):
    cameras.url = lambda _: f"postgresql+psycopg://u:hunter2@127.0.0.1:{free_port}/x"
    refused(cameras, SourceUnavailable, "does not answer")


def test_a_wrong_password(cameras, postgres_server):
    url = postgres_server.url("postgres")
    user = url.split("://")[1].split(":")[0]
    password = url.split("://")[1].split("@")[0].split(":", 1)[1]
    cameras.url = lambda _: url.replace(f"{user}:{password}@", f"{user}:wrong-hunter2@")
    with pytest.raises(SourceDenied, match="refuses the user or password") as caught:
        cameras.sync()
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_on_mariadb(cameras, mariadb_server):
    url = mariadb_server.url("mysql")
    user = url.split("://")[1].split(":")[0]
    password = url.split("://")[1].split("@")[0].split(":", 1)[1]
    cameras.url = lambda _: url.replace(f"{user}:{password}@", f"{user}:wrong-hunter2@")
    refused(cameras, SourceDenied, "refuses the user or password")


def alter(cameras, statement):
    with sqlite3.connect(cameras.database) as connection:
        connection.execute(statement)


def test_a_table_that_is_gone(cameras):
    alter(cameras, "ALTER TABLE Monitors RENAME TO Monitors_lama")
    refused(cameras, SourceShapeChanged, "table Monitors is gone")


def test_a_column_that_is_gone(cameras):
    alter(cameras, "ALTER TABLE Monitors RENAME COLUMN Owner TO Pemilik")
    refused(cameras, SourceShapeChanged, r"gone: Owner; .*never declared: 'Pemilik'")


def test_a_half_empty_source(cameras):
    cameras.sync()
    cameras.hold(*(monitor(number, name=CANARY) for number in range(1, 21)))
    refused(cameras, TooManyDeletions, "20 of 40 rows vanished")


def test_a_definition_with_five_mistakes(tmp_path):
    folder = tmp_path / "connectors" / "keliru"
    folder.mkdir(parents=True)
    (folder / "source.yml").write_text(
        """
name: keliru
title: Wrong
agency: dkis
contact: {unit: X, email: x@example}
pool_slots: 99
streams:
  - name: Besar
    title: x
    connection: keliru
    read: {reader: sql, table: t}
    strategy: files
    key: [nomor]
    columns: {a: {name: a, type: tanggal}}
  - name: dua
    title: x
    connection: keliru
    read: {reader: telepati}
    strategy: snapshot
    key: [a]
    columns: {a: {name: a}}
"""
    )
    with pytest.raises(DefinitionError) as caught:
        load_sources(Settings(home=tmp_path / "var", connectors=tmp_path / "connectors"))
    text = str(caught.value)
    for place in ("pool_slots", "streams.0.name", "type", "telepati", "streams.1.read"):
        assert place in text
    assert "5 fault(s)" in text or "4 fault(s)" in text
    assert caught.value.exit_code == 3


@contextmanager
def inbox(*answers):
    """An inbox that gives these (status, body) answers in order, the last one for ever."""
    queue = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = queue.pop(0) if len(queue) > 1 else queue[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def report(number="1", **changes):
    extension = {"lapor_state": "diproses", "report_type": "aspirasi", "channel": "web",
                 "is_anonymous": False, "is_secret": False, "reporter_name": CANARY,
                 "history": [{"state": "diproses", "at": "2026-11-01T08:00:00+07:00"}]}  # fmt: skip
    empty = ("status_notes service_name service_code description agency_responsible service_notice "
             "updated_datetime expected_datetime address zipcode lat long media_url")  # fmt: skip
    return {"service_request_id": number, "status": "open", **dict.fromkeys(empty.split()),
            "requested_datetime": "2026-11-01T08:00:00+07:00",
            "extended_attributes": extension, **changes}  # fmt: skip


def read_inbox(cameras, url):
    source = cameras.sources["report_inbox"]
    return sync(cameras.settings, source, source.stream("request"), lambda _: url)


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        ((500, "oops"), SourceUnavailable, "page 1: HTTP 500"),
        ((401, ""), SourceDenied, "HTTP 401"),
        ((404, ""), SourceShapeChanged, "HTTP 404"),
        ((200, '[{"service_request_id": "' + CANARY), SourceMalformed, "not valid JSON at byte"),
        ((200, '{"error": "' + CANARY + '"}'), SourceMalformed, "not a JSON array"),
        ((200, json.dumps([{"nomor": CANARY}])), SourceShapeChanged, "never declared: 'nomor'"),
    ],
)
def test_an_inbox_that_answers_wrongly(cameras, answer, error, match):
    with inbox(answer) as url:
        with pytest.raises(error, match=match) as caught:
            read_inbox(cameras, url)
    assert CANARY not in str(caught.value)
    assert cameras.rows("SELECT count(*) FROM lake.core.report") == [(0,)]


def test_an_inbox_that_fails_once_is_asked_again(cameras):
    page = json.dumps([report("1"), report("2")])
    with inbox((500, ""), (200, page), (200, "[]")) as url:
        account = read_inbox(cameras, url)
    assert counts(account) == {"extracted": 2, "inserted": 2, "flagged": 2}


def test_numbers_keep_their_digits_and_history_becomes_rows(cameras):
    page = json.dumps([report("9165816")]).replace('"9165816"', "12345678901234567890")
    with inbox((200, page), (200, "[]")) as url:
        read_inbox(cameras, url)
    assert cameras.rows("SELECT report_number FROM lake.core.report_identity") == [
        ("12345678901234567890",)
    ]
    assert cameras.rows("SELECT status_number, state, reached_at FROM lake.core.report_status")[0][
        :2
    ] == (1, "in_progress")


HEADER = (
    "no_surat;tgl_surat;nama_ibu;nik_ibu;umur_ibu;nama_ayah;jk_bayi;tgl_lahir;jam_lahir;berat_kg;"
    "panjang_cm;jenis_lahir;penolong;alamat\r\n"
)


def notice(number):
    return (
        f"RS/{number};20/11/2026;{CANARY};3274016001900001;36;Budi;L;19/11/2026;08:10;3,20;49,5;"
        "1;BIDAN;Jl. Kartini\r\n"
    )


def read_drops(cameras, folder):
    source = cameras.sources["brojol"]
    return sync(cameras.settings, source, source.stream("birth_notice"), lambda _: folder.as_uri())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ((HEADER + notice(2))[:-9].encode("cp1252"), "half-written"),
        ((HEADER + "RS/2;20/11/2026;Ani\r\n").encode("cp1252"), "row 2 has the wrong number"),
        (HEADER.encode() + b"\x81\r\n", "is not cp1252"),
        (b"no_surat;lain\r\n1;2\r\n", "column.s. gone"),
        (notice(2).encode("cp1252") + notice(3).encode("cp1252"), "no declared column is named"),
        (b"PK\x03\x04\x00\x00\n", "NUL characters"),
    ],
)
def test_an_unreadable_file_is_refused_whole_and_the_others_load(cameras, tmp_path, content, match):
    folder = tmp_path / "drops"
    (folder / "rs1").mkdir(parents=True)
    (folder / "rs1" / "kelahiran_rs1_20261120.csv").write_bytes(content)
    (folder / "rs1" / "kelahiran_rs1_20261121.csv").write_bytes(
        (HEADER + notice(1)).encode("cp1252")
    )
    with pytest.raises(SourceMalformed, match=r"1 of 2 file.s. could not be read") as caught:
        read_drops(cameras, folder)
    assert CANARY not in str(caught.value)
    assert len(cameras.rows("FROM lake.core.birth_notice")) == 1
    outcomes = cameras.rows("SELECT outcome, error_message FROM lake.ops.file ORDER BY origin")
    assert [outcome for outcome, _ in outcomes] == ["failed", "loaded"]
    assert re.search(match, outcomes[0][1])

    whole = (HEADER + notice(2) + notice(3)).encode("cp1252")
    (folder / "rs1" / "kelahiran_rs1_20261120.csv").write_bytes(whole)
    assert counts(read_drops(cameras, folder)) == {"extracted": 2, "inserted": 2}
    assert counts(read_drops(cameras, folder)) == {}, "known files are not read again"


def test_a_file_with_a_new_column_loads_and_one_that_lacks_a_column_is_refused(cameras, tmp_path):
    folder = tmp_path / "drops"
    (folder / "rs1").mkdir(parents=True)
    longer = HEADER.replace("\r\n", ";pin\r\n") + notice(1).replace("\r\n", f";{CANARY}\r\n")
    shorter = HEADER.replace(";alamat", "") + notice(2).replace(";Jl. Kartini", "")
    (folder / "rs1" / "kelahiran_rs1_20261120.csv").write_bytes(longer.encode("cp1252"))
    assert counts(read_drops(cameras, folder)) == {"extracted": 1, "inserted": 1}
    (folder / "rs1" / "kelahiran_rs1_20261121.csv").write_bytes(shorter.encode("cp1252"))
    with pytest.raises(SourceMalformed, match="gone: alamat"):
        read_drops(cameras, folder)
    assert cameras.rows(
        "SELECT kind, column_name, default_applied FROM lake.ops.drift ORDER BY ALL"
    ) == [("missing", "alamat", "file_refused"), ("new", "pin", "not_read")]


def test_a_file_sent_again_is_a_new_version(cameras, tmp_path):
    folder = tmp_path / "drops"
    (folder / "rs1").mkdir(parents=True)
    path = folder / "rs1" / "kelahiran_rs1_20261120.csv"
    path.write_bytes((HEADER + "".join(map(notice, range(40)))).encode("cp1252"))
    assert counts(read_drops(cameras, folder)) == {"extracted": 40, "inserted": 40}
    path.write_bytes(
        (HEADER + "".join(map(notice, range(1, 40))).replace("3,20", "3,25", 1)).encode("cp1252")
    )
    assert counts(read_drops(cameras, folder)) == {
        "extracted": 39, "updated": 1, "unchanged": 38, "deleted": 1,
    }  # fmt: skip


def test_one_failing_source_does_not_stop_the_others(cameras, monkeypatch):
    from pipeline import night

    def url(connection_id):
        if connection_id == "cctv":
            return f"sqlite:///{cameras.database}"
        raise DefinitionError(f"connection {connection_id} is not known", where=connection_id)

    failures = night.run(cameras.settings, cameras.sources, url)
    streams = [stream for source in cameras.sources.values() for stream in source.streams]
    assert len(failures) == len([one for one in streams if one.connection != "cctv"])
    assert len(cameras.core()) == 40
    assert (cameras.settings.home / "published" / "current" / "warehouse.duckdb").exists()

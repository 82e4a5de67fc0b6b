"""The morning's alarms in a real lake: hospitals that drop files, a stream that is read whole, and
channels that are real receivers on the loopback."""

import json
import shutil
import sqlite3
import threading
from datetime import date, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from common import log
from common.definition import load_source
from common.errors import DefinitionError
from common.settings import Settings
from muara.cli import app
from pipeline.alarms import accept, check
from pipeline.sync import prepare, sync
from tests.dags.machine import CANARY_NAME, CANARY_NIK
from warehouse.catalog import reading, writing

DEFINITION = """
name: clinic
title: Clinics
agency: dinkes
contact: {unit: Seksi Kesehatan Keluarga, email: kesga@dinkes.example}
schedule: "0 1 * * *"
streams:
  - name: notice
    title: Notices dropped by hospitals
    connection: clinic_drops
    read: {reader: files, pattern: "*/*.csv"}
    strategy: files
    key: [notice_number]
    stamp: written_at
    submitter:
      origin: "^([^/]+)/"
      contacts:
        RSA: {unit: Rumah sakit A, email: a@rs.example}
        RSB: {unit: Rumah sakit B, email: b@rs.example}
        RSC: {unit: Rumah sakit C, email: c@rs.example}
    columns: &notice
      nomor: {name: notice_number}
      ibu: {name: mother_name}
      tanggal: {name: written_at, type: timestamp}
  - name: ward
    title: Wards
    connection: clinic
    read: {reader: sql, table: bangsal}
    strategy: snapshot
    key: [notice_number]
    submitter:
      column: mother_name
      contacts:
        RSA: {unit: Rumah sakit A, email: a@rs.example}
    columns: *notice
"""
MONDAY = date(2026, 8, 10)
USUAL = {"RSA": 40, "RSB": 30, "RSC": 150}
WARD = 60


@pytest.fixture(scope="module")
def seven_weeks(tmp_path_factory):
    """Definitions and a warehouse in which seven ordinary weeks stand, made once."""
    folder = tmp_path_factory.mktemp("clinic")
    for name, text in (("connectors/clinic/source.yml", DEFINITION),
                       ("expectations/clinic.yml", "streams: {}\n")):  # fmt: skip
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    made = Clinics(folder)
    prepare(made.settings, made.sources)
    made.remember(49)
    return folder


class Clinics:
    """The night of Monday 10 August is to come."""

    def __init__(self, folder):
        self.settings = Settings(home=folder / "var", today=MONDAY, retry_delay_seconds=0,
                                 connectors=folder / "connectors",
                                 expectations=folder / "expectations")  # fmt: skip
        self.source = load_source(self.settings, "clinic")
        self.sources = {"clinic": self.source}
        self.drops, self.database = folder / "drops", folder / "clinic.db"
        self.urls = {"clinic_drops": f"file://{self.drops}", "clinic": f"sqlite:///{self.database}"}
        self.drops.mkdir(exist_ok=True)
        self.wards(0)
        log.configure(self.settings)

    def remember(self, nights: int) -> None:
        """These nights before Monday as they would stand in the warehouse, a little uneven."""
        counts = ", ".join(f"('notice', '{code}', {usual})" for code, usual in USUAL.items())
        with writing(self.settings) as connection:
            connection.execute(
                f"""
                CREATE TEMP TABLE past AS
                SELECT stream, code, usual + (day * 7 + usual) % 11 - 5 AS sent, day,
                    day * 2 + (stream = 'ward')::INT + 1 AS batch_id,
                    (DATE '{MONDAY}' - {nights} + day::INT) AS night
                FROM range({nights}) AS nights (day),
                    (VALUES {counts}, ('ward', 'RSA', {WARD})) AS habit (stream, code, usual);
                INSERT INTO lake.ops.ledger BY NAME
                SELECT 'clinic' AS source, stream, batch_id, night, 'loaded' AS outcome,
                    sum(sent) AS extracted, sum(sent) AS inserted, 0 AS updated, 0 AS unchanged,
                    0 AS quarantined, 0 AS excluded, count(*) AS files_loaded
                FROM past GROUP BY ALL;
                INSERT INTO lake.ops.submission BY NAME
                SELECT 'clinic' AS source, stream, batch_id, night, coalesce(code, '')
                        AS submitter_code, 1 AS files, sum(sent) AS rows, sum(sent) AS changed,
                    night + INTERVAL 12 HOUR AS middle_at, night + INTERVAL 12 HOUR AS newest_at
                FROM past GROUP BY GROUPING SETS ((stream, batch_id, night, code),
                    (stream, batch_id, night))
                """
            )

    def drop(self, *, off: int = 0, **counts: int) -> None:
        """One file of this night per hospital named, with so many rows; its clock is `off` days."""
        night = self.settings.today
        for code, count in counts.items():
            stamp = f"{night + timedelta(days=off)} 12:00:00"
            lines = [f"{code}-{night}-{number},{CANARY_NAME},{stamp}" for number in range(count)]
            path = self.drops / code / f"{night}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(["nomor,ibu,tanggal", *lines]) + "\n")

    def wards(self, count: int) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS bangsal (nomor, ibu, tanggal)")
            rows = [(f"{self.settings.today}-{number}", "RSA") for number in range(count)]
            rows += [(f"{self.settings.today}-x", CANARY_NIK)] if count else []
            connection.executemany("INSERT INTO bangsal VALUES (?, ?, NULL)", rows)

    def resolve(self, connection_id: str) -> str:
        if connection_id in self.urls:
            return self.urls[connection_id]
        raise DefinitionError(f"connection {connection_id} is not known")

    def read(self, *streams: str) -> None:
        for stream in streams or ("notice", "ward"):
            sync(self.settings, self.source, self.source.stream(stream), self.resolve)

    def check(self):
        return check(self.settings, self.sources, self.resolve)

    def alarms(self) -> list[tuple]:
        return self.rows("SELECT kind, stream, submitter_code, state FROM lake.ops.alarm "
                         "ORDER BY alarm_id")  # fmt: skip

    def rows(self, query: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def ordinary_night(self) -> None:
        self.drop(**USUAL)
        self.wards(WARD)
        self.read()

    def next_night(self) -> None:
        self.settings.today += timedelta(days=1)


@pytest.fixture
def clinics(seven_weeks, tmp_path):
    shutil.copytree(seven_weeks, tmp_path, dirs_exist_ok=True)
    return Clinics(tmp_path)


def test_an_ordinary_morning_has_no_alarm_and_writes_none(clinics):
    clinics.ordinary_night()
    before = clinics.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    morning = clinics.check()
    assert (morning.standing, morning.learning) == ([], [])
    assert clinics.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')") == before
    assert clinics.rows(
        "SELECT stream, submitter_code, files, rows, changed FROM lake.ops.submission "
        f"WHERE night = DATE '{MONDAY}' ORDER BY ALL"
    ) == [
        ("notice", "", 3, 220, 220),
        ("notice", "RSA", 1, 40, 40),
        ("notice", "RSB", 1, 30, 30),
        ("notice", "RSC", 1, 150, 150),
        ("ward", "", 0, WARD + 1, WARD + 1),
        ("ward", "RSA", 0, WARD, WARD),
    ]


def test_a_silent_hospital_and_half_a_file_are_alarmed_the_first_morning_and_end_by_themselves(
    clinics,
):
    clinics.drop(RSA=40, RSC=75)
    clinics.wards(WARD)
    clinics.read()
    standing = clinics.check().standing
    assert [(one.kind, one.submitter_code, one.seen) for one in standing] == [
        ("missing", "RSB", 0), ("thin", "RSC", 75),
    ]  # fmt: skip
    assert clinics.check().standing == standing  # again the same morning
    clinics.next_night()
    clinics.ordinary_night()
    assert clinics.check().standing == []
    assert {state for *_, state in clinics.alarms()} == {"closed"}


def test_silence_stays_an_alarm_until_something_comes(clinics):
    for _ in range(3):
        clinics.drop(RSA=40, RSC=150)
        clinics.wards(WARD)
        clinics.read()
        clinics.check()
        clinics.next_night()
    assert clinics.alarms() == [("missing", "notice", "RSB", "open")]
    assert clinics.rows("SELECT night, last_night FROM lake.ops.alarm") == [
        (MONDAY, MONDAY + timedelta(days=2))
    ]
    clinics.ordinary_night()
    clinics.check()
    assert clinics.alarms() == [("missing", "notice", "RSB", "closed")]


def test_the_same_file_under_another_name_is_frozen(clinics):
    clinics.ordinary_night()
    clinics.check()
    yesterday = clinics.settings.today
    clinics.next_night()
    clinics.drop(RSA=40, RSC=150)
    again = (clinics.drops / "RSB" / f"{yesterday}.csv").read_text()
    (clinics.drops / "RSB" / f"{clinics.settings.today}.csv").write_text(again)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    assert clinics.alarms() == [("frozen", "notice", "RSB", "open")]


def test_a_table_frozen_at_yesterdays_content(clinics):
    clinics.ordinary_night()
    clinics.check()
    clinics.next_night()
    clinics.drop(**USUAL)
    clinics.read()
    clinics.check()
    assert clinics.alarms() == [("frozen", "ward", "", "open")]


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_is_days_off(clinics, days):
    clinics.drop(off=days, RSA=40)
    clinics.drop(RSB=30, RSC=150)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    assert clinics.alarms() == [("clock", "notice", "RSA", "open")]


def test_a_source_that_nobody_read_and_one_that_failed(clinics):
    clinics.drop(**USUAL)
    clinics.drops.rename(clinics.drops.with_name("elsewhere"))
    with pytest.raises(Exception, match="not there"):
        clinics.read("notice")
    assert [(one.stream, one.kind, one.cause) for one in clinics.check().standing] == [
        ("notice", "missing", "SourceUnavailable"), ("ward", "missing", "not_run"),
    ]  # fmt: skip
    clinics.drops.with_name("elsewhere").rename(clinics.drops)
    clinics.wards(WARD)
    clinics.read()
    assert clinics.check().standing == []


def test_a_promise_of_every_night_is_kept_by_an_empty_file(clinics, tmp_path):
    text = DEFINITION.replace('origin: "^([^/]+)/"\n', 'origin: "^([^/]+)/"\n      every: night\n')
    text = text.replace("RSB: {unit", "RSD: {unit: Rumah sakit D, email: d@rs.example}\n"
                        "        RSB: {unit", 1)  # fmt: skip
    (tmp_path / "connectors/clinic/source.yml").write_text(text)
    clinics.source = load_source(clinics.settings, "clinic")
    clinics.sources = {"clinic": clinics.source}
    clinics.drop(**USUAL)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    assert clinics.alarms() == [("missing", "notice", "RSD", "open")]
    clinics.next_night()
    clinics.drop(**USUAL, RSD=0)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    assert clinics.alarms() == [("missing", "notice", "RSD", "closed")]


def test_a_person_accepts_a_new_habit(clinics, monkeypatch):
    clinics.drop(RSA=40, RSC=150)
    clinics.wards(WARD)
    clinics.read()
    (alarm,) = clinics.check().standing
    with pytest.raises(DefinitionError, match="no open alarm has the number 99"):
        accept(clinics.settings, [99])
    for name in ("home", "connectors", "expectations", "today"):
        monkeypatch.setenv(f"MUARA_{name.upper()}", str(getattr(clinics.settings, name)))
    answer = CliRunner().invoke(app, ["alarms", "--json"])
    assert answer.exit_code == 1
    (told,) = json.loads(answer.stdout)
    assert (told["kind"], told["contact"]["email"]) == ("missing", "b@rs.example")
    assert "clinic.notice RSB missing" in CliRunner().invoke(app, ["status"]).stdout
    answer = CliRunner().invoke(app, ["alarms", "--accept", str(alarm.alarm_id)])
    assert (answer.exit_code, clinics.alarms()) == (0, [("missing", "notice", "RSB", "accepted")])
    assert "Rumah sakit B <b@rs.example>" in answer.stdout


class Mailbox:
    """What a real SMTP server was given."""

    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox(free_port):
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port)
    server.start()
    box.url = (
        f"mailto://127.0.0.1:{free_port}?mode=insecure&from=muara@x.example&to=piket@x.example"
    )
    yield box
    server.stop()


@pytest.fixture
def webhook():
    """A real HTTP server: the JSON bodies it was given, its URL, and the answer it gives."""
    received, status = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_):
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received, f"json://127.0.0.1:{server.server_port}/secret-token", status
    server.shutdown()
    server.server_close()


def test_one_message_a_morning_to_every_channel_with_names_and_contacts(clinics, mailbox, webhook):
    received, url, _ = webhook
    clinics.urls |= {
        "duty_mail": mailbox.url,
        "duty_hook": url,
        "duty_nowhere": "json://127.0.0.1:1",
    }
    clinics.settings.alarm_channels = "duty_mail, duty_hook, duty_nowhere, duty_unknown"
    clinics.drop(RSA=40, RSC=75)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    clinics.check()  # nobody is told twice
    (mail,), (hook,) = mailbox.messages, received
    text = mail.get_body(("plain", "html")).get_content()
    assert mail["subject"] == hook["title"] == "Muara: 2 alarm baru"
    for told in (text, hook["message"]):
        assert "Rumah sakit B (clinic.notice RSB): tidak ada kiriman pada 10-08-2026" in told
        assert "b@rs.example" in told
        assert "kiriman terlalu sedikit" in told
        assert CANARY_NAME not in told
        assert CANARY_NIK not in told
    ((outcome, told_at),) = set(clinics.rows("SELECT channel_outcome, told_at FROM lake.ops.alarm"))
    assert outcome == (
        "duty_mail told, duty_hook told, duty_nowhere refused, duty_unknown DefinitionError"
    )
    assert told_at is not None

    clinics.next_night()
    clinics.ordinary_night()
    clinics.check()
    assert received[1]["title"] == "Muara: 2 selesai"
    written = (clinics.settings.home / "logs" / "muara.log").read_text()
    for secret in ("secret-token", CANARY_NAME, CANARY_NIK, "piket@x.example"):
        assert secret not in written


def test_a_channel_that_fails_is_tried_again_and_never_fails_the_morning(clinics, webhook):
    received, url, status = webhook
    clinics.urls["duty_hook"] = url
    clinics.settings.alarm_channels = "duty_hook"
    clinics.drop(RSA=40, RSC=150)
    clinics.wards(WARD)
    clinics.read()
    status[0] = 500
    clinics.check()
    assert clinics.rows("SELECT channel_outcome, told_at FROM lake.ops.alarm") == [
        ("duty_hook refused", None)
    ]
    status[0] = 200
    clinics.check()
    assert len(received) == 2
    assert clinics.rows("SELECT channel_outcome FROM lake.ops.alarm") == [("duty_hook told",)]


def test_nobody_is_told_in_quiet_hours(clinics, webhook, tmp_path):
    received, url, _ = webhook
    clinics.urls["duty_hook"] = url
    clinics.settings.alarm_channels = "duty_hook"
    clinics.settings.profile = tmp_path
    calendar = 'country: ID\nquiet: {from: "06:00", to: "07:00"}\n'
    (tmp_path / "calendar.yml").write_text(calendar)
    clinics.drop(RSA=40, RSC=150)
    clinics.wards(WARD)
    clinics.read()
    clinics.check()
    assert (received, clinics.rows("SELECT channel_outcome FROM lake.ops.alarm")) == (
        [], [("quiet_hours",)],
    )  # fmt: skip
    (tmp_path / "calendar.yml").write_text("country: ID\n")
    clinics.check()
    assert len(received) == 1

"""Reports given to an agency's own Open311 server: each once, whatever breaks on the way.

The server here keeps to the published schema of GeoReport v2 (`tests/open311/`): what it is sent
and what it answers are checked against it. Updates follow mySociety's extension.
"""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from common.errors import DefinitionError, SourceDenied, SourceUnavailable, WarehouseBusy
from common.settings import ROOT, Settings
from muara.cli import app
from pipeline import open311
from pipeline.sync import sync
from tests.integration.test_bad_input import CANARY, report
from tests.services import Reply, serving
from tests.world import Cameras
from warehouse.shares import deliver, load_contracts

SCHEMA = json.loads((ROOT / "tests" / "open311" / "georeport-v2_swagger.json").read_text())
PARAMETERS = {
    one["name"]: one
    for one in SCHEMA["paths"]["/requests.{response_format}"]["post"]["parameters"]
    if "name" in one
}
# Named in the text of the standard, and not in its schema.
BESIDE_SCHEMA = {"jurisdiction_id", "api_key", "description"}
TEXT = "Lubang di depan rumah"
STEPS = ["belum_diverifikasi", "diverifikasi", "diproses", "selesai"]


def valid(kind, rows):
    jsonschema.validate(rows, {"type": "array", "items": {"$ref": f"#/definitions/{kind}"},
                               "definitions": SCHEMA["definitions"]})  # fmt: skip
    return Reply(rows)


class Agency:
    """An Open311 server. `how(asked, number of the POST)` may give another answer, before or
    (`Kept`) after it was taken in."""

    def __init__(self):
        self.requests, self.updates, self.posts, self.tokens = [], [], 0, {}
        self.how = lambda asked, number: None
        self.gives_tokens, self.hides = False, False

    def __call__(self, asked):
        if asked.method == "GET":
            return self._get(asked)
        self.posts += 1
        assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
        if asked.form.get("api_key") != "kunci":
            return Reply([{"code": 403, "description": "api_key"}], 403)
        other = self.how(asked, self.posts)
        if other and other.status != 200:
            return other
        reply = {"/requests.json": self._create,
                 "/servicerequestupdates.json": self._update}[asked.path](asked.form)  # fmt: skip
        return other or reply

    def _create(self, form):
        assert "service_code" in form
        assert {"lat", "long"} <= set(form) or "address_string" in form
        known = {name for name in form if name.split("[")[0] in PARAMETERS} | BESIDE_SCHEMA
        assert set(form) <= known
        number = str(1000 + len(self.requests))
        self.requests.append({
            "service_request_id": number, "status": "open", "service_code": form["service_code"],
            "service_name": "x", "description": form["description"],
            "requested_datetime": datetime.now(UTC).isoformat(timespec="seconds"),
        } | {name: float(form[name]) for name in ("lat", "long") if name in form})  # fmt: skip
        if self.gives_tokens:
            return valid("RequestResponse", [{"token": f"t/{number}"}])
        return valid("RequestResponse", [{"service_request_id": number}])

    def _update(self, form):
        self.updates.append(form)
        return Reply([{"update_id": len(self.updates)}])

    def _get(self, asked):
        if asked.path.startswith("/tokens/"):
            token = asked.path.removeprefix("/tokens/").removesuffix(".json").replace("%2F", "/")
            number = token.removeprefix("t/") if self.tokens.get("ready") else None
            return Reply([{"token": token, **({"service_request_id": number} if number else {})}])
        asked_from, until = asked.query["start_date"], asked.query["end_date"]
        found = [
            one for one in self.requests
            if asked_from <= one["requested_datetime"].replace("+00:00", "Z") <= until
            and one["service_code"] == asked.query["service_code"] and not self.hides
        ]  # fmt: skip
        page = int(asked.query["page"])
        return valid("Request", found[(page - 1) * 2 : page * 2])

    @property
    def codes(self):
        return sorted(one["service_code"] for one in self.requests)


GRANTED = ("description", "latitude", "longitude", "reached_at")


def contract(version="1.0.0", filters="valid_to IS NULL AND agency_code = 'dputr'", **changes):
    declared = {"connection": "dputr_open311", "jurisdiction": "kota.example",
                "services": {"jalan": "ROAD", "": "OTHER"}} | changes  # fmt: skip

    def dataset(name, table, *columns, row_filter="current"):
        return {
            "name": name, "physicalName": table, "physicalType": "table",
            "properties": [
                {"name": column, "customProperties": [{"property": "grant", "value": "clear"}]}
                if column in GRANTED else {"name": column}
                for column in columns
            ],
            "customProperties": [{"property": "rowFilter", "value": row_filter,
                                  "description": "those of its reports"}],
        }  # fmt: skip

    return {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "x", "version": version,
        "status": "active", "description": {"purpose": "x"},
        "customProperties": [
            {"property": "agency", "value": "dputr"}, {"property": "legalBasis", "value": "PKS 1"},
            {"property": "open311", "value": declared},
        ],
        "schema": [
            dataset("laporan", "core.report", "source_record_id", "category_code", "latitude",
                    "longitude", row_filter=filters),
            dataset("isi", "core.report_identity", "source_record_id", "description"),
            dataset("riwayat", "core.report_status", "source_record_id", "status_number", "state",
                    "reached_at"),
        ],
    }  # fmt: skip


def row(number, category="jalan", agency="dputr", steps=1, **changes):
    """A citizen's report as the inbox has it, `steps` of the way to its end."""
    state = STEPS[steps - 1]
    history = [{"state": step, "at": f"2026-11-0{place}T08:00:00+07:00"}
               for place, step in enumerate(STEPS[:steps], start=1)]  # fmt: skip
    extension = {"lapor_state": state, "report_type": "pengaduan", "channel": "sms",
                 "is_anonymous": False, "is_secret": False, "reporter_name": CANARY,
                 "reporter_phone": "081200000001", "history": history}  # fmt: skip
    return report(str(number), service_code=category, agency_responsible=agency,
                  description=f"{TEXT} {number}", lat=-6.72, long=108.55,
                  updated_datetime=history[-1]["at"], extended_attributes=extension,
                  **changes)  # fmt: skip


class City:
    """A warehouse with citizens' reports, and the agency's server beside it."""

    def __init__(self, folder):
        self.cameras = Cameras(folder)
        self.settings = self.cameras.settings
        self.settings.contracts = folder / "contracts"
        self.settings.contracts.mkdir()
        self.agency, self.url = Agency(), ""
        self.agree()

    def agree(self, **changes):
        path = self.settings.contracts / "dputr.odcs.yaml"
        path.write_text(yaml.safe_dump(contract(**changes)))

    def night(self, *rows):
        """Bring the reports in and build the share anew."""
        source = self.cameras.sources["report_inbox"]

        def answer(asked):
            return Reply(rows if asked.query["page"] == "1" else [])

        with serving(answer) as url:
            sync(self.settings, source, source.stream("request"), lambda _: url)
        deliver(self.settings, load_contracts(self.settings)["dputr"], self.settings.today)

    def send(self):
        counts = open311.send(self.settings, lambda _: self.url.replace("//", "//:kunci@"))
        return {name: count for name, count in counts["dputr"].items() if count}

    def outbox(self):
        return self.cameras.rows(
            "SELECT state, service_code, states_sent, http_status FROM lake.ops.outbox ORDER BY ALL"
        )


@pytest.fixture
def city(tmp_path):
    made = City(tmp_path)
    with serving(made.agency) as made.url:
        yield made


def test_granted_reports_are_created_once_and_their_states_follow(city, caplog):
    caplog.set_level("DEBUG")
    city.night(row(1), row(2, category=None), row(3, agency="dlh"), row(4, category="lampu"))
    assert city.send() == {"created": 2, "unmapped": 1}
    assert city.agency.codes == ["OTHER", "ROAD"]
    (road,) = [one for one in city.agency.requests if one["service_code"] == "ROAD"]
    assert road["description"].startswith(f"{TEXT} 1\n\n[muara ")
    assert (road["lat"], road["long"]) == (-6.72, 108.55)
    assert city.send() == {"unmapped": 1}
    before = city.cameras.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")

    city.cameras.next_night()
    city.night(row(1, steps=3), row(2, category=None), row(3, agency="dlh"), row(4, "lampu"))
    assert city.send() == {"updates": 2, "unmapped": 1}
    assert [(one["status"], one["description"]) for one in city.agency.updates] == [
        ("OPEN", "Laporan sudah diverifikasi"), ("OPEN", "Laporan sedang diproses"),
    ]  # fmt: skip
    assert {one["service_request_id"] for one in city.agency.updates} == {
        road["service_request_id"]
    }
    assert city.agency.updates[0]["updated_datetime"] == "2026-11-02T01:00:00Z"
    assert city.agency.updates[0]["jurisdiction_id"] == "kota.example"
    city.night(row(1, steps=4), row(2, category=None), row(3, agency="dlh"), row(4, "lampu"))
    assert city.send() == {"updates": 1, "unmapped": 1}
    assert city.agency.updates[-1]["status"] == "CLOSED"
    assert len({one["update_id"] for one in city.agency.updates}) == 3
    assert len(city.agency.requests) == 2
    assert city.outbox() == [("created", "OTHER", 1, None), ("created", "ROAD", 4, None)]
    assert before != city.cameras.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")

    sent = json.dumps([city.agency.requests, city.agency.updates])
    log = (city.settings.home / "logs" / "muara.log").read_text()
    for secret in (CANARY, "081200000001"):
        assert secret not in sent
    for secret in (CANARY, TEXT, "kunci"):
        assert secret not in log + caplog.text


def test_a_night_with_nothing_new_writes_nothing_and_asks_nothing(city):
    city.night(row(1, steps=2))
    city.send()
    query = "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')"
    before, posts = city.cameras.rows(query), city.agency.posts
    assert city.send() == {}
    assert (city.cameras.rows(query), city.agency.posts) == (before, posts)


def test_what_is_not_granted_is_not_sent(city):
    made = contract()
    made["schema"] = [
        {**one, "properties": [part for part in one["properties"] if part["name"] != "latitude"]}
        for one in made["schema"] if one["name"] != "isi"
    ]  # fmt: skip
    (city.settings.contracts / "dputr.odcs.yaml").write_text(yaml.safe_dump(made))
    city.agency.how = lambda asked, number: asked_for.append(asked.form) or Reply([], 400)
    asked_for = []
    city.night(row(1))
    assert city.send() == {"refused": 1}
    assert set(asked_for[0]) == {
        "service_code", "long", "description", "attribute[external_id]", "jurisdiction_id",
        "api_key",
    }  # fmt: skip
    assert TEXT not in asked_for[0]["description"]


def test_a_refused_report_stops_no_other_and_is_not_sent_for_ever(city):
    city.agency.how = lambda asked, number: (
        Reply([{"code": 400, "description": CANARY}], 400)
        if f"{TEXT} 2\n" in asked.form.get("description", "") else None
    )  # fmt: skip
    city.night(*(row(number) for number in range(1, 6)))
    assert city.send() == {"created": 4, "refused": 1}
    assert city.send() == {}
    assert ("refused", "ROAD", 1, 400) in city.outbox()
    log = (city.settings.home / "logs" / "muara.log").read_text()
    assert '"status": 400' in log
    assert CANARY not in log

    city.agency.how = lambda asked, number: None
    city.agree(version="1.0.1")
    assert city.send() == {"created": 1}
    assert len(city.agency.requests) == 5


def test_a_refused_state_does_not_hold_up_the_next(city):
    city.night(row(1, steps=3))
    city.agency.how = lambda asked, number: (
        Reply([], 422) if "diverifikasi" in asked.form["description"] else None
    )
    assert city.send() == {"created": 1, "updates_refused": 1, "updates": 1}
    assert city.send() == {}


@pytest.mark.parametrize("answer", [Reply(b"", 503), Reply(cut=0), Reply(cut=30)])
@pytest.mark.parametrize("is_taken_in", [True, False])
def test_an_answer_that_is_none_leaves_a_doubt_that_is_settled(city, answer, is_taken_in):
    """Whether it arrived or not: after the next run the report is there once."""

    def how(asked, number):
        if number != 2:
            return None
        if is_taken_in:
            city.agency._create(asked.form)
        return Reply(answer.body, 503, cut=answer.cut)

    city.agency.how = how
    city.night(row(1), row(2), row(3))
    assert city.send() == {"created": 2, "in_doubt": 1}
    assert city.send() == {"created": 1}
    assert city.send() == {}
    assert len(city.agency.requests) == 3
    assert [state for state, *_ in city.outbox()] == ["created"] * 3


@pytest.mark.parametrize("body", [b"<html>", b"[{}]", b"{}", b""])
def test_an_unreadable_answer_of_success_is_a_doubt_too(city, body):
    def how(asked, number):
        if number == 1:
            city.agency._create(asked.form)
            return Reply(body, 201)
        return None

    city.agency.how = how
    city.night(row(1))
    assert city.send() == {"in_doubt": 1}
    assert city.send() == {"created": 1}
    assert len(city.agency.requests) == 1


def test_a_server_that_is_down_is_given_up_and_tried_the_next_night(city):
    city.agency.how = lambda asked, number: Reply(b"", 503)
    city.night(*(row(number) for number in range(1, 9)))
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        city.send()
    assert city.agency.posts == 3
    city.agency.how = lambda asked, number: None
    assert city.send() == {"created": 8}
    assert len(city.agency.requests) == 8


def test_a_wrong_key_is_no_refusal_of_the_reports(city):
    city.night(row(1), row(2))
    with pytest.raises(SourceDenied, match="HTTP 403") as caught:
        open311.send(city.settings, lambda _: city.url.replace("//", "//:hunter2@"))
    assert "hunter2" not in str(caught.value)
    assert city.send() == {"created": 2}


def test_a_number_that_follows_later(city):
    city.agency.gives_tokens = True
    city.night(row(1, steps=2))
    assert city.send() == {"accepted": 1}
    assert city.send() == {}
    city.agency.tokens["ready"] = True
    assert city.send() == {"created": 1, "updates": 1}
    assert city.agency.updates[0]["service_request_id"] == "1000"
    assert len(city.agency.requests) == 1


@pytest.mark.parametrize("fatal", [1, 2, 5, 8])
def test_killed_while_it_waits_for_an_answer(city, fatal):
    """At the fatal POST the server has taken it in and we die; those before were answered and
    not yet noted."""
    reached, over = threading.Event(), threading.Event()

    def how(asked, number):
        if number == fatal and not reached.is_set():
            city.agency._create(asked.form)
            reached.set()
            over.wait(60)
            return Reply(b"", 503, cut=0)
        return None

    city.agency.how = how
    city.night(*(row(number, steps=2) for number in range(1, 9)))
    driver = (
        "import sys; from pathlib import Path; from tests.integration.test_open311 import *\n"
        "settings = Settings(home=sys.argv[1], contracts=sys.argv[2], today='2026-11-23')\n"
        "open311.send(settings, lambda _: sys.argv[3])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", driver, str(city.settings.home), str(city.settings.contracts),
         city.url.replace("//", "//:kunci@")], cwd=ROOT,
    )  # fmt: skip
    assert reached.wait(120)
    process.kill()
    assert process.wait() == -9
    over.set()
    assert city.send() == {"created": 8, "updates": 8}
    references = [one["description"] for one in city.agency.requests]
    assert len(references) == len(set(references)) == 8
    assert city.send() == {}


def test_two_at_once_do_not_send_twice(city):
    city.night(row(1))
    city.settings.lock_timeout_seconds = 0
    with open311._alone(city.settings, "dputr"):
        with pytest.raises(WarehouseBusy, match="muara send dputr"):
            city.send()
    assert city.send() == {"created": 1}


def test_a_server_does_not_get_its_own_reports_back(city):
    city.agree(connection="report_inbox")
    city.night(row(1))
    with pytest.raises(DefinitionError, match="rowFilter"):
        city.send()
    city.agree(connection="report_inbox", filters="source <> 'report_inbox'")
    city.night(row(1))
    assert city.send() == {}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"services": {}}, "services"),
        ({"connection": None}, "connection"),
        ({"servicess": {"a": "b"}}, "servicess"),
    ],
)
def test_a_contract_that_cannot_be(city, change, match):
    city.agree(**change)
    with pytest.raises(DefinitionError, match=match):
        load_contracts(city.settings)


def test_without_a_share_it_says_what_to_do(city):
    with pytest.raises(DefinitionError, match="muara extract dputr"):
        city.send()


def test_the_command_tells_what_became_of_them(city, monkeypatch):
    city.night(row(1), row(2, category="lampu"))
    monkeypatch.setenv("MUARA_HOME", str(city.settings.home))
    monkeypatch.setenv("MUARA_TODAY", str(city.settings.today))
    monkeypatch.setenv("MUARA_CONTRACTS", str(city.settings.contracts))
    monkeypatch.setenv("AIRFLOW_CONN_DPUTR_OPEN311", city.url.replace("//", "//:kunci@"))
    told = CliRunner().invoke(app, ["send", "dputr"])
    assert (told.exit_code, told.output) == (0, "dputr: 1 created, 1 unmapped\n")
    found = json.loads(CliRunner().invoke(app, ["send", "--json"]).output)
    assert found["dputr"]["unmapped"] == 1
    with pytest.raises(DefinitionError, match="no contract for dlh says open311"):
        open311.send(city.settings, lambda _: city.url, "dlh")


def test_contracts_without_open311_need_no_server(tmp_path):
    settings = Settings(home=tmp_path)
    assert open311.send(settings, lambda _: pytest.fail("nobody is asked")) == {}

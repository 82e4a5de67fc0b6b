"""The report inbox over HTTP: every report once, in the shape of Open311 GeoReport v2."""

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import httpx
import pytest

import city

# Required by the published GeoReport v2 schema (open311/schema-validation) of a request.
REQUIRED = {"service_request_id", "status", "service_name", "service_code", "requested_datetime"}
ALLOWED = REQUIRED | {
    "status_notes", "description", "agency_responsible", "service_notice", "updated_datetime",
    "expected_datetime", "address", "zipcode", "lat", "long", "media_url", "extended_attributes",
}  # fmt: skip
STATES = ["belum_diverifikasi", "diverifikasi", "diproses", "selesai", "ditolak"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    city.build(folder, 2_000, seed=9, today=date(2026, 11, 23))
    return folder


@pytest.fixture
def inbox(home: Path) -> Iterator[httpx.Client]:
    with city.serve_open311(home) as url, httpx.Client(base_url=url) as client:
        yield client


def everything(client: httpx.Client, **parameters: str) -> list[dict]:
    found: list[dict] = []
    for page in range(1, 1000):
        query = {"page": page, "page_size": 170} | parameters
        rows = client.get("/requests.json", params=query).raise_for_status().json()
        if not rows:
            return found
        found += rows
    raise AssertionError("the inbox never ends")


def sound_reports(home: Path, client: httpx.Client) -> list[dict]:
    faulty = duckdb.sql(
        f"SELECT row_key FROM '{home}/truth/fault.parquet' WHERE system = 'report_inbox'"
    ).fetchall()
    wrong = {key for (key,) in faulty}
    return [row for row in everything(client) if row["service_request_id"] not in wrong]


def test_paging_gives_every_report_exactly_once(home: Path, inbox: httpx.Client) -> None:
    numbers = [row["service_request_id"] for row in everything(inbox)]
    with sqlite3.connect(home / "systems" / "report_inbox.db") as connection:
        stored = connection.execute("SELECT service_request_id FROM requests").fetchall()
    assert sorted(numbers) == sorted(number for (number,) in stored)
    assert numbers == sorted(numbers, key=int)


def test_sound_reports_have_the_fields_of_georeport(home: Path, inbox: httpx.Client) -> None:
    for row in sound_reports(home, inbox):
        assert row.keys() >= REQUIRED
        assert row.keys() <= ALLOWED
        assert row["status"] in {"open", "closed"}
        requested = datetime.fromisoformat(row["requested_datetime"])
        assert requested.utcoffset().total_seconds() == 7 * 3600
        assert requested <= datetime.fromisoformat(row["updated_datetime"])
        assert isinstance(row["service_request_id"], str)
        assert isinstance(row["lat"], float | None)
        assert row["lat"] is None or (
            -6.80 <= row["lat"] <= -6.66 and 108.5 <= row["long"] <= 108.62
        )


def test_the_lapor_state_ends_the_history(home: Path, inbox: httpx.Client) -> None:
    for row in sound_reports(home, inbox):
        extra = row["extended_attributes"]
        assert extra["lapor_state"] in STATES
        assert extra["history"][-1]["state"] == extra["lapor_state"]
        times = [step["at"] for step in extra["history"]]
        assert times == sorted(times)
        assert times[0] == row["requested_datetime"]
        assert times[-1] == row["updated_datetime"]
        assert (row["status"] == "closed") == (extra["lapor_state"] in {"selesai", "ditolak"})
        assert not extra["is_anonymous"] or extra["reporter_name"] is None


def test_about_a_third_has_no_category(home: Path, inbox: httpx.Client) -> None:
    rows = sound_reports(home, inbox)
    share = sum(row["service_code"] is None for row in rows) / len(rows)
    assert 0.3 < share < 0.44


def test_services_are_those_the_reports_name(home: Path, inbox: httpx.Client) -> None:
    services = inbox.get("/services.json").json()
    assert len(services) == 12
    for service in services:
        assert service["metadata"] is False
        assert service["type"] == "realtime"
        assert service["service_name"]
    codes = {service["service_code"] for service in services}
    assert {row["service_code"] for row in sound_reports(home, inbox)} == codes | {None}


def test_filters(home: Path, inbox: httpx.Client) -> None:
    rows = sound_reports(home, inbox)
    middle = sorted(row["requested_datetime"] for row in rows)[len(rows) // 2]
    early = everything(inbox, end_date=middle)
    late = everything(inbox, start_date=middle)
    assert len(early) + len(late) == len(everything(inbox)) + 1
    assert {row["status"] for row in everything(inbox, status="open")} == {"open"}
    newest = max(row["updated_datetime"] for row in rows)
    assert all(row["updated_datetime"] > newest for row in everything(inbox, updated_after=newest))
    number = rows[3]["service_request_id"]
    assert [r["service_request_id"] for r in everything(inbox, service_request_id=number)] == [
        number
    ]
    assert inbox.get("/requests.json", params={"page": "x"}).status_code == 400


def test_it_answers_from_the_file_as_it_is_now(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    with city.serve_open311(tmp_path) as url, httpx.Client(base_url=url) as client:
        before = everything(client)
        city.tomorrow(tmp_path)
        after = everything(client)
    assert len(after) > len(before)


def test_faults_for_tests(home: Path) -> None:
    with city.serve_open311(home, fault=city.failing(2)) as url:
        statuses = [httpx.get(f"{url}/requests.json").status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    with city.serve_open311(home, fault=city.failing(1, status=200, body=b"[{")) as url:
        assert httpx.get(f"{url}/requests.json").text == "[{"
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{url}/elsewhere").status_code == 404

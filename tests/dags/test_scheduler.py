"""Airflow's real services, as `make up` starts them: schedules, assets, pools and retries.

One evening is played once; each test looks at what it left. The registry first has no tables, and
is repaired and run again by hand; the inbox opens only after its first try.
"""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import datetime, time
from itertools import pairwise
from pathlib import Path
from time import sleep as pause

import httpx
import psutil
import pytest

from common.settings import ROOT, Settings
from tests.dags.machine import CANARY_NAME, Machine
from warehouse.catalog import reading

LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"
BUNDLES = [
    {"name": "dags-folder", "classpath": LOCAL, "kwargs": {}},
    {
        "name": "contending",
        "classpath": LOCAL,
        "kwargs": {"path": str(Path(__file__).parent / "contending")},
    },
]
REQUESTS = "FROM task_instance WHERE dag_id = 'sync_report_inbox' AND task_id = 'request'"
FIRST_TRY_FAILED = f"SELECT state {REQUESTS}"
FIRST_RUN_ENDED = "SELECT state FROM dag_run WHERE dag_id = 'sync_civil_registry'"
ASKED = "SELECT state FROM task_instance WHERE dag_id = 'review_drift' AND task_id = 'ask'"
REVIEWED = "SELECT state FROM dag_run WHERE dag_id = 'review_drift'"
PUBLISHED_BY_ASSETS = (
    "SELECT state FROM dag_run WHERE dag_id = 'publish' AND run_type = 'asset_triggered'"
)
CLOSED = ("/docs", "/redoc", "/openapi.json", "/auth/docs", "/auth/redoc", "/auth/openapi.json",
          "/execution/docs", "/execution/redoc", "/execution/openapi.json")  # fmt: skip
BACKFILLED = "SELECT state FROM dag_run WHERE run_type = 'backfill'"


@pytest.fixture(scope="module")
def evening(tmp_path_factory):
    machine = Machine(
        tmp_path_factory.mktemp("evening"),
        MUARA_RETRIES="2",
        MUARA_RETRY_DELAY_SECONDS="10",
        AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(BUNDLES),
    )
    up = subprocess.Popen(
        [sys.executable, "-m", "dags.local", "up"],
        env=machine.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        umask=0o022,
    )
    too_late = threading.Timer(300, up.kill)
    too_late.start()
    try:
        machine.told = [up.stdout.readline() for _ in range(5)]
        too_late.cancel()
        machine.closed = [_ask(machine, path) for path in CLOSED]
        machine.guesses = [_guess(machine, n) for n in range(8)]
        machine.wait_for(FIRST_TRY_FAILED, lambda rows: rows == [("up_for_retry",)], 300)
        inbox = machine.open_inbox()
        machine.wait_for(FIRST_RUN_ENDED, lambda rows: rows == [("failed",)], 300)
        machine.published_too_early = machine.metadata(PUBLISHED_BY_ASSETS)
        machine.repair_registry()
        machine.add_column("civil_registry", "family", "catatan", CANARY_NAME)
        _trigger(machine, "sync_civil_registry")
        machine.wait_for(PUBLISHED_BY_ASSETS, lambda rows: rows == [("success",)], 300)
        machine.planned = _backfill(machine, "--dry-run")
        _backfill(machine)
        machine.wait_for(BACKFILLED, lambda rows: rows == [("success",)] * 2, 300)
        run = _trigger(machine, "review_drift")
        machine.wait_for(ASKED, lambda rows: rows == [("awaiting_input",)], 300)
        # A person does not answer within seconds. Airflow 3.3 fails a question that is answered
        # before its scheduler has heard from the executor that the question was asked.
        pause(20)
        _approve(machine, run)
        machine.wait_for(REVIEWED, lambda rows: rows == [("success",)], 300)
        machine.services = psutil.Process(up.pid).children(recursive=True)
        machine.down = machine.run("down")
        machine.up_returned = up.wait(120)
        inbox.shutdown()
        yield machine
    finally:
        too_late.cancel()
        if up.poll() is None:
            machine.run("down")


def _ask(machine, path):
    return httpx.get(f"http://127.0.0.1:{machine.airflow_port}{path}", timeout=240).status_code


def _guess(machine, n):
    """As somebody does who is at another address."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as elsewhere:
        who = {"username": "admin", "password": f"wrong {n}"}
        url = f"http://127.0.0.1:{machine.airflow_port}/auth/token"
        return elsewhere.post(url, json=who, timeout=240).status_code


@contextmanager
def _signed_in(machine):
    """As a person in the UI, with the password in the file."""
    password = json.loads((machine.home / "airflow" / "passwords.json").read_text())["admin"]
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.airflow_port}", timeout=240) as client:
        who = {"username": "admin", "password": password}
        token = client.post("/auth/token", json=who).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def _trigger(machine, dag_id):
    """Returns the id of the run."""
    with _signed_in(machine) as client:
        answer = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None})
        return answer.raise_for_status().json()["dag_run_id"]


def _approve(machine, run):
    with _signed_in(machine) as client:
        client.patch(
            f"/api/v2/dags/review_drift/dagRuns/{run}/taskInstances/ask/-1/hitlDetails",
            json={"chosen_options": ["Approve"], "params_input": {}},
        ).raise_for_status()


def _backfill(machine, *options):
    """The command that docs/operating.md gives, for the two nights before the last three days."""
    begin, end = (f"{machine.day(days)}T00:00+07:00" for days in (-4, -2))
    return subprocess.run(
        [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "sync_cctv",
         "--from-date", begin, "--to-date", end, "--max-active-runs", "1", *options],
        env=machine.environment | {"AIRFLOW_HOME": str(machine.home / "airflow")},
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_sources_run_on_their_own(evening):
    runs = evening.metadata(
        "SELECT dag_id, state FROM dag_run WHERE dag_id LIKE 'sync_%' AND run_type = 'scheduled' "
        "ORDER BY dag_id"
    )
    assert runs == [
        ("sync_cctv", "success"),
        ("sync_civil_registry", "failed"),
        ("sync_report_inbox", "success"),
    ]


def test_intervals_are_whole_nights(evening):
    for start, end in evening.metadata(
        "SELECT data_interval_start, data_interval_end FROM dag_run WHERE run_type = 'scheduled' "
        "AND dag_id LIKE 'sync_%'"
    ):
        length = datetime.fromisoformat(end) - datetime.fromisoformat(start)
        assert (length.days, end[11:16]) == (1, "18:00")  # 01:00 in Jakarta


def test_a_transient_failure_is_retried(evening):
    assert evening.metadata(f"SELECT state, try_number {REQUESTS}") == [("success", 2)]


def test_a_terminal_failure_is_not_retried_and_stops_no_other_stream(evening):
    assert evening.metadata(
        "SELECT task_id, ti.state, try_number FROM task_instance ti JOIN dag_run r "
        "USING (dag_id, run_id) WHERE dag_id = 'sync_civil_registry' AND run_type = 'scheduled' "
        "ORDER BY task_id"
    ) == [
        ("family", "failed", 1),
        ("judge_again", "success", 1),
        ("resident", "failed", 1),
        ("settled", "upstream_failed", 0),
    ]


def test_publish_ran_only_when_every_source_had_settled(evening):
    assert evening.published_too_early == []
    settled = evening.metadata(
        "SELECT count(*), max(ti.end_date) FROM task_instance ti JOIN dag_run r "
        "USING (dag_id, run_id) WHERE task_id = 'settled' AND ti.state = 'success' "
        "AND run_type <> 'backfill'"
    )
    started = evening.metadata(
        "SELECT ti.start_date FROM task_instance ti JOIN dag_run USING (dag_id, run_id) "
        "WHERE task_id = 'publish' AND run_type = 'asset_triggered'"
    )
    assert settled[0][0] == 3
    assert started[0][0] > settled[0][1]
    assert (evening.home / "published" / "current").exists()


def test_a_pool_of_one_lets_one_task_at_a_time_reach_the_agency(evening):
    spans = evening.metadata(
        "SELECT start_date, end_date, dag_id FROM task_instance WHERE pool = 'cctv' "
        "ORDER BY start_date"
    )
    assert len(spans) == 8
    assert {dag_id for *_, dag_id in spans} == {"contend", "sync_cctv"}
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_sources_do_run_beside_each_other(evening):
    ((overlaps,),) = evening.metadata(
        "SELECT count(*) FROM task_instance a JOIN task_instance b ON a.pool < b.pool "
        "AND a.start_date < b.end_date AND b.start_date < a.end_date"
    )
    assert overlaps > 0


def test_a_backfill_reads_the_nights_of_a_cursor_in_the_citys_time(evening):
    with reading(Settings(home=evening.home)) as connection:
        read = connection.execute(
            "SELECT low_at, high_at, outcome, extracted FROM lake.ops.interval "
            "JOIN (SELECT batch_id, extracted FROM lake.ops.ledger) USING (batch_id) "
            "WHERE low_at IS NOT NULL ORDER BY low_at"
        ).fetchall()
    nights = [datetime.combine(evening.day(days), time(1)) for days in (-4, -3, -2)]
    assert read == [(*nights[:2], "loaded", 0), (*nights[1:], "loaded", 1)]
    assert evening.planned.count("18:00:00+00:00 |") == 2


def test_a_backfill_does_not_take_a_snapshot_for_the_past(evening):
    with reading(Settings(home=evening.home)) as connection:
        ((batches,),) = connection.execute(
            "SELECT count(*) FROM lake.ops.ledger WHERE stream = 'monitor'"
        ).fetchall()
    assert batches == 1
    logs = (evening.home / "airflow" / "logs").rglob("*run_id=backfill*/task_id=monitor/*.log")
    told = [log.read_text() for log in logs]
    assert len(told) == 2
    assert all("a snapshot cannot be read as of the past" in text for text in told)


def test_extracts_are_next_delivered_at_five_in_jakarta(evening):
    ((logical, due),) = evening.metadata(
        "SELECT next_dagrun, next_dagrun_create_after FROM dag WHERE dag_id = 'deliver_extracts'"
    )
    assert (logical[11:19], due[11:19]) == ("22:00:00", "22:00:00")  # stored in UTC


def test_metadata_holds_counts_only(evening):
    values = evening.metadata("SELECT value FROM xcom WHERE dag_id LIKE 'sync_%'")
    found = [json.loads(value) for (value,) in values]
    assert {"extracted": 2, "inserted": 1, "updated": 0, "unchanged": 0, "quarantined": 1,
            "excluded": 0, "deleted": 0} in found  # fmt: skip
    assert all(isinstance(count, int) for counts in found for count in counts.values())


def test_a_person_is_asked_about_drift_with_counts_only_and_the_answer_counts(evening):
    ((subject, body),) = evening.metadata("SELECT subject, body FROM hitl_detail")
    assert subject == "1 drift(s) of sources are open"
    assert "- **civil_registry**: 1 new. See `muara check civil_registry --propose`" in body
    accepted = evening.metadata(
        "SELECT value FROM xcom WHERE dag_id = 'review_drift' AND task_id = 'accept'"
    )
    assert accepted == [(1,)]


def test_nobody_is_named_in_logs_or_metadata(evening):
    assert (evening.home / "airflow" / "airflow.db").exists()
    assert evening.files_naming_the_canary() == []


def test_the_password_is_in_its_file_only(evening):
    path = evening.home / "airflow" / "passwords.json"
    password = json.loads(path.read_text())["admin"]
    assert path.stat().st_mode & 0o077 == 0
    assert password not in "".join(evening.told)
    assert str(path) in "".join(evening.told)
    logs = list((evening.home / "airflow" / "logs").rglob("*.log"))
    assert logs
    assert not any(password in log.read_text() for log in logs)


def test_who_guesses_the_password_waits_and_others_do_not(evening):
    """The runs that were triggered by hand were, by somebody who signed in meanwhile."""
    assert evening.guesses == [401] * 5 + [429] * 3


def test_airflow_describes_its_api_to_nobody(evening):
    assert evening.closed == [404] * len(CLOSED)


def test_nothing_of_the_home_is_readable_by_others(evening):
    found = [evening.home, *evening.home.rglob("*")]
    assert [
        path for path in found if not path.is_symlink() and path.stat().st_mode & 0o077
    ] == []  # fmt: skip


def test_down_leaves_nothing_running(evening):
    assert evening.down.returncode == 0
    assert evening.up_returned == 0
    assert len(evening.services) >= 5
    assert [one for one in evening.services if one.is_running()] == []
    assert not (evening.home / "airflow" / "up.pid").exists()

"""`python -m dags.local night`: every DAG once, in asset order, in one process."""

import json
import sqlite3
import stat

import duckdb
import pytest

from common.settings import Settings
from dags import local
from tests.dags.machine import CANARY_NAME, CANARY_NIK, Machine


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """A machine after a night in which one source of three loaded; the registry came without its
    second table, the inbox not at all."""
    machine = Machine(tmp_path_factory.mktemp("night"))
    machine.fill("civil_registry", "family", [])
    with sqlite3.connect(machine.folder / "cctv.db") as cameras:
        cameras.execute("UPDATE Monitors SET Name = ?", [f"{CANARY_NAME} {CANARY_NIK}"])
    machine.night = machine.run("night")
    return machine


def states(machine):
    return [tuple(line.split()[:2]) for line in machine.night.stdout.splitlines()]


def test_order_and_states(after):
    assert states(after) == [
        ("prepare_night", "success"),
        ("sync_cctv", "success"),
        ("sync_civil_registry", "failed"),
        ("sync_report_inbox", "failed"),
        ("publish", "success"),
        ("deliver_extracts", "success"),
        ("backup", "success"),
        ("morning", "failed"),
    ]
    assert after.night.returncode == 1
    assert "3 of 8 DAGs failed: sync_civil_registry.family," in after.night.stderr
    report = json.loads((after.home / "airflow" / "night.json").read_text())
    assert [task for task in report["failed"] if not task.startswith("sync_")] == ["morning.check"]


def test_streams_after_a_failed_one_ran(after):
    tries = after.metadata(
        "SELECT task_id, state, try_number FROM task_instance "
        "WHERE dag_id IN ('sync_civil_registry', 'sync_report_inbox') ORDER BY dag_id, task_id"
    )
    assert tries == [
        ("family", "failed", 1),
        ("judge_again", "success", 1),
        ("resident", "failed", 1),
        ("settled", "upstream_failed", 0),
        ("judge_again", "success", 1),
        ("mail", "failed", 2),
        ("request", "failed", 2),
        ("settled", "upstream_failed", 0),
        ("sms", "failed", 2),
    ]


def test_only_settled_sources_say_so(after):
    events = after.metadata(
        "SELECT asset.name FROM asset_event JOIN asset ON asset.id = asset_id ORDER BY 1"
    )
    assert events == [("cctv",), ("cctv.monitor",), ("cctv.monitor_status",), ("published",)]


def test_events_name_what_every_task_read_and_wrote(after):
    told = {event["job"]["name"]: event for event in after.events()}
    for source, definition in after.definitions.items():
        for stream in definition["streams"]:
            event = told[f"sync_{source}.{stream['name']}"]
            assert event["eventType"] == ("COMPLETE" if source == "cctv" else "FAIL")
            assert (f"muara://source/{source}", stream["name"]) in named(event["inputs"])
            landing = f"landing.{source}__{stream['name']}"
            assert ("muara://lake", landing) in named(event["outputs"])
            assert ("muara://lake", "quarantine.row") in named(event["outputs"])
    assert ("muara://lake", "core.person") in named(told["sync_civil_registry.resident"]["outputs"])
    assert ("muara://lake", "mart.camera_owner") in named(told["publish.publish"]["outputs"])
    assert ("muara://published", "core.camera") in named(told["publish.publish"]["outputs"])
    delivered = told["deliver_extracts.deliver"]
    assert ("muara://contract/bp4d", "proposal") in named(delivered["outputs"])
    assert ("muara://lake", "core.proposal") in named(delivered["inputs"])


def test_events_name_the_columns_that_a_column_is_made_of(after):
    told = {event["job"]["name"]: event for event in after.events()}
    outputs = {one["name"]: one for one in told["sync_cctv.monitor_status"]["outputs"]}
    columns = outputs["core.camera_status"]["facets"]["columnLineage"]["fields"]
    assert [
        (one["namespace"], one["name"], one["field"])
        for one in columns["camera_record_id"]["inputFields"]
    ] == [("muara://source/cctv", "monitor_status", "MonitorId")]


def named(datasets):
    return {(one["namespace"], one["name"]) for one in datasets}


def test_nobody_is_named_in_logs_metadata_or_events(after):
    published = after.home / "published" / "current" / "parquet" / "core" / "camera.parquet"
    assert CANARY_NAME in str(duckdb.sql(f"FROM '{published}'").fetchall()), "somebody is there"
    assert after.files_naming_the_canary() == []


def test_one_pool_per_agency_system(after):
    pools = after.metadata("SELECT pool, slots FROM slot_pool ORDER BY pool")
    assert pools[:2] == [("cctv", 1), ("civil_registry", 1)]
    assert ("report_inbox", 1) in pools


def test_nothing_of_the_home_is_readable_by_others(after):
    found = [after.home, *after.home.rglob("*")]
    assert {"airflow", "lake", "logs", "published", "extracts"} <= {path.name for path in found}
    assert [
        path for path in found
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ] == []  # fmt: skip


def test_faults_of_definitions_end_the_night_with_their_own_code(tmp_path):
    machine = Machine(tmp_path)
    (tmp_path / "connectors" / "cctv" / "source.yml").write_text("name: cctv\n")
    night = machine.run("night")
    assert night.returncode == 3
    assert "cctv/source.yml" in night.stderr


def test_environment_is_private_and_carries_the_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("AIRFLOW__API__PORT", raising=False)
    made = local.environment(Settings(home=tmp_path, retries=7))
    assert made["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert made["MUARA_HOME"] == str(tmp_path)
    assert made["MUARA_RETRIES"] == "7"
    assert made["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8080/execution/"


def test_importing_it_imports_no_airflow():
    source = (local.DAGS / "local.py").read_text().split("\ndef ", 1)[0]
    assert "airflow" not in [line.split()[1].split(".")[0] for line in source.splitlines()
                             if line.startswith(("import ", "from "))]  # fmt: skip

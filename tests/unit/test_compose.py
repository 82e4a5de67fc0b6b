"""docker-compose.yml against the Compose Specification, whose schema check-jsonschema ships."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.settings import ROOT, Settings
from dags.local import environment

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
TEXT = COMPOSE.read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = DOCUMENT["services"]


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True)


def test_it_follows_the_specification() -> None:
    result = check(COMPOSE)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("    healthcheck:", "    healtcheck:", "healtcheck"),
        ("condition: service_healthy", "condition: healthy", "healthy"),
        ("    ports:\n      - ", "    ports: ", "ports"),
        ("retries: 24", "retry: 24", "retry"),
        ("\nvolumes:", "\nvolume:", "volume"),
    ],
)
def test_a_slip_is_found(tmp_path: Path, right: str, wrong: str, named: str) -> None:
    slipped = tmp_path / COMPOSE.name
    slipped.write_text(TEXT.replace(right, wrong, 1))
    assert right in TEXT
    result = check(slipped)
    assert result.returncode == 1
    assert named in result.stdout


def test_ports_are_published_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080", "127.0.0.1:8090:8090"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_names_only_what_is_there(service: str) -> None:
    definition = SERVICES[service]
    assert definition.get("depends_on", {}).keys() <= SERVICES.keys()
    assert {volume.split(":")[0] for volume in definition.get("volumes", [])} <= (
        DOCUMENT["volumes"].keys()
    )
    assert {use["source"] for use in definition.get("configs", [])} <= DOCUMENT["configs"].keys()


def test_the_demo_is_asked_for() -> None:
    demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert demo == {"legacy-mariadb", "legacy-postgres", "city"}


def test_no_secret_is_written_down() -> None:
    """Secrets come from .env: either required, or empty until the demo is asked for."""
    values = {
        (service, name): str(value)
        for service, definition in SERVICES.items()
        for name, value in definition.get("environment", {}).items()
        if re.search(r"PASSWORD(?!S_FILE)|SECRET|_KEY", name) or "@" in str(value)
    }
    assert len(values) > 10
    required, demo = r"AIRFLOW_(DB_PASSWORD|JWT_SECRET):\?[\w .]+", r"CITY_DB_PASSWORD:-"
    secret = rf"\$\{{({required}|{demo})\}}"
    for place, value in values.items():
        assert re.search(rf"^{secret}$|:{secret}@", value), place


SAFETY = [
    "AIRFLOW__CORE__PLUGINS_FOLDER", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__API__ENABLE_SWAGGER_UI", "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS",
    "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS",
]  # fmt: skip


def test_airflow_has_the_door_and_the_modes_that_it_has_on_one_machine() -> None:
    settings = Settings(home=Path("/var/lib/muara"))
    alone = {name: value.lower() for name, value in environment(settings).items() if name in SAFETY}
    assert len(alone) == len(SAFETY)
    for service in (name for name in SERVICES if name.startswith("airflow-")):
        there = SERVICES[service]["environment"]
        assert {
            name: there[name].lower().replace("/opt/muara", str(ROOT).lower()) for name in SAFETY
        } == alone, service

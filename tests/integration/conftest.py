"""A city of 5,000 and its first night, made once and copied for every test that changes it."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import city
from common import log
from common.definition import load_sources
from common.settings import Settings
from pipeline import night
from pipeline.link import link
from pipeline.replay import replay_due
from pipeline.sync import prepare, sync
from portal import accounts
from tests import servers
from warehouse.audit.store import open_store


class Town:
    """A home with a sample city; `night()` runs a whole night without Airflow."""

    def __init__(self, home: Path):
        self.home = home
        self.settings = Settings(home=home, today=city.today(home / "city"), retry_delay_seconds=0)
        self.sources = load_sources(self.settings)
        log.configure(self.settings)

    @contextmanager
    def resolver(self) -> Iterator[Callable[[str], str]]:
        with city.serve_open311(self.home / "city") as url:
            yield city.connections(self.home / "city", url).__getitem__

    def night(self) -> list[Exception]:
        with self.resolver() as resolve:
            return night.run(self.settings, self.sources, resolve)

    def sync(self, *names: str) -> None:
        """These sources only: no publishing, no delivery."""
        prepare(self.settings, self.sources)
        with self.resolver() as resolve:
            for source in map(self.sources.__getitem__, names):
                for stream in source.streams:
                    sync(self.settings, source, stream, resolve)
                assert replay_due(self.settings, source)[1] == []

    def tomorrow(self) -> None:
        city.tomorrow(self.home / "city")
        self.settings.today = city.today(self.home / "city")

    def copy(self, home: Path) -> "Town":
        shutil.copytree(self.home, home, symlinks=True)
        other = Town(home)
        other.settings.impact_assessment = self.settings.impact_assessment
        return other


@pytest.fixture(scope="session")
def small_city(tmp_path_factory) -> Town:
    """5,000 residents, nothing loaded yet. Do not change it: copy it."""
    with once(tmp_path_factory, "small") as (home, is_new):
        if is_new:
            city.build(home / "city", 5000, 1)
    return Town(home)


@pytest.fixture(scope="session")
def first_night(small_city, tmp_path_factory) -> Town:
    """The small city after an undisturbed first night. Do not change it: copy it."""
    with once(tmp_path_factory, "first") as (home, is_new):
        if is_new:
            assert small_city.copy(home).night() == []
    return Town(home)


@pytest.fixture(scope="session")
def linked_night(first_night, tmp_path_factory) -> Town:
    """The same with its people linked. Do not change it: copy it."""
    with once(tmp_path_factory, "linked") as (home, is_new):
        town = first_night.copy(home) if is_new else Town(home)
        town.settings.impact_assessment = "PDP/1/2026"
        if is_new:
            link(town.settings)
    return town


DESK = {"siti": "reviewer", "budi": "reviewer", "dewi": "supervisor", "wati": "auditor"}
PASSWORD = "sungai mengalir ke muara"


@pytest.fixture
def desk_town(linked_night, tmp_path) -> Town:
    """A linked city of its own, whose review desk has the accounts of DESK."""
    town = linked_night.copy(tmp_path / "desk" / "var")
    store = open_store(town.settings)
    for name, role in DESK.items():
        accounts.add(store, name, role, PASSWORD)
    store.dispose()
    return town


@contextmanager
def once(tmp_path_factory, name: str) -> Iterator[tuple[Path, bool]]:
    """A home of this name, made by the first of the processes that share the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = root / f"{name}.made"
        yield root / name / "var", not made.exists()
        made.touch()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def empty_database(request, tmp_path) -> str:
    """The URL of a database of its own, of each kind that can sum."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/t.db"
    fixture = {"postgresql": "postgres_server", "mysql": "mariadb_server"}[request.param]
    server = request.getfixturevalue(fixture)
    return server.create_database(f"t_{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def ssh_server():
    with servers.ssh() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server():
    with servers.s3() as server:
        yield server

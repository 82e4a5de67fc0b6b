"""A city of 5,000 and its first night, made once and copied for every test that changes it."""

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

    def tomorrow(self) -> None:
        city.tomorrow(self.home / "city")
        self.settings.today = city.today(self.home / "city")

    def copy(self, home: Path) -> "Town":
        shutil.copytree(self.home, home, symlinks=True)
        return Town(home)


@pytest.fixture(scope="session")
def small_city(tmp_path_factory) -> Town:
    """5,000 residents, nothing loaded yet. Do not change it: copy it."""
    home = tmp_path_factory.mktemp("small") / "var"
    city.build(home / "city", 5000, 1)
    return Town(home)


@pytest.fixture(scope="session")
def first_night(small_city, tmp_path_factory) -> Town:
    """The small city after an undisturbed first night. Do not change it: copy it."""
    town = small_city.copy(tmp_path_factory.mktemp("first") / "var")
    assert town.night() == []
    return town


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def empty_database(request, tmp_path) -> str:
    """The URL of a database of its own, of each kind that can sum."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/t.db"
    fixture = {"postgresql": "postgres_server", "mysql": "mariadb_server"}[request.param]
    server = request.getfixturevalue(fixture)
    return server.create_database(f"t_{secrets.token_hex(6)}")

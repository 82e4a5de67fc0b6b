"""A city on real MariaDB and PostgreSQL holds the same rows as one on embedded files."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import city
from tests.servers import Server

RESIDENTS, TODAY = 2_000, date(2026, 11, 23)


@pytest.fixture(scope="module")
def cities(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server, mariadb_server: Server
) -> tuple[Path, Path, city.Systems]:
    """One city twice: embedded, and on servers."""
    systems = city.Systems(
        civil_registry=postgres_server.create_database("city_registry"),
        **{
            name: mariadb_server.create_database(f"city_{name}") + "?charset=utf8mb4"
            for name in ("simreda", "brojol", "cctv")
        },
    )
    embedded, served = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("served")
    city.build(embedded, RESIDENTS, seed=3, today=TODAY)
    city.build(served, RESIDENTS, seed=3, today=TODAY, systems=systems)
    return embedded, served, systems


def rows(url: str, table: str) -> list[tuple[str, ...]]:
    """All rows of a table as sorted, comparable text; numbers and times look alike everywhere."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
        found = connection.exec_driver_sql(f"SELECT * FROM {quote(table)}").fetchall()
    engine.dispose()
    return sorted(tuple(_plain(value) for value in row) for row in found)


def _plain(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return str(value)
    try:
        return f"{float(value):.4f}"
    except TypeError:
        return str(value)


def same(one: Path, other: Path, systems: city.Systems) -> None:
    here, there = city.connections(one), city.connections(other, systems=systems)
    for name in ("simreda", "brojol", "cctv", "civil_registry"):
        assert there[name] != here[name]
        engine = sa.create_engine(here[name])
        for table in sa.inspect(engine).get_table_names():
            assert rows(here[name], table) == rows(there[name], table), table
        engine.dispose()


def test_servers_hold_what_the_files_hold(cities: tuple[Path, Path, city.Systems]) -> None:
    embedded, served, systems = cities
    same(embedded, served, systems)
    assert not (served / "systems" / "simreda.db").exists()
    city.tomorrow(embedded)
    city.tomorrow(served, systems)
    same(embedded, served, systems)


def test_old_text_columns_are_latin1_and_zero_dates_are_stored(
    cities: tuple[Path, Path, city.Systems],
) -> None:
    engine = sa.create_engine(cities[2].simreda)
    with engine.connect() as connection:
        charsets = connection.exec_driver_sql(
            "SELECT DISTINCT character_set_name FROM information_schema.columns "
            "WHERE table_schema = 'city_simreda' AND character_set_name IS NOT NULL"
        ).scalars()
        assert set(charsets) == {"latin1", "utf8mb4"}
    engine.dispose()
    engine = sa.create_engine(cities[2].brojol)
    with engine.connect() as connection:
        zero = connection.exec_driver_sql(
            "SELECT count(*) FROM laporan_kelahiran WHERE tgl_lahir = '0000-00-00'"
        ).scalar_one()
    engine.dispose()
    assert zero >= 2

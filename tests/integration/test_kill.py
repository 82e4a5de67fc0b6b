"""kill -9 of the whole process group at seven instants (`make soak`: twenty), one in each stage at
least: the re-run gives the same tables.

A stage mark is printed before the process dies at it, so each test of an instant knows where it
was. `written` lies between the Parquet write and the catalog's commit.
"""

import os
import random
import subprocess
import sys
import time

import pytest

from common.settings import ROOT
from pipeline.sync import prepare
from tests.same import content_hashes
from warehouse.catalog import (
    attach,
    data_folder,
    delete_orphans,
    open_duckdb,
    reading,
    writing,
)
from warehouse.damage import look

SOURCES = ("cctv", "brojol", "civil_registry")
STAGES = ("pulling", "pulled", "staged", "validated", "written", "balanced", "committed")
STREAMS = 7


def run(town, fatal):
    """Marks printed by the night that dies at its `fatal`-th mark."""
    driver = [sys.executable, "-m", "tests.integration.night_driver"]
    done = subprocess.run(
        [*driver, str(town.home), str(fatal), *SOURCES],
        cwd=ROOT, capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.split()


def instants(kills):
    """One kill in each stage at least, the others at random; in the order of the night."""
    chance = random.Random(20261123)
    marks = range(1, STREAMS * len(STAGES) + 1)
    chosen = {chance.randrange(STREAMS) * len(STAGES) + place + 1 for place in range(len(STAGES))}
    while len(chosen) < kills:
        chosen.add(chance.choice(marks))
    return sorted(chosen)


@pytest.mark.parametrize("kills", [len(STAGES), pytest.param(20, marks=pytest.mark.soak)])
def test_a_reader_right_after_each_kill_sees_whole_streams_and_the_rerun_converges(
    kills, small_city, tmp_path
):
    undisturbed = small_city.copy(tmp_path / "undisturbed" / "var")
    assert run(undisturbed, 0)[0] == 0
    whole = counts(undisturbed)
    town = small_city.copy(tmp_path / "killed" / "var")
    (town.home / "secrets").mkdir(exist_ok=True)
    key = (undisturbed.home / "secrets" / "pseudonym.key").read_text()
    (town.home / "secrets" / "pseudonym.key").write_text(key)
    died_at, left_behind = [], 0
    for fatal in instants(kills):
        code, marks = run(town, fatal)
        assert code == -9
        died_at.append(marks[-1])
        for table, rows in counts(town).items():
            assert rows in (0, whole[table]), f"half of {table} after {marks[-1]}"
        left_behind += orphans(town)
    assert set(died_at) == set(STAGES)
    assert "written" in died_at

    assert left_behind > 0, "a kill after the Parquet write leaves files that nobody knows"
    code, marks = run(town, 0)
    assert (code, marks[-2:]) == (0, ["failures", "0"])
    assert content_hashes(town.settings) == content_hashes(undisturbed.settings)
    age_files(town, days=2)
    prepare(town.settings, town.sources)
    # Kills of a first load leave more beside a small lake than goes unasked: it is reported.
    if orphans(town):
        assert look(town.settings)["files that no snapshot names"]
        with writing(town.settings, "upkeep") as connection:
            delete_orphans(connection, data_folder(town.settings), few=False)
    assert orphans(town) == 0
    assert content_hashes(town.settings) == content_hashes(undisturbed.settings)
    assert list((town.home / "staging").glob("[!.]*")) == []  # but the lock of who clears it


def age_files(town, days):
    """What no snapshot knows goes when it is older than a day: nobody may be writing it."""
    long_ago = time.time() - days * 86_400
    for path in (town.home / "lake" / "data").rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))


def counts(town):
    if not (town.home / "lake" / "catalog.sqlite").exists():
        return {}
    with reading(town.settings) as connection:
        tables = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE database_name = 'lake' AND schema_name IN ('landing', 'core')"
        ).fetchall()
        return {
            name: connection.execute(f"SELECT count(*) FROM lake.{name}").fetchall()[0][0]
            for (name,) in tables
        }


def orphans(town):
    connection = open_duckdb(town.settings)
    try:
        attach(connection, town.settings)
        return len(connection.execute(
            "CALL ducklake_delete_orphaned_files('lake', cleanup_all => true, dry_run => true)"
        ).fetchall())  # fmt: skip
    finally:
        connection.close()

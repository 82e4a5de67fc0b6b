"""Kills and disks that refuse, at write calls chosen at random, over everything that writes: a
reader right after sees whole states, the command ends with an error of ours, and the re-run gives
what an undisturbed run gives (`make soak`: a thousand of each)."""

import os
import random
from collections import Counter

import pytest

from tests.writes import KILLED, KILLS, REFUSALS, Fault, Runner
from tests.writes.bench import Bench
from tests.writes.operations import FEW_SOURCES, OPERATIONS

SEED = int(os.environ.get("MUARA_FAULTS_SEED", "20261130"))
SAMPLE, CHAIN, MANY = 30, 6, 1000


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("struck"), OPERATIONS, FEW_SOURCES)
    yield bench
    bench.close()


def test_a_sample_of_write_calls(bench):
    """A re-run for some strikes on the same home; both kinds in one test, which makes the city."""
    chance = random.Random(SEED)
    tell(
        [trial for kind in (KILLS, REFUSALS) for trial in bench.chains(chance, kind, SAMPLE, CHAIN)]
    )


@pytest.mark.soak
@pytest.mark.parametrize("faults", [KILLS, REFUSALS], ids=["kills", "refusals"])
def test_a_thousand_write_calls(faults, bench):
    """A re-run for every strike."""
    tell(bench.chains(random.Random(SEED + 1), faults, MANY, 1))


def tell(trials):
    struck = Counter(trial.operation for trial in trials for _ in trial.struck)
    for operation, times in struck.most_common():
        print(f"{times:5} {operation}")
    faults = [fault for trial in trials for fault in trial.faults]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    runner = Runner(tmp_path_factory.mktemp("runner"))
    yield runner
    runner.close()


def test_every_way_to_write_is_counted_and_struck(runner, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    undisturbed = runner.run(home, ["write_every_way"], Fault.COUNT)
    assert (undisturbed.code, undisturbed.calls) == (0, undisturbed.answer)
    for at in range(1, undisturbed.calls + 1):
        for fault in (Fault.KILL_HALFWAY, Fault.READ_ONLY):
            done = runner.run(home, ["write_every_way"], fault, at)
            assert done.struck, f"{fault.name} at {at}"
            assert done.code == (KILLED if fault in KILLS else 70), done.output


def test_the_databases_of_python_and_duckdb_write_through_it(runner, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for step in ("write_sqlite", "write_lake", "write_parquet_by_arrow"):
        done = runner.run(home, [step], Fault.COUNT)
        assert done.code == 0, done.output
        assert done.calls > 5, step
        assert runner.run(home, [step], Fault.KILL_BEFORE, 3).code == KILLED


def test_a_full_disk_still_deletes_and_overwrites(runner, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "old").write_bytes(b"x" * 100)
    done = runner.run(home, ["overwrite_and_delete"], Fault.FULL, 1)
    assert done.code == 0, done.output
    assert list(home.iterdir()) == []

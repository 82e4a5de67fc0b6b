"""The whole city once, as a newcomer runs it: `muara city build`, then `muara night` by Airflow."""

import json
import os
import subprocess
import sys
from datetime import date

import pytest

from common.definition import load_sources
from common.settings import ROOT, Settings
from tests.truth import rows_as_sent, table_of, wrong_outcomes
from tests.who import SAID_MORE, of_persons
from warehouse.account import attempts
from warehouse.catalog import reading

RESIDENTS = 356_629


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("whole") / "var"
    muara(home, "city", "build", "--residents", str(RESIDENTS), "--seed", "1")
    return home


def muara(home, *words):
    done = subprocess.run(
        [sys.executable, "-m", "muara", *words],
        cwd=ROOT,
        env={**os.environ, "MUARA_HOME": str(home), "MUARA_THREADS": "2",
             "MUARA_IMPACT_ASSESSMENT": "PDP/1/2026"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_whole_city_through_airflow(home):
    answer = json.loads(muara(home, "night", "--json"))
    assert [one for one in answer["checks"] if not one["holds"]] == []
    settings = Settings(home=home, today=date(2026, 11, 23))
    with reading(settings) as connection:
        counts = {(one.source, one.stream): one.counts for one in attempts(connection)}
    for source in load_sources(settings).values():
        for stream in source.streams:
            assert wrong_outcomes(settings, source, stream) == []
            sent = rows_as_sent(home / "city", source.name, table_of(stream))
            found = counts[source.name, stream.name]
            assert found["extracted"] == sent["rows"]
            assert (found["quarantined"], found["excluded"]) == (sent["rejected"], sent["excluded"])
    assert answer["summary"]["persons"] > 0.98 * RESIDENTS
    found = of_persons(settings, load_sources(settings), SAID_MORE)
    assert found.precision >= 0.999
    assert found.recall >= 0.98
    assert of_persons(settings, load_sources(settings)).precision >= 0.999

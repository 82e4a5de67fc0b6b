"""People with a past are erased while kill -9 falls at random: no byte, row, snapshot, store or
file still tells of them, nor after the next night, and past nights count as before."""

import random
import re
import subprocess
import sys
from shutil import copytree

import pytest

import city
from common.settings import ROOT
from pipeline.erasure import requests
from tests.integration.conftest import Town
from tests.left import left
from tests.same import content_hashes
from warehouse.catalog import reading

PHONE = re.compile(r"^(\+62|62|0)(8[0-9]{7,11})$")
COLUMNS_OF = {
    "resident": ("nik", "person_name"),
    "book": ("nik", "person_name"),
    "child": ("child_nik",),
    "mother": ("mother_nik", "mother_name"),
    "father": ("father_nik", "father_name"),
    "reporter": ("sender_number", "sender_address", "sender_name", "extension"),
}
"""Role of a mention → the columns of landing that name the person, as the test knows them."""


@pytest.mark.parametrize(
    ("residents", "people", "kills"),
    [(700, 3, 2), pytest.param(3000, 30, 12, marks=pytest.mark.soak)],
)
def test_people_erased_under_kills_leave_nothing(residents, people, kills, few_people, tmp_path):
    town = lived_in(tmp_path / "base" / "var", residents)
    chance = random.Random(20261130)
    asked = chosen(town, people, chance)
    values = set.union(*left(town.home, values_of(town, asked)).values())
    kinds = [re.compile("[0-9]{16}"), PHONE, re.compile("[A-Z' ]+")]
    numbers, phones, names = (sum(bool(kind.fullmatch(one)) for one in values) for kind in kinds)
    assert numbers >= people, "the test must find what it looks for"
    assert phones * names > 0
    past = counts(town)

    undisturbed = town.copy(tmp_path / "undisturbed" / "var")
    code, said = run(undisturbed, 0, asked)
    assert code == 0
    seconds = float(said[-1])
    assert left(undisturbed.home, values) == {}
    assert counts(undisturbed) == past

    killed = town.copy(tmp_path / "killed" / "var")
    codes = [run(killed, chance.uniform(0, seconds), asked)[0] for _ in range(kills)]
    assert -9 in codes
    code, _ = run(killed, 0, asked)
    assert code == 0
    assert [one for one in requests(killed.settings) if one["state"] == "open"] == []
    assert left(killed.home, values) == {}
    assert content_hashes(killed.settings) == content_hashes(undisturbed.settings)
    assert counts(killed) == past

    killed.settings.impact_assessment = "PDP/1/2026"
    killed.tomorrow()
    assert killed.night() == []
    assert left(killed.home, values) == {}, "the sources still send them"
    assert counts(killed) == past


def lived_in(home, residents):
    """A city after two nights, its people linked."""
    city.build(home / "city", residents, 1)
    town = Town(home)
    town.settings.impact_assessment = "PDP/1/2026"
    assert town.night() == []
    town.tomorrow()
    assert town.night() == []
    return town


@pytest.fixture
def few_people(tmp_path, monkeypatch):
    """Of so few, more would be withheld than the city's floor allows."""
    profile = copytree(ROOT / "profiles" / "kota_cirebon", tmp_path / "profile")
    floor = profile / "disclosure.yml"
    floor.write_text(re.sub("(?m)^withheld: .*$", "withheld: 0.9", floor.read_text()))
    monkeypatch.setenv("MUARA_PROFILE", str(profile))


def run(town, seconds, asked):
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.erasure_driver", str(town.home), str(seconds),
         *asked],
        cwd=ROOT, capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.split()


def chosen(town, people, chance):
    """Persons of the registry of whom other records speak; some of them sent reports."""
    with reading(town.settings) as connection:
        found = connection.execute(
            "SELECT CAST(person_id AS VARCHAR), list_contains(list(role), 'reporter') "
            "FROM lake.core.person_mention WHERE valid_to IS NULL "
            "GROUP BY 1 HAVING count(*) > 1 AND list_contains(list(role), 'resident') ORDER BY 1"
        ).fetchall()
    reporters = [person for person, sent in found if sent]
    others = [person for person, sent in found if not sent]
    some = chance.sample(reporters, min(len(reporters), people // 2))
    return some + chance.sample(others, people - len(some))


def values_of(town, persons):
    """NIKs, phones, e-mail addresses, and names that stand in nobody else's row."""
    said: set[str] = set()
    mine: set[str] = set()
    with reading(town.settings) as connection:
        landing = landed(connection)
        mentions = connection.execute(
            "SELECT role, source_record_id FROM lake.core.person_mention "
            "WHERE valid_to IS NULL AND list_contains(?, CAST(person_id AS VARCHAR))",
            [persons],
        ).fetchall()
        for role, record in mentions:
            mine.add(str(record))
            for table, columns in landing.items():
                for column in set(COLUMNS_OF[role]) & set(columns):
                    said |= {str(value) for (value,) in connection.execute(
                        f'SELECT "{column}" FROM lake.landing.{table} WHERE _record_id = ? '
                        f'AND "{column}" IS NOT NULL', [record]).fetchall()}  # fmt: skip
        niks = {one for one in said if re.fullmatch("[0-9]{16}", one)}
        said |= {phone for (phone,) in connection.execute(
            "SELECT reporter_phone FROM lake.landing.brojol__birth_report WHERE "
            "reporter_phone IS NOT NULL AND list_contains(?, reporter_nik)", [sorted(niks)],
        ).fetchall()}  # fmt: skip
        told = {part for one in said for part in re.findall(r'"reporter_\w+": ?"([^"]+)"', one)}
        told |= {one for one in said if not one.startswith("{")}
        phones = {PHONE.match(re.sub("[ .-]", "", one)) for one in told}
        values = niks | {f"{code}{one[2]}" for one in phones if one for code in ("62", "0")}
        values |= {one.upper() for one in told if "@" in one}
        names = {one.upper() for one in told if re.fullmatch(r"[A-Za-z']+( [A-Za-z']+)+", one)}
        values |= {one for one in names if is_nobody_elses(connection, landing, one, niks, mine)}
    return values


def landed(connection):
    found = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE database_name = 'lake' "
        "AND schema_name = 'landing' AND table_name NOT LIKE '%_now' GROUP BY ALL"
    ).fetchall()
    return dict(found)


def is_nobody_elses(connection, landing, name, niks, mine):
    return not any(
        connection.execute(
            f"""
            SELECT 1 FROM (SELECT _record_id, upper(CAST(one AS VARCHAR)) AS line
                FROM lake.landing.{table} AS one)
            WHERE contains(line, ?) AND NOT list_contains(?, CAST(_record_id AS VARCHAR))
                AND len(list_filter(?, lambda nik: contains(line, nik))) = 0 LIMIT 1
            """,
            [name, sorted(mine), sorted(niks)],
        ).fetchall()
        for table in landing
    )


def counts(town):
    """Of every night that is over: versions that held, per core table; and the ledger."""
    with reading(town.settings) as connection:
        nights = [
            night for (night,) in connection.execute(
                "SELECT DISTINCT night FROM lake.ops.ledger ORDER BY 1").fetchall()
        ][:1]  # fmt: skip
        tables = [
            name for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_columns() WHERE database_name = 'lake' "
                "AND schema_name = 'core' AND column_name = 'closed_reason' "
                "AND table_name NOT LIKE '%_identity' AND table_name <> 'report_part' ORDER BY 1"
            ).fetchall()
        ]  # fmt: skip
        held = {
            (str(night), name): connection.execute(
                f"SELECT count(*) FROM lake.core.{name} WHERE valid_from <= $1 "
                "AND (valid_to IS NULL OR valid_to > $1)",
                [night],
            ).fetchall()[0][0]
            for night in nights
            for name in tables
        }
        ledger = connection.execute(
            "SELECT source, stream, night, extracted, inserted, updated, unchanged, quarantined, "
            "excluded, deleted FROM lake.ops.ledger WHERE list_contains(?, night) ORDER BY ALL",
            [nights],
        ).fetchall()
    return held | {"ledger": ledger}

"""Golden records of past nights, made again from what core held then."""

import json

import ibis
import pytest
from typer.testing import CliRunner

from muara import cli
from pipeline import past
from pipeline.link import link
from transforms.identity import golden
from warehouse.catalog import reading
from warehouse.tables import tables

GOLDEN = ("golden_record", "golden_record_identity", "golden_origin")


def stored(town):
    """Table → its rows as the newest linking left them."""
    with reading(town.settings) as connection:
        return {
            name: connection.execute(f"FROM lake.core.{name} ORDER BY ALL").fetchall()
            for name in GOLDEN
        }


@pytest.fixture(scope="module")
def nights(linked_night, tmp_path_factory):
    """A city after two nights, and what was stored on each: night → table → rows."""
    town = linked_night.copy(tmp_path_factory.mktemp("past") / "var")
    held = {town.settings.today: stored(town)}
    town.tomorrow()
    town.sync(*town.sources)
    link(town.settings)
    return town, held | {town.settings.today: stored(town)}


@pytest.mark.parametrize("newest", [False, True])
def test_the_golden_records_of_a_night_are_those_that_were_stored_on_it(nights, newest):
    town, held = nights
    night = (max if newest else min)(held)
    with reading(town.settings) as connection:
        table = past.held_on(connection, night)
        claim = past.claims(table, night, table("core.person_mention"))
        made = dict.fromkeys(GOLDEN[:2], golden.golden(claim)) | {
            "golden_origin": golden.origins(claim)
        }
        for name, expression in made.items():
            columns = ", ".join(tables()[f"core.{name}"].columns)
            query = f"SELECT {columns} FROM ({ibis.to_sql(expression)}) ORDER BY ALL"
            assert connection.execute(query).fetchall() == held[night][name], name


def test_a_person_whose_record_changes_is_shown_as_on_each_night(nights, monkeypatch):
    town, held = nights
    monkeypatch.setenv("MUARA_HOME", str(town.home))
    rows = {
        night: {name: [dict(zip(tables()[f"core.{name}"].columns, row, strict=True)) for row in of]
                for name, of in of_night.items()}
        for night, of_night in held.items()
    }  # fmt: skip
    golden_on = {
        night: {row["person_id"]: row for row in of["golden_record"]} for night, of in rows.items()
    }
    first, second = (golden_on[night] for night in sorted(held))
    changed = [
        next(person for person in sorted(first.keys() & second.keys())
             if first[person][name] != second[person][name])
        for name in ("status", "source_record_id")
    ]  # fmt: skip
    valued = next(row["person_id"] for row in rows[min(held)]["golden_origin"])

    def show(person, *how):
        found = CliRunner().invoke(cli.app, ["person", "show", str(person), "--json", *how])
        return json.loads(found.output)

    def told(row, *names):
        return {name: str(row[name]) for name in names}

    for person in (*changed, valued):
        for night in held:
            shown = show(person, "--as-of", str(night))
            row = golden_on[night][person]
            assert shown["golden"] == told(row, "status", "role", "source_record_id")
            assert sorted(shown["origins"], key=str) == sorted(
                (told(row, "attribute", "role", "source_record_id")
                 for row in rows[night]["golden_origin"] if row["person_id"] == person), key=str
            )  # fmt: skip
        now, newest = show(person), show(person, "--as-of", str(max(held)))
        assert (now["golden"], now["origins"]) == (newest["golden"], newest["origins"])
    early = CliRunner().invoke(cli.app, ["person", "show", str(valued), "--as-of", "2000-01-01"])
    assert "no person had this id yet on 2000-01-01" in str(early.exception)

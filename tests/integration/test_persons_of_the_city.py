"""Persons found in a city of 5,000, over all its sources, against its truth."""

from uuid import UUID

import pytest

from common.errors import DefinitionError
from pipeline.link import link
from tests.who import SAID_MORE, of_persons
from warehouse.catalog import reading
from warehouse.decisions import Mention, decide, undo


@pytest.fixture(scope="module")
def linked(first_night, tmp_path_factory):
    town = first_night.copy(tmp_path_factory.mktemp("linked") / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    return town, link(town.settings)


def rows(town, query):
    with reading(town.settings) as connection:
        return connection.execute(query).fetchall()


def links(town):
    return rows(town, "FROM lake.core.person_mention ORDER BY ALL")


def test_nobody_is_linked_without_an_impact_assessment(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    with pytest.raises(DefinitionError, match="impact assessment"):
        link(town.settings)
    assert links(town) == []


def test_persons_are_those_of_the_truth(linked):
    town, _ = linked
    everyone = of_persons(town.settings, town.sources)
    said_more = of_persons(town.settings, town.sources, SAID_MORE)
    assert everyone.precision >= 0.999
    assert said_more.precision >= 0.999
    assert said_more.recall >= 0.98
    assert said_more.true > 400


def test_every_mention_has_one_person_and_every_resident_is_one(linked):
    town, done = linked
    assert rows(
        town,
        """
        SELECT count(*), count(DISTINCT (source_record_id, role)),
            count(*) FILTER (role = 'resident'),
            count(DISTINCT if(role = 'resident', person_id, NULL))
        FROM lake.core.person_mention
        """,
    ) == [(done.mentions, done.mentions, *[town_residents(town)] * 2)]


def town_residents(town):
    return rows(town, "SELECT count(*) FROM lake.core.person WHERE valid_to IS NULL")[0][0]


def test_a_second_run_changes_nothing(linked):
    town, first = linked
    before, snapshot = links(town), rows(town, "FROM ducklake_current_snapshot('lake')")
    again = link(town.settings)
    assert again.events == {}
    assert again.model == first.model
    assert not again.trained
    assert links(town) == before
    assert rows(town, "FROM ducklake_current_snapshot('lake')") == snapshot


def test_ids_are_random(linked, first_night, tmp_path):
    town, _ = linked
    other = first_night.copy(tmp_path / "var")
    other.settings.impact_assessment = "PDP/1/2026"
    link(other.settings)
    ids = "SELECT person_id FROM lake.core.person_mention"
    assert not set(rows(town, ids)) & set(rows(other, ids))
    groups = (
        "SELECT list(source_record_id ORDER BY source_record_id) AS records "
        "FROM lake.core.person_mention GROUP BY person_id ORDER BY records"
    )
    assert rows(town, groups) == rows(other, groups)


def test_no_term_that_few_bear_is_kept_in_the_model(linked):
    town, _ = linked
    kept, fewest = rows(
        town,
        """
        SELECT count(*), min(share * residents) FROM lake.ops.identity_term
        JOIN lake.ops.identity_model USING (model_version)
        WHERE term IS NOT NULL AND column_name = 'name'
        """,
    )[0]
    assert kept > 10
    assert fewest > 4.9


def test_ids_stay_as_days_pass(linked, tmp_path):
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    before = dict(rows(town, PERSON_OF))
    for _ in range(2):
        town.tomorrow()
        town.sync("civil_registry", "brojol", "report_inbox", "kelurahan")
        link(town.settings)
    now = dict(rows(town, PERSON_OF))
    stayed = set(before) & set(now)
    assert len(stayed) > 0.95 * len(before)
    moved = {mention for mention in stayed if before[mention] != now[mention]}
    told = {person for (person,) in rows(
        town, "SELECT person_id FROM lake.core.person_history WHERE event <> 'created'"
    )}  # fmt: skip
    assert {before[mention] for mention in moved} | {now[mention] for mention in moved} <= told | {
        person
        for (person,) in rows(
            town, "SELECT other_person_id FROM lake.core.person_history WHERE event <> 'created'"
        )
    }
    found = of_persons(town.settings, town.sources, SAID_MORE)
    assert found.precision >= 0.999
    assert found.recall >= 0.98


def test_what_people_decide_binds_until_it_is_undone(linked, tmp_path):
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    night = town.settings.today
    before = dict(rows(town, PERSON_OF))
    (joined,) = rows(
        town,
        "SELECT list(role || ':' || source_record_id ORDER BY role DESC)[:2] "
        "FROM lake.core.person_mention "
        "GROUP BY person_id HAVING count(*) = 2 AND bool_or(role = 'resident') "
        "ORDER BY person_id LIMIT 1",
    )[0]
    alone = [f"resident:{record}" for (record,) in rows(
        town,
        "SELECT min(source_record_id::VARCHAR) FROM lake.core.person_mention "
        "GROUP BY person_id HAVING count(*) = 1 AND min(role) = 'resident' "
        "ORDER BY ALL LIMIT 2",
    )]  # fmt: skip
    words = {"by": "Petugas 7", "why": "berkas 12/2026", "night": night}
    apart = decide(town.settings, *map(Mention.read, joined), is_same=False, **words)
    same = decide(town.settings, *map(Mention.read, alone), is_same=True, **words)

    assert link(town.settings).events == {"split_from": 1, "merged_into": 1}
    now = dict(rows(town, PERSON_OF))
    assert now[joined[0]] != now[joined[1]]
    assert now[alone[0]] == now[alone[1]]
    assert link(town.settings, retrain=True).events == {}
    assert dict(rows(town, PERSON_OF)) == now

    with pytest.raises(DefinitionError, match="a decision on these two stands"):
        decide(town.settings, *map(Mention.read, alone), is_same=False, **words)
    other = next(one for one in before if one not in (*joined, *alone))
    decide(town.settings, Mention.read(other), Mention.read(alone[0]), is_same=False, **words)
    with pytest.raises(DefinitionError, match="contradicts"):
        decide(town.settings, Mention.read(other), Mention.read(alone[1]), is_same=True, **words)
    with pytest.raises(DefinitionError, match="no record speaks so"):
        decide(town.settings, Mention.read(other), Mention("child", UUID(int=1)), is_same=True,
               **words)  # fmt: skip

    for one in (apart, same):
        undo(town.settings, one, by="Petugas 8", night=night)
    with pytest.raises(DefinitionError, match="no such decision stands"):
        undo(town.settings, same, by="Petugas 8", night=night)
    link(town.settings)
    assert dict(rows(town, PERSON_OF)) == before


PERSON_OF = """
    SELECT role || ':' || source_record_id, person_id FROM lake.core.person_mention
    WHERE valid_to IS NULL"""

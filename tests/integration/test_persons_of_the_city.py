"""Persons found in a city of 5,000, over all its sources, against its truth."""

import json
import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from typer.testing import CliRunner

from common.errors import DefinitionError
from muara import cli
from pipeline.link import gather, link
from tests.who import SAID_MORE, give_truth, next_batch, of_persons
from transforms.identity import golden, training
from warehouse.catalog import attach, changed_since, open_duckdb, reading
from warehouse.decisions import Mention, decide, undo


@pytest.fixture(scope="module")
def linked(first_night, tmp_path_factory):
    town = first_night.copy(tmp_path_factory.mktemp("linked") / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    return town, link(town.settings)


def rows(town, query):
    with reading(town.settings) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def gathered(town):
    """A connection with table `mention` as a linking gathers it."""
    with closing(open_duckdb(town.settings)) as connection:
        attach(connection, town.settings, read_only=True)
        connection.execute("USE memory.main")
        gather(connection, town.settings)
        yield connection


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


def test_a_model_learnt_of_the_same_mentions_is_the_same_in_any_order(linked):
    town, _ = linked
    learnt = []
    with gathered(town) as connection:
        for order in ("mention_id", "hash(mention_id)"):
            connection.execute(f"CREATE OR REPLACE TABLE mention AS FROM mention ORDER BY {order}")
            model = training.train(connection)
            learnt.append((model, connection.execute("FROM term ORDER BY ALL").fetchall()))
    assert learnt[0] == learnt[1]


def test_a_rehearsal_tells_and_changes_nothing(linked, monkeypatch):
    town, _ = linked
    ((snapshot,),) = rows(town, "FROM ducklake_current_snapshot('lake')")
    monkeypatch.setenv("MUARA_HOME", str(town.home))
    monkeypatch.setenv("MUARA_IMPACT_ASSESSMENT", "PDP/1/2026")
    done = CliRunner().invoke(cli.app, ["link", "--retrain", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["events"] == {}
    with reading(town.settings) as connection:
        changed = changed_since(connection, snapshot)
    assert {name for name in changed if name.startswith("core.") or "identity" in name} == set()


def test_each_person_has_one_golden_record_of_values_that_a_record_says(linked):
    town, done = linked
    tables = {"golden_record": golden.OPEN, "golden_record_identity": golden.DIRECT}
    said = " UNION ALL ".join(
        f"SELECT '{name}' AS attribute, person_id, {name}::VARCHAR AS value FROM lake.core.{table}"
        for table, names in tables.items()
        for name in names
    )
    assert rows(town, "SELECT count(*), sum(mentions) FROM lake.core.golden_record") == [
        (done.persons, done.mentions)
    ]
    # What leads a resident is the registry's own row, value for value.
    assert rows(
        town,
        """
        SELECT count(*) FROM lake.core.golden_record AS golden
        JOIN lake.core.golden_record_identity AS who USING (person_id)
        JOIN lake.core.person_identity AS own
            ON own.source_record_id = golden.source_record_id AND own.valid_to IS NULL
        JOIN lake.core.person AS person
            ON person.source_record_id = golden.source_record_id AND person.valid_to IS NULL
        WHERE golden.role = 'resident' AND (who.person_name, golden.status, golden.sex)
            IS NOT DISTINCT FROM (own.person_name, person.status, person.sex)
        """,
    ) == [(town_residents(town),)]
    # A phone is given by the report whose parent or reporter has it, never by the registry.
    given = rows(
        town,
        f"""
        SELECT origin.role, count(*), count(value) FROM lake.core.golden_origin AS origin
        JOIN ({said}) USING (person_id, attribute)
        WHERE attribute = 'phone' GROUP BY ALL ORDER BY ALL
        """,
    )
    assert {role for role, *_ in given} <= {"mother", "father", "reporter"}
    assert sum(count for _, count, _ in given) > 50
    assert all(count == values for _, count, values in given)


def test_nobody_dead_or_moved_away_counts_as_a_resident(linked):
    town, _ = linked
    connection = open_duckdb(town.settings)
    try:
        attach(connection, town.settings, read_only=True)
        give_truth(connection, town.settings, town.sources)
        found = connection.execute(
            f"""
            SELECT person.status, golden.status, count(DISTINCT person_key)
            FROM truth JOIN lake.core.person_mention AS said
                ON truth.mention_id = said.role || ':' || said.source_record_id
            JOIN lake.core.golden_record AS golden USING (person_id)
            JOIN '{town.home / "city" / "truth" / "person.parquet"}' AS person USING (person_key)
            WHERE said.role = 'resident' GROUP BY ALL
            """
        ).fetchall()
    finally:
        connection.close()
    counted = {(true, ours): persons for true, ours, persons in found}
    assert sum(counted.values()) == town_residents(town)
    assert {ours for true, ours in counted if true == "dead"} == {"dead"}
    assert {ours for true, ours in counted if true == "moved_out"} == {"moved_out"}


def test_births_are_followed_to_the_register(linked):
    """Of each child: which of notice, report, certificate and registry row core has, by the truth
    and by our cases."""
    town, _ = linked
    kinds = {"birth_notice": "notice", "birth_report": "report",
             "birth_certificate": "certificate", "person": "resident"}  # fmt: skip
    spoken = " UNION ALL ".join(
        f"SELECT '{'resident' if kind == 'resident' else 'child'}:' || source_record_id "
        f"AS mention_id, source_record_id, '{kind}' AS kind FROM lake.core.{table} "
        "WHERE valid_to IS NULL"
        for table, kind in kinds.items()
    )
    connection = open_duckdb(town.settings)
    try:
        attach(connection, town.settings, read_only=True)
        give_truth(connection, town.settings, town.sources)
        children, right = connection.execute(
            f"""
            WITH spoken AS (FROM ({spoken}) JOIN truth USING (mention_id)),
            truly AS (
                SELECT person_key, list_sort(list(DISTINCT kind)) AS kinds
                FROM spoken GROUP BY ALL HAVING bool_or(kind <> 'resident')),
            cases AS (
                SELECT person_id, min(person_key) AS person_key,
                    count(DISTINCT person_key) AS children,
                    list_sort(list(DISTINCT kind)) AS kinds
                FROM lake.core.person_mention AS held
                SEMI JOIN lake.core.birth_case AS one ON one.person_id = held.person_id
                JOIN spoken ON spoken.mention_id = held.role || ':' || held.source_record_id
                WHERE held.valid_to IS NULL GROUP BY ALL)
            SELECT count(*), count(*) FILTER (cases.kinds = truly.kinds AND children = 1)
            FROM truly LEFT JOIN cases USING (person_key)
            """
        ).fetchall()[0]
    finally:
        connection.close()
    assert children > 100
    assert right / children >= 0.99
    states = dict(rows(town, "SELECT state, count(*) FROM lake.core.birth_case GROUP BY ALL"))
    assert set(states) >= {"noticed", "certified", "claimed", "in_register"}, states


def test_the_command_tells_which_record_gives_what_and_no_value(linked, monkeypatch):
    town, _ = linked
    ((person, leads, role, name, nik),) = rows(
        town,
        """
        SELECT person_id, source_record_id, role, person_name, nik
        FROM lake.core.golden_record JOIN lake.core.golden_record_identity
            USING (person_id, source_record_id)
        SEMI JOIN (FROM lake.core.golden_origin WHERE attribute = 'phone') USING (person_id)
        WHERE status = 'resident' ORDER BY person_id LIMIT 1
        """,
    )
    monkeypatch.setenv("MUARA_HOME", str(town.home))
    shown = CliRunner().invoke(cli.app, ["person", "show", str(person)]).stdout
    assert f"resident; values from {role}:{leads}" in shown
    assert "phone from " in shown
    assert f"{person} created" in shown
    assert name not in shown
    assert nik not in shown


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


@pytest.mark.parametrize("days", [2, pytest.param(30, marks=pytest.mark.soak)])
def test_no_id_changes_without_a_cause_in_the_data(days, linked, tmp_path):
    """A mention goes to another person only where a mention of either came, went or changed."""
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    person_of, said = dict(rows(town, PERSON_OF)), what_is_said(town)
    causes, moves = 0, 0
    for _ in range(days):
        before, said_before = person_of, said
        town.tomorrow()
        town.sync("civil_registry", "brojol", "report_inbox", "kelurahan")
        link(town.settings)
        person_of, said = dict(rows(town, PERSON_OF)), what_is_said(town)
        differs = {one for one, _ in said_before.items() ^ said.items()}
        assert 0 < len(differs) < 0.05 * len(said)
        concerned = {person[one] for person in (before, person_of) for one in differs & set(person)}
        moved = {one for one in set(before) & set(person_of) if before[one] != person_of[one]}
        assert {one for one in moved if not {before[one], person_of[one]} & concerned} == set()
        causes += len(differs)
        moves += len(moved)
    print(f"{days} nights: {causes:,} mentions came, went or changed; {moves:,} changed their id")
    found = of_persons(town.settings, town.sources, SAID_MORE)
    assert found.precision >= 0.999
    assert found.recall >= 0.98


def what_is_said(town):
    """Mention → a hash of all that is compared."""
    with gathered(town) as connection:
        return dict(connection.execute("SELECT mention_id, hash(mention) FROM mention").fetchall())


def test_a_corrected_number_keeps_the_id_and_a_stranger_does_not_get_it(linked, tmp_path):
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    chosen = rows(
        town,
        """
        SELECT nik, person_id FROM lake.core.golden_record JOIN lake.core.golden_record_identity
            USING (person_id)
        WHERE mentions = 1 AND role = 'resident' AND status = 'resident' AND mother_nik IS NOT NULL
        ORDER BY nik LIMIT 2
        """,
    )
    (corrected, kept), (replaced, lost) = chosen
    with sqlite3.connect(town.home / "city" / "systems" / "civil_registry.db") as registry:
        for nik, other in ((corrected, "NAMA_LGKP = NAMA_LGKP"), (replaced, "NAMA_LGKP = 'LAIN'")):
            registry.execute(
                f"UPDATE biodata_wni SET NIK = ?, {other} WHERE NIK = ?",
                [f"{nik[:12]}{(int(nik[12:]) + 7000) % 10000:04}", nik],
            )
    town.settings.today += timedelta(days=1)
    town.sync("civil_registry")
    assert link(town.settings).events == {"created": 1, "ended": 1}
    (number,) = rows(
        town,
        f"SELECT nik FROM lake.core.golden_record_identity WHERE person_id = '{kept}'",
    )
    assert number != (corrected,)
    assert rows(
        town,
        f"SELECT event FROM lake.core.person_history WHERE person_id = '{lost}' ORDER BY night",
    ) == [("created",), ("ended",)]


def test_a_resident_under_two_numbers_is_a_question_and_never_a_link(linked, tmp_path):
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    ((record,),) = rows(
        town,
        "SELECT source_record_id FROM lake.core.person JOIN lake.core.person_identity "
        "USING (source_record_id) WHERE mother_nik IS NOT NULL AND person.valid_to IS NULL "
        "AND contains(person_name, ' ') ORDER BY source_record_id LIMIT 1",
    )
    other = UUID(int=7)
    connection = open_duckdb(town.settings)
    attach(connection, town.settings)
    batch = next_batch(connection)
    for table, changed in (("person", ""), ("person_identity", ", nik[:12] || '9871' AS nik")):
        connection.execute(
            f"INSERT INTO lake.core.{table} "
            f"SELECT * REPLACE (?::UUID AS source_record_id, ? AS batch_id{changed}) "
            f"FROM lake.core.{table} WHERE source_record_id = ? AND valid_to IS NULL",
            [other, batch, record],
        )
    connection.close()
    done = link(town.settings)
    assert (done.compared, done.events) == (1, {"created": 1})
    ((probability,),) = rows(
        town,
        "SELECT probability FROM lake.ops.person_pair "
        f"WHERE (source_record_id = '{other}') <> (other_source_record_id = '{other}')"
        f"AND role = 'resident' AND '{record}' IN (source_record_id, other_source_record_id)",
    )
    assert probability > 0.9
    assert rows(
        town,
        f"SELECT count(DISTINCT person_id) FROM lake.core.person_mention WHERE valid_to IS NULL "
        f"AND source_record_id IN ('{record}', '{other}')",
    ) == [(2,)]
    said = {"by": "Petugas 7", "why": "470", "night": town.settings.today}
    decide(town.settings, Mention("resident", record), Mention("resident", other),
           is_same=True, **said)  # fmt: skip
    assert link(town.settings).events == {"merged_into": 1}


def test_what_people_decide_binds_until_it_is_undone(linked, tmp_path):
    town = linked[0].copy(tmp_path / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    night = town.settings.today
    before, described = dict(rows(town, PERSON_OF)), golden_records(town)
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

    told = link(town.settings, dry_run=True)
    assert told.events == {"split_from": 1, "merged_into": 1}
    assert told.moved == 2
    assert dict(rows(town, PERSON_OF)) == before
    done = link(town.settings)
    assert (done.events, done.moved) == (told.events, told.moved)
    now = dict(rows(town, PERSON_OF))
    assert now[joined[0]] != now[joined[1]]
    assert now[alone[0]] == now[alone[1]]
    for then, since in list(zip(described, golden_records(town), strict=True))[:2]:
        assert len(since) == len(then)
    assert len(set(golden_records(town)[0]) - set(described[0])) == 3
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
    assert golden_records(town) == described


def golden_records(town):
    return [
        rows(town, f"FROM lake.core.{table} ORDER BY ALL")
        for table in ("golden_record", "golden_record_identity", "golden_origin")
    ]


PERSON_OF = """
    SELECT role || ':' || source_record_id, person_id FROM lake.core.person_mention
    WHERE valid_to IS NULL"""

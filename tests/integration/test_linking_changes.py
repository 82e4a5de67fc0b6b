"""A linking that compares only what changed gives what a linking of everything would."""

from random import Random

import pytest

from pipeline.link import link
from portal.desk import open_counts
from tests.who import next_batch
from warehouse import linking
from warehouse.catalog import reading, transaction, writing
from warehouse.decisions import Mention, decide, decisions, undo

PLACES = (
    ("person", "person_name"),
    ("book_resident", "person_name"),
    ("birth_report", "mother_name"),
    ("birth_certificate", "child_name"),
    ("birth_notice", "mother_name"),
)


def link_anew(town):
    with writing(town.settings) as connection:
        connection.execute("DELETE FROM lake.ops.linking")
    return link(town.settings)


def change(town, random, per_thousand):
    """As a night's batches do: names misspelt and put right, numbers, dates, roles and households
    exchanged, records deleted and sent again, houses numbered anew."""
    with writing(town.settings) as connection, transaction(connection):
        batch = next_batch(connection)

        seed = random.random()

        def chosen(salt):
            return f"hash(source_record_id, {seed}, '{salt}') % 1000 < {per_thousand}"

        for table, name in PLACES:
            who = f"lake.core.{table}_identity"
            connection.execute(
                f"UPDATE {who} SET {name} = {name}[2:2] || {name}[1:1] || {name}[3:], "
                f"batch_id = {batch} WHERE valid_to IS NULL AND {chosen('name')}"
            )
            connection.execute(
                f"UPDATE {who} SET valid_to = if(valid_to IS NULL, DATE '2026-01-01', NULL), "
                f"closed_reason = if(valid_to IS NULL, 'test', NULL), batch_id = {batch} "
                f"WHERE (valid_to IS NULL OR closed_reason = 'test') AND {chosen('gone')}"
            )
        connection.execute(
            f"""
            CREATE TEMP TABLE moved AS
            SELECT source_record_id, household_number, row_number() OVER (ORDER BY random()) AS n
            FROM lake.core.person_identity WHERE valid_to IS NULL AND {chosen("moved")};
            UPDATE lake.core.person_identity AS one
            SET household_number = other.household_number, batch_id = {batch}
            FROM moved JOIN moved other ON other.n = moved.n + 1
            WHERE one.source_record_id = moved.source_record_id AND one.valid_to IS NULL;
            UPDATE lake.core.household_identity SET address = address || ' A', batch_id = {batch}
            WHERE valid_to IS NULL AND {chosen("numbered")};
            UPDATE lake.core.person SET batch_id = {batch},
                birth_date = birth_date + if(hash(source_record_id) % 2 = 0, 1, 36500)
            WHERE valid_to IS NULL AND {chosen("born")};
            UPDATE lake.core.person SET batch_id = {batch},
                family_role_code = (1 + hash(source_record_id, {seed}) % 4)::VARCHAR
            WHERE valid_to IS NULL AND {chosen("role")};
            UPDATE lake.core.person_identity SET batch_id = {batch}, nik = if(
                hash(source_record_id) % 2 = 0, nik[:15], nik[:14] || nik[16:16] || nik[15:15])
            WHERE valid_to IS NULL AND {chosen("number")}
            """
        )


def decide_some(town, random):
    """One pair joined, one parted, and an older decision undone."""
    with reading(town.settings) as connection:
        mentions = [
            Mention(role, record)
            for role, record in connection.execute(
                "SELECT role, source_record_id FROM lake.core.person_mention "
                "WHERE valid_to IS NULL AND role <> 'resident' ORDER BY ALL"
            ).fetchall()
        ]
        pairs = connection.execute(
            "SELECT role, source_record_id, other_role, other_source_record_id "
            "FROM lake.ops.person_pair WHERE probability >= 0.99 ORDER BY ALL"
        ).fetchall()
        standing = [one["decision_id"] for one in decisions(connection)
                    if one["undone_night"] is None]  # fmt: skip
    said = {"by": "Petugas 7", "why": "470", "night": town.settings.today}
    role, record, other_role, other_record = random.choice(pairs)
    decide(town.settings, Mention(role, record), Mention(other_role, other_record),
           is_same=False, **said)  # fmt: skip
    decide(town.settings, *random.sample(mentions, 2), is_same=True, **said)
    if standing:
        undo(town.settings, random.choice(standing), by="Petugas 8", night=town.settings.today)


def kept(town):
    """Mentions as compared and pairs as weighed."""
    with reading(town.settings) as connection:
        mentions = connection.execute(
            f"FROM lake.{linking.MENTIONS} ORDER BY source_record_id, role"
        ).fetchall()
        pairs = connection.execute(
            "SELECT * REPLACE (round(weight, 6) AS weight, round(probability, 6) AS probability) "
            f"FROM lake.{linking.PAIRS} ORDER BY ALL"
        ).fetchall()
    return mentions, pairs


def people(town, ids):
    """Persons and golden records, an id that is not in `ids` named by its mentions."""
    with reading(town.settings) as connection:
        holds = connection.execute(
            "SELECT role || ':' || source_record_id, person_id, how, round(probability, 6) "
            "FROM lake.core.person_mention WHERE valid_to IS NULL ORDER BY 1"
        ).fetchall()
        golden = connection.execute(
            "SELECT person_id, * EXCLUDE (person_id) FROM lake.core.golden_record "
            "JOIN lake.core.golden_record_identity USING (person_id, source_record_id)"
        ).fetchall()
        origins = connection.execute("FROM lake.core.golden_origin").fetchall()
    first = {}
    for mention, person, *_ in holds:
        first.setdefault(person, mention)

    def named(person):
        return person if person in ids else first[person]

    return (
        [(mention, named(person), *rest) for mention, person, *rest in holds],
        sorted(((str(named(person)), *map(str, rest)) for person, *rest in golden)),
        sorted(((str(named(person)), *map(str, rest)) for person, *rest in origins)),
    )


def ids_of(town):
    with reading(town.settings) as connection:
        return {
            person
            for (person,) in connection.execute(
                "SELECT DISTINCT person_id FROM lake.core.person_history"
            ).fetchall()
        }


@pytest.mark.parametrize("nights", [2, pytest.param(25, marks=pytest.mark.soak)])
def test_what_changed_is_compared_as_everything_would_be(nights, linked_night, tmp_path):
    random = Random(nights)
    town = linked_night.copy(tmp_path / "town")
    for night in range(nights):
        change(town, random, 4)
        decide_some(town, random)
        ids = ids_of(town)
        all_anew = town.copy(tmp_path / f"anew {night}")
        whole = link_anew(all_anew)
        done = link(town.settings)
        assert 0 < done.compared < whole.compared / 20
        assert whole.compared == whole.mentions == done.mentions
        assert done.events == whole.events
        assert kept(town) == kept(all_anew)
        assert people(town, ids) == people(all_anew, ids)
        again = link(town.settings)
        assert (again.compared, again.moved, again.events) == (0, 0, {})


@pytest.mark.parametrize("number", ["3274015501800001", "0"])
def test_a_resident_whose_partner_leaves_has_the_one_who_stays(linked_night, tmp_path, number):
    """Three of one household, the wife's partner being who has the smallest number: also where that
    number can be nobody's."""
    town = linked_night.copy(tmp_path / "town")
    with writing(town.settings) as connection, transaction(connection):
        batch = next_batch(connection)
        wife, leaving, staying = connection.execute(
            """
            SELECT min(source_record_id) FILTER (sex = 'female') AS wife,
                min(source_record_id) FILTER (sex = 'male'),
                max(source_record_id) FILTER (sex = 'male')
            FROM lake.core.person JOIN lake.core.person_identity USING (source_record_id)
            WHERE person.valid_to IS NULL AND person_identity.valid_to IS NULL
            GROUP BY household_number
            HAVING count(*) FILTER (sex = 'male') = 2 AND wife IS NOT NULL ORDER BY wife LIMIT 1
            """
        ).fetchall()[0]
        for who, role, nik in ((wife, 1, "3274015501800009"), (leaving, 2, number),
                               (staying, 2, "3274015501800005")):  # fmt: skip
            connection.execute(
                "UPDATE lake.core.person SET family_role_code = ?, batch_id = ? "
                "WHERE source_record_id = ? AND valid_to IS NULL", [str(role), batch, who],
            )  # fmt: skip
            connection.execute(
                "UPDATE lake.core.person_identity SET nik = ?, batch_id = ? "
                "WHERE source_record_id = ? AND valid_to IS NULL", [nik, batch, who],
            )  # fmt: skip
    link(town.settings)
    partner = (
        "SELECT partner_nik FROM lake.core.mention_identity "
        f"WHERE source_record_id = '{wife}' AND role = 'resident'"
    )
    with reading(town.settings) as connection:
        assert connection.execute(partner).fetchall() == [(number if number != "0" else None,)]
    with writing(town.settings) as connection, transaction(connection):
        connection.execute(
            "UPDATE lake.core.person_identity SET household_number = '3274019999999999', "
            "batch_id = ? WHERE source_record_id = ? AND valid_to IS NULL",
            [next_batch(connection), leaving],
        )
    link(town.settings)
    with reading(town.settings) as connection:
        assert connection.execute(partner).fetchall() == [("3274015501800005",)]


def test_a_warehouse_of_before_answers_the_desk_until_it_is_linked_again(linked_night, tmp_path):
    town = linked_night.copy(tmp_path / "town")
    waiting = open_counts(town.settings)
    with writing(town.settings) as connection:
        connection.execute("ALTER TABLE lake.ops.linking DROP COLUMN batch_id")
    assert open_counts(town.settings) == waiting
    assert waiting

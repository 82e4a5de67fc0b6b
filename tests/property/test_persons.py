"""Laws of permanent ids, over random histories of who is grouped with whom."""

from datetime import date, timedelta
from uuid import UUID

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import persons
from warehouse.tables import tables

MENTIONS = [UUID(int=number) for number in range(7)]
NIGHT = date(2026, 11, 23)
PERSONS = ("core.person_mention", "core.person_history", "core.golden_record", "core.golden_origin")

# A run: for every mention the group it is in, or None when no record speaks so any more; and
# whether it is a later night than the run before.
GROUPS = st.fixed_dictionaries({one: st.none() | st.integers(0, 3) for one in MENTIONS})
RUNS = st.lists(st.tuples(GROUPS, st.booleans()), min_size=1, max_size=5)


class Lake:
    """A catalog of its own with the tables that `persons` reads."""

    def __enter__(self):
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.core")
        for name in PERSONS:
            self.connection.execute(tables()[name].ddl("lake"))
        self.night = NIGHT
        return self

    def __exit__(self, *_):
        self.connection.close()

    def run(self, groups, later=True):
        """Record these groups; returns the events."""
        self.night += timedelta(later)
        there = {one: group for one, group in groups.items() if group is not None}
        self.connection.execute(
            "CREATE OR REPLACE TABLE mention (mention_id VARCHAR, source_record_id UUID, "
            "role VARCHAR);"
            "CREATE OR REPLACE TABLE member (mention_id VARCHAR, cluster VARCHAR);"
            "CREATE OR REPLACE TABLE reason (mention_id VARCHAR, how VARCHAR, probability DOUBLE);"
            "CREATE OR REPLACE TABLE successor (mention_id VARCHAR, person_id UUID);"
            "CREATE OR REPLACE TABLE concerned AS SELECT 'child:' || one AS mention_id "
            f"FROM (SELECT unnest({[str(one) for one in MENTIONS]}) AS one)"
        )
        for one, group in there.items():
            self.connection.execute(
                "INSERT INTO mention VALUES (?, ?, 'child')", [f"child:{one}", one]
            )
            self.connection.execute(
                "INSERT INTO member VALUES (?, ?)", [f"child:{one}", str(group)]
            )
            self.connection.execute("INSERT INTO reason VALUES (?, 'model', 1)", [f"child:{one}"])
        persons.holders(self.connection)
        persons.past(self.connection)
        persons.assign(self.connection)
        return persons.record(self.connection, self.night, "m")

    def ids(self):
        return dict(
            self.connection.execute(
                "SELECT source_record_id, person_id FROM lake.core.person_mention "
                "WHERE valid_to IS NULL"
            ).fetchall()
        )

    def given(self):
        return {
            person
            for (person,) in self.connection.execute(
                "SELECT person_id FROM lake.core.person_history WHERE event IN "
                "('created', 'split_from')"
            ).fetchall()
        }


def groups_of(ids):
    return {frozenset(one for one in ids if ids[one] == person) for person in ids.values()}


@settings(deadline=None, max_examples=60)
@given(RUNS)
def test_laws_of_ids(runs):
    with Lake() as lake:
        ever: set[UUID] = set()
        held: dict[UUID, set[UUID]] = {}
        for groups, later in runs:
            lake.run(groups, later)
            ids = lake.ids()
            wanted = {one: group for one, group in groups.items() if group is not None}
            assert groups_of(ids) == groups_of(wanted)
            fresh = set(ids.values()) - ever
            assert lake.given() == ever | fresh
            ever |= fresh
            for person in set(ids.values()) & set(held):
                assert any(ids.get(one) == person for one in held[person])
            for one, person in ids.items():
                held.setdefault(person, set()).add(one)
            for person in ever:
                found = persons.find(lake.connection, person)
                assert found is not None
                assert bool(found.mentions) == (found.person_id in ids.values())
            assert lake.run(groups, later=False) == {}
            assert lake.ids() == ids
        assert not lake.connection.execute(
            """
            SELECT n.night, source_record_id FROM lake.core.person_mention
            JOIN (SELECT DISTINCT night FROM lake.core.person_history) n
                ON n.night >= valid_from AND (valid_to IS NULL OR n.night < valid_to)
            GROUP BY ALL HAVING count(*) > 1
            """
        ).fetchall(), "a mention is of one person on each night"


@settings(deadline=None, max_examples=30)
@given(GROUPS, GROUPS, st.booleans())
def test_a_run_undone_brings_the_ids_back(groups, others, later):
    """Who falls apart and comes together again is the person it was, on the same night too."""
    with Lake() as lake:
        lake.run(groups)
        first = lake.ids()
        lake.run(others, later)
        lake.run(groups, later)
        assert lake.ids() == first


def test_a_merge_and_a_split_are_told_and_answer():
    a, b, c, *_ = MENTIONS
    with Lake() as lake:
        assert lake.run({a: 1, b: 1, c: 2}) == {"created": 2}
        one, two = lake.ids()[a], lake.ids()[c]
        assert lake.run({a: 1, b: 1, c: 1}) == {"merged_into": 1}
        assert set(lake.ids().values()) == {one}
        assert persons.find(lake.connection, two).person_id == one
        before = persons.find(lake.connection, two, lake.night - timedelta(1))
        assert (before.person_id, len(before.mentions)) == (two, 1)
        assert lake.run({a: 1, b: 1, c: 2}) == {"returned": 1}
        assert lake.ids()[c] == two
        assert lake.run({a: 1, b: 3, c: 2}) == {"split_from": 1}
        assert one in (lake.ids()[a], lake.ids()[b])
        assert lake.run({a: None, b: 3, c: 2})["ended"] == 1
        assert persons.find(lake.connection, UUID(int=99)) is None

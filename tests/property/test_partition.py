"""Laws of grouping mentions: they hold for any links, in any order of rows."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.identity.partition import CERTAIN, candidates, partition

MENTIONS = 9


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


@st.composite
def worlds(draw):
    """(mentions, edges): some residents, some others, some records that name two people."""
    roles = draw(st.lists(st.sampled_from(["resident", "child", "mother"]), min_size=2,
                          max_size=MENTIONS))  # fmt: skip
    mentions = [
        (f"{role}:{place}", f"record {place // 2 if role != 'resident' else f'r{place}'}", role)
        for place, role in enumerate(roles)
    ]
    pairs = [
        (a[0], b[0])
        for place, a in enumerate(mentions)
        for b in mentions[place + 1 :]
        if not a[2] == b[2] == "resident"
    ]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    weights = [draw(st.integers(-4, 40)) for _ in chosen]
    edges = [(*pair, float(weight)) for pair, weight in zip(chosen, weights, strict=True)]
    return mentions, edges, draw(decided(mentions))


@st.composite
def decided(draw, mentions):
    """Decisions that do not contradict each other: of a hidden grouping."""
    names = [name for name, *_ in mentions]
    hidden = {name: draw(st.integers(0, 3)) for name in names}
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda p: p[0] < p[1])
    chosen = draw(st.lists(pairs, unique=True, max_size=3))
    return [(a, b, hidden[a] == hidden[b]) for a, b in chosen]


def grouped(connection, mentions, edges, decisions=()):
    """The clusters, as a set of sets."""
    connection.execute(
        "CREATE OR REPLACE TABLE mention (mention_id VARCHAR, source_record_id VARCHAR, "
        "role VARCHAR);"
        "CREATE OR REPLACE TABLE edge (mention_id_l VARCHAR, mention_id_r VARCHAR, weight DOUBLE);"
        "CREATE OR REPLACE TABLE decision (a VARCHAR, b VARCHAR, is_same BOOLEAN)"
    )
    if decisions:
        connection.executemany("INSERT INTO decision VALUES (?, ?, ?)", decisions)
    connection.executemany("INSERT INTO mention VALUES (?, ?, ?)", mentions)
    if edges:
        connection.executemany("INSERT INTO edge VALUES (?, ?, ?)", edges)
    candidates(connection)
    partition(connection)
    found = connection.execute("SELECT list(mention_id) FROM member GROUP BY cluster").fetchall()
    return {frozenset(members) for (members,) in found}


@settings(deadline=None, max_examples=60)
@given(worlds(), st.randoms(use_true_random=False))
def test_laws_of_a_partition(connection, world, random):
    mentions, edges, decisions = world
    clusters = grouped(connection, mentions, edges, decisions)
    of = {name: cluster for cluster in clusters for name in cluster}
    for a, b, is_same in decisions:
        assert (of[a] == of[b]) == is_same
    same = [{a, b} for a, b, is_same in decisions if is_same]
    record = {name: source for name, source, _ in mentions}
    assert sorted(name for cluster in clusters for name in cluster) == sorted(record)
    for cluster in clusters:
        if not any(pair <= cluster for pair in same):
            assert sum(name.startswith("resident") for name in cluster) <= 1
            assert len({record[name] for name in cluster}) == len(cluster)
        inside = [pair for pair in [*({a, b} for a, b, *_ in edges), *same] if pair <= cluster]
        reached, more = {min(cluster)}, True
        while more:
            grown = reached.union(*(pair for pair in inside if pair & reached))
            reached, more = grown, grown != reached
        assert reached == cluster

    shuffled = [random.sample(rows, len(rows)) for rows in world]
    assert grouped(connection, *shuffled) == clusters

    stranger = [*mentions, ("resident:z", "record z", "resident"), ("child:z", "other z", "child")]
    joined = [*edges, ("resident:z", "child:z", 30.0)]
    assert grouped(connection, stranger, joined, decisions) == clusters | {
        frozenset({"resident:z", "child:z"})
    }


def test_a_link_is_certain_only_without_rivals(connection):
    mentions = [("resident:a", "a", "resident"), ("resident:b", "b", "resident"),
                ("child:c", "c", "child")]  # fmt: skip
    sure = ("resident:a", "child:c", 12.0)
    together = {frozenset({"resident:a", "child:c"}), frozenset({"resident:b"})}
    assert grouped(connection, mentions, [sure]) == together
    close = ("resident:b", "child:c", 11.0)
    assert len(grouped(connection, mentions, [sure, close])) == 3
    far = ("resident:b", "child:c", 2.0)
    assert grouped(connection, mentions, [sure, far]) == together
    assert 2**12 / (1 + 2**12 + 2**2) > CERTAIN > 2**12 / (1 + 2**12 + 2**11)


def test_of_two_residents_in_one_cluster_the_weaker_link_is_left_out(connection):
    mentions = [("resident:a", "a", "resident"), ("resident:b", "b", "resident"),
                ("child:c", "c", "child"), ("child:d", "d", "child")]  # fmt: skip
    edges = [("resident:a", "child:c", 20.0), ("child:c", "child:d", 9.0),
             ("resident:b", "child:d", 15.0)]  # fmt: skip
    assert grouped(connection, mentions, edges) == {
        frozenset({"resident:a", "child:c"}),
        frozenset({"resident:b", "child:d"}),
    }

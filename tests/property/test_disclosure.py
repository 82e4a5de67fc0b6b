"""Whatever a table holds: what leaves is at the floor, and sums are those of the lake."""

from collections import Counter, defaultdict
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disclosed import FIRST, lake, person, put
from warehouse.cells import pooled
from warehouse.disclosure import Floor, measure, release
from warehouse.tables import tables

PERSON, RESIDENTS = tables()["core.person"], tables()["mart.resident_count"]

histories = st.lists(
    st.lists(
        st.fixed_dictionaries({
            "nights": st.integers(1, 40),
            "sex": st.sampled_from(["male", "female", None]),
            "birth_date": st.sampled_from([date(1985, 1, 1), date(1981, 5, 5), None]),
            "region_code": st.sampled_from(["32.74.01.1001", "32.74.01.1002", "32.74.02.1001"]),
            "occupation_code": st.sampled_from(["1", "2"]),
            "flags": st.sampled_from([[], ["x"]]),
        }),
        min_size=1, max_size=3,
    ),
    max_size=30,
)  # fmt: skip


def rows_of(persons):
    for number, versions in enumerate(persons):
        night = FIRST
        for place, version in enumerate(versions):
            values = {name: value for name, value in version.items() if name != "nights"}
            end = night + timedelta(days=version["nights"])
            is_last = place == len(versions) - 1
            yield person(number, **values, valid_from=night, valid_to=None if is_last else end,
                         closed_reason=None if is_last else "replaced")  # fmt: skip
            night = end


@settings(max_examples=20, deadline=None)
@given(persons=histories, floor=st.integers(2, 6))
def test_everybody_is_like_enough_others(persons, floor):
    connection, rows = lake("core.person"), list(rows_of(persons))
    put(connection, PERSON, rows)
    limits = Floor(people=floor, cells=floor, withheld=0.9)
    made = "published.core.person"
    done = release(connection, PERSON, made, "analyst/1", limits)
    told = measure(connection, PERSON, made, limits)
    shown = connection.execute(f"SELECT * FROM {made}").fetchall()
    said = defaultdict(list)
    for key, *row in shown:
        said[key].append(str(row))
    alike = Counter(tuple(sorted(one)) for one in said.values())
    assert all(many >= floor for many in alike.values())
    assert told["k"] == min(alike.values(), default=None)
    assert len(shown) + done["withheld"] == len(rows)


cells = st.dictionaries(
    st.tuples(
        st.sampled_from(["A", "B", "C", None]),
        st.sampled_from(["f", "m", None]),
        st.sampled_from(["00-04", "05-09", "10-14", None]),
    ),
    st.integers(0, 12),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(cells=cells, floor=st.integers(2, 8))
def test_no_count_is_small_and_every_sum_is_right(cells, floor):
    connection = lake("mart.resident_count")
    if cells:
        connection.executemany(
            "INSERT INTO lake.mart.resident_count VALUES (?, ?, ?, ?)",
            [(*key, count) for key, count in cells.items()],
        )
    query = pooled(RESIDENTS, "lake.mart.resident_count", floor)
    shown = connection.execute(f"FROM ({query})").fetchall()
    assert all(count == 0 or count >= floor for *_, count in shown)
    assert len({tuple(key) for *key, _ in shown}) == len(shown)
    total = sum(cells.values())
    assert sum(count for *_, count in shown) == (total if total >= floor else 0)
    for named in range(1, 4):
        there, here = Counter(), Counter()
        for key, count in cells.items():
            there[key[:named]] += count
        for *key, count in shown:
            here[tuple(key[:named])] += count
        for key, count in here.items():
            if None not in key:
                assert count == there[key]

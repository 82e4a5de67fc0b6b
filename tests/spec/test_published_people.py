"""What is published of a table about people, on small tables: a floor of three."""

from datetime import date

import pytest

from common.errors import DefinitionError, DisclosureRefused
from common.settings import Settings
from tests.disclosed import FIRST, lake, person, put
from warehouse.disclosure import Floor, load_floor, measure, refuse_below, release
from warehouse.tables import tables

PERSON = tables()["core.person"]
FLOOR = Floor(people=3, cells=3, withheld=0.5)
NEXT = date(2026, 11, 24)


def published(rows, columns, table=PERSON):
    """The columns of the published rows, and the measure."""
    connection = lake(table.name)
    put(connection, table, rows)
    made = f"published.{table.name}"
    done = release(connection, table, made, "analyst/7", FLOOR)
    shown = connection.execute(f"SELECT {columns} FROM {made} ORDER BY ALL").fetchall()
    return shown, done | measure(connection, table, made, FLOOR)


def test_what_enough_share_is_kept_whole():
    rows = [person(number, religion_code="1") for number in range(3)]
    shown, told = published(rows, "sex, birth_years, region_code, religion_code, valid_from")
    assert shown == [("female", "1985-1989", "32.74.01.1001", "1", FIRST)] * 3
    assert (told["k"], told["unique"], told["withheld"]) == (3, 0, 0)


def test_a_rare_row_loses_what_is_rare_and_keeps_the_rest():
    rows = [person(number, religion_code="1") for number in range(5)]
    rows += [person(5, religion_code="7"), person(6, religion_code="6"), person(7)]
    shown, told = published(rows, "sex, region_code, religion_code")
    assert shown == [("female", "32.74.01.1001", "1")] * 5 + [("female", "32.74.01.1001", None)] * 3
    assert (told["unique_before"], told["below_floor_before"]) == (3, 3)


def test_where_one_is_left_the_smallest_group_loses_the_step_with_it_and_no_more():
    rows = [person(number, religion_code="1", has_birth_certificate=True) for number in range(4)]
    rows += [person(number, religion_code="2", has_birth_certificate=True) for number in (4, 5, 6)]
    rows += [person(7, religion_code="7", has_birth_certificate=True)]
    shown, told = published(rows, "religion_code, has_birth_certificate")
    assert shown == [("1", True)] * 4 + [(None, True)] * 4
    assert told["withheld"] == 0


def test_a_span_of_five_years_becomes_a_decade_and_a_kelurahan_its_kecamatan():
    born = [date(1985, 1, 1), date(1981, 1, 1), date(1989, 1, 1)]
    rows = [person(number, birth_date=day) for number, day in enumerate(born)]
    assert published(rows, "birth_years")[0] == [("1980-1989",)] * 3
    homes = ["32.74.01.1001", "32.74.01.1002", "32.74.01.1003"]
    rows = [person(number, region_code=home) for number, home in enumerate(homes)]
    assert published(rows, "region_code")[0] == [("32.74.01",)] * 3


def test_a_moment_is_a_month_and_only_where_enough_share_it():
    rows = [person(number, registered_at=f"2011-03-{10 + number} 08:07:06") for number in range(3)]
    assert published(rows, "registered_month")[0] == [(date(2011, 3, 1),)] * 3
    rows += [person(3, registered_at="2011-04-01 00:00:00")]
    assert published(rows, "registered_month")[0] == [(None,)] * 4


def moved(number, home="32.74.02.1001"):
    """Two versions: the person lived elsewhere until the next night."""
    return [
        person(number, valid_to=NEXT, closed_reason="replaced"),
        person(number, valid_from=NEXT, region_code=home),
    ]


def test_versions_stay_together_when_enough_have_the_same_history():
    rows = [row for number in range(3) for row in moved(number)]
    shown, told = published(rows, "source_record_id, region_code, valid_from")
    assert len({one for one, *_ in shown}) == 3
    assert {(home, night) for _, home, night in shown} == {
        ("32.74.01.1001", FIRST), ("32.74.02.1001", NEXT)}  # fmt: skip
    assert told["k"] == 3


def test_the_versions_of_a_rare_history_are_joined_by_nothing():
    rows = [person(number) for number in range(3)] + moved(3)
    rows += [person(number, valid_to=NEXT, closed_reason="replaced") for number in (4, 5, 6)]
    rows += [person(number, valid_from=NEXT, region_code="32.74.02.1001") for number in (7, 8, 9)]
    shown, told = published(rows, "source_record_id, region_code, valid_from, valid_to")
    assert len({one for one, *_ in shown}) == len(shown)
    assert told["k"] >= 3


def test_nights_that_too_few_share_are_told_by_the_month():
    rows = [person(number, valid_from=date(2026, 11, number)) for number in (23, 24, 25)]
    assert published(rows, "valid_from, status")[0] == [(date(2026, 11, 1), "resident")] * 3


def test_what_too_few_share_even_so_is_withheld_and_counted():
    rows = [person(number) for number in range(3)]
    rows += [person(3, valid_from=date(2025, 1, 9)), person(4, valid_from=date(2025, 2, 9))]
    shown, told = published(rows, "valid_from")
    assert shown == [(FIRST,)] * 3
    assert told["withheld"] == 2


def test_a_record_of_several_rows_is_judged_by_all_of_them():
    table = tables()["core.report_status"]
    rows = [
        {"source_record_id": person(number)["source_record_id"], "status_number": step,
         "state": state, "reached_at": "2026-11-02 10:00:00", "valid_from": FIRST,
         "source": "report_inbox", "stream": "request", "flags": []}
        for number, states in enumerate([("verified",)] * 3 + [("verified", "closed")] * 2)
        for step, state in enumerate(states, start=1)
    ]  # fmt: skip
    shown, told = published(rows, "source_record_id, state", table)
    assert told["k"] >= 3
    assert len({one for one, _ in shown}) == len(shown), "two of a kind are too few to stay joined"


def test_no_surrogate_is_the_lakes_or_that_of_another_night():
    connection = lake("core.person")
    put(connection, PERSON, [person(number) for number in range(3)])
    seen = [set(), set()]
    for night, found in enumerate(seen):
        made = f"published.core.person_{night}"
        release(connection, PERSON, made, f"analyst/{night}", FLOOR)
        found |= {one for (one,) in connection.execute(
            f"SELECT source_record_id FROM {made}").fetchall()}  # fmt: skip
    assert not seen[0] & seen[1]
    assert not seen[0] & {person(number)["source_record_id"] for number in range(3)}


def test_rows_stand_in_the_order_of_what_is_published():
    connection = lake("core.person")
    put(connection, PERSON, [person(number) for number in range(50)])
    release(connection, PERSON, "published.core.person", "analyst/1", FLOOR)
    seen = [str(one) for (one,) in connection.execute(
        "SELECT source_record_id FROM published.core.person").fetchall()]  # fmt: skip
    assert seen == sorted(seen)


def told_of(rows):
    """The measure of rows that were published as they are."""
    connection = lake("core.golden_record")
    table = tables()["core.golden_record"]
    connection.execute(
        "CREATE TABLE published.core.golden_record (person_id UUID, role VARCHAR, status VARCHAR, "
        "sex VARCHAR, birth_years VARCHAR, region_code VARCHAR, mentions INTEGER)"
    )
    connection.executemany(
        "INSERT INTO published.core.golden_record VALUES (uuid(), 'resident', 'resident', ?, ?, "
        "'32.74.01', 1)",
        rows,
    )
    return measure(connection, table, "published.core.golden_record", FLOOR)


def test_the_measure_finds_whom_nobody_is_like():
    told = told_of([("male", "1980-1989")] * 3 + [("female", "1980-1989")])
    assert (told["k"], told["unique"], told["below_floor"], told["records"]) == (1, 1, 1, 4)


def test_below_the_floor_is_refused_without_a_value():
    told = told_of([("male", "1980-1989")] * 3 + [("female", "1980-1989")] * 2)
    with pytest.raises(DisclosureRefused) as refused:
        refuse_below(FLOOR, {"core.golden_record": told})
    assert "core.golden_record: 2 records" in str(refused.value)
    assert "female" not in str(refused.value)


def test_a_small_count_is_refused_and_so_is_a_small_rest():
    table = tables()["mart.birth_month"]
    connection = lake("mart.birth_month")
    connection.execute(
        "CREATE TABLE published.mart.birth_month AS SELECT DATE '2026-01-01' AS month, "
        "9 AS reports, 7 AS late_reports, 2 AS notices, 0 AS certificates"
    )
    told = measure(connection, table, "published.mart.birth_month", FLOOR)
    below = {name: one["below_floor"] for name, one in told["counts"].items()}
    assert below == {"reports": 0, "late_reports": 1, "notices": 1, "certificates": 0}
    with pytest.raises(DisclosureRefused, match=r"mart.birth_month.notices: 1 counts below 3"):
        refuse_below(FLOOR, {"mart.birth_month": told})


def test_too_much_withheld_is_refused():
    with pytest.raises(DisclosureRefused, match="6 of 10 rows about people would be withheld"):
        refuse_below(FLOOR, {"core.person": {"withheld": 6, "rows": 4, "below_floor": 0}})


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "there is none"), ("people: [", "YAML"), ("people: 1\ncells: 5\nwithheld: 0", "people"),
     ("people: 5\ncells: 5\nwithheld: 0\nkind: x", "kind"), ("people: 5", "cells")],
)  # fmt: skip
def test_a_floor_that_is_not_one_is_refused(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "disclosure.yml").write_text(content)
    with pytest.raises(DefinitionError, match=fault):
        load_floor(Settings(home=tmp_path, profile=tmp_path))

"""When a row names the sought person, and which of its cells are emptied then."""

import duckdb
import pytest

from common.people import Person, Speaking
from warehouse.erase import pattern_of
from warehouse.speaking import Place, cell_of, seek, without

NAME, NIK = "ANI LESTARI WULANDARI", "3274015503900001"
SOUGHT = {"nik": [NIK], "name": [NAME], "phone": ["81234567890"], "email": ["ani@warga.example"],
          "born": ["1990-03-15"], "household": ["3274010101010001"],
          "mention": ["mother:00000000-0000-0000-0000-000000000001"]}  # fmt: skip
COLUMNS = ("nik", "name", "born", "home", "phone", "email", "town", "child", "note", "extra")
PLACE = Place("said", "record", COLUMNS, Speaking(
    people={
        "mother": Person(nik="nik", name="name", born="born", household="home", also="town",
                         phone="phone", email="email"),
        "child": Person(name="child"),
        "sender": Person(phone="extra.phone"),
    },
    texts=("note",),
    shared=("home",),
))  # fmt: skip
OTHER = "3274016001950009"


def emptied(record="00000000-0000-0000-0000-000000000002", **said):
    """Cells that hold something and are emptied."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE said (record UUID, {' VARCHAR, '.join(COLUMNS)} VARCHAR)")
        connection.execute(
            f"INSERT INTO said VALUES (?{', ?' * len(COLUMNS)})",
            [record, *(said.get(column) for column in COLUMNS)],
        )
        seek(connection, SOUGHT)
        cells = PLACE.emptied_cells()
        connection.execute(
            "UPDATE said SET "
            + ", ".join(f"{name} = {value}" for name, value in without(cells).items())
        )
        now = connection.execute(
            f"SELECT {', '.join(cell_of(cell) for cell in COLUMNS)} FROM said"
        ).fetchall()[0]
    return {column for column, value in zip(COLUMNS, now, strict=True)
            if value != said.get(column)}  # fmt: skip


@pytest.mark.parametrize(("said", "gone"), [
    ({"nik": NIK, "name": "A. LESTARI", "town": "CIREBON", "child": "BUDI"},
     {"nik", "name", "town"}),
    ({"nik": "3274 0155 0390 OOO1", "name": "x", "note": "n"}, {"nik", "name", "note"}),
    ({"nik": OTHER, "name": NAME, "born": "1990-03-15", "home": "3274010101010001"}, set()),
    ({"name": "Ani  Lestari Wulandari", "born": "15-03-1990", "home": "1"}, {"name"}),
    ({"name": NAME, "home": "3274010101010001"}, {"name"}),
    ({"name": NAME, "born": "1971-03-15"}, set()),
    ({"name": NAME}, set()),
    ({"nik": "3274O155", "name": NAME, "born": "1990-03-15"}, {"nik", "name"}),
    ({"phone": "+62 812-3456-7890", "note": "n"}, {"phone", "note"}),
    ({"phone": "081234567890", "name": "BUDI", "note": "n"}, {"phone"}),
    ({"phone": "081234567891", "note": "n"}, set()),
    ({"email": " Ani@Warga.example", "name": "ani", "note": "n"}, {"email", "name", "note"}),
    ({"nik": NIK, "child": "BAYI NY ANI LESTARI WULANDARI"}, {"nik", "child"}),
    ({"nik": NIK, "child": "ANI LESTARI WULANDARI PUTRI"}, {"nik"}),
    ({"extra": '{"phone": "0812 3456 7890", "kind": "web"}'}, {"extra"}),
    ({"extra": '{"phone": "0812'}, set()),
])  # fmt: skip
def test_who_a_row_speaks_of(said, gone):
    assert emptied(**said) == gone


def test_a_linked_mention_is_the_person_whatever_it_says():
    said = {"nik": OTHER, "name": "ANY", "town": "CIREBON", "child": "BUDI"}
    assert emptied(record=SOUGHT["mention"][0].split(":")[1], **said) == {"nik", "name", "town"}


@pytest.mark.parametrize(("text", "found"), [
    (f"NIK {NIK}.", True), ("nik 3274 0155-0390.0001", True), (f"{NIK}1", False),
    ("hp 0812-3456-7890", True), ("+62 812 3456 7890", True), ("6281234567890", True),
    ("00628 1234567890", True), ("0812345678901", False), ("surel ANI@warga.example", True),
    ("ibu Ani Lestari  Wulandari", True), ("Ani Lestari", False),
    ("Ani Lestari Wulandarini", False),
])  # fmt: skip
def test_a_text_in_which_the_person_stands(text, found):
    pattern = pattern_of({kind: SOUGHT[kind] for kind in ("nik", "phone", "email", "name")})
    with duckdb.connect() as connection:
        told = connection.execute("SELECT regexp_matches(?, ?, 'i')", [text, pattern]).fetchall()
    assert told == [(found,)]

"""Workbooks as offices keep them: every row is a person, left out for a reason, or named."""

import json
import zipfile
from datetime import date, datetime

import pytest
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from common.access import Layout
from common.access import Workbook as Format
from common.errors import SourceMalformed
from connectors.readers.files.formats import workbook
from connectors.workbook.cells import day_of, digits_of, text_of
from tests.books import FORMAT, PERSON, STREAM, family_line, person, sheet, write

KNOWN = ("nomor_kk", "nik", "nama", "tempat_lahir", "kelamin", "ayah", "ibu", "status_kawin",
         "shdk", "agama", "pendidikan", "pekerjaan", "gol_darah", "alamat", "rt", "rw")  # fmt: skip
BUDI, ANI = person(), person(nik="3274014107909002", nama="ANI", shdk="ISTRI", kelamin="P")
TITIN = person(
    nomor_kk="3274010101209009", nik="3274014107909010", nama="TITIN", alamat="GG. MAWAR"
)


def read(path, access=FORMAT):
    """(people, what was found)"""
    *batches, last = workbook.parse(access, STREAM, "books", path)
    people = [row for batch in batches for row in batch.to_pylist()]
    return people, json.loads(last.schema.metadata[workbook.FOUND])


def refusal(path, access=FORMAT):
    with pytest.raises(SourceMalformed) as error:
        read(path, access)
    return str(error.value)


def saved(tmp_path, *rows, layout="bip_2016", people=(BUDI,)):
    """A book whose sheet ends with these rows instead of signatures."""
    book = Workbook()
    sheet(book.active, layout, list(people), signed=False)
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    return tmp_path / "book.xlsx"


@pytest.mark.parametrize("layout", list(FORMAT.layouts))
def test_each_layout_gives_its_people_and_accounts_for_every_other_row(layout, tmp_path):
    people, found = read(write(tmp_path / "b.xlsx", layout, [BUDI, ANI, TITIN]))
    assert [{name: one[name] for name in KNOWN} for one in people] == [
        {name: one[name] for name in KNOWN} for one in (BUDI, ANI, TITIN)
    ]
    (one,) = found["sheets"]
    assert (one["layout"], one["header_row"], one["people"]) == (layout, 4, 3)
    assert one["left_out"] == {"title": 2} if layout == "siak_export" else {
        "title": 2, "family": 2, "column_numbers": 1, "after_end": 3,
    }  # fmt: skip


def test_a_header_on_every_page_and_totals_are_left_out(tmp_path):
    book = Workbook()
    page = book.active
    sheet(page, "bip_2016", [BUDI], signed=False)
    header = [[cell.value for cell in page[row]] for row in (4, 5)]
    for row in (*header, [family_line(TITIN)], [1, TITIN["nik"], "TITIN", "P"], ["Jumlah", 2]):
        page.append(row)
    book.save(tmp_path / "b.xlsx")
    (one,) = read(tmp_path / "b.xlsx")[1]["sheets"]
    assert one["people"] == 2
    assert (one["left_out"]["header"], one["left_out"]["total"]) == (2, 1)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            ["catatan: pindah"],
            "neither a person nor of a kind that the layout leaves out: row 9 of sheet 1",
        ),
        (["No. KK : ?"], "is neither a person nor"),
        ([None, None, None, "L"], "is neither a person nor"),
    ],
)
def test_a_row_of_no_known_kind_refuses_the_file_and_is_named(tmp_path, row, why):
    told = refusal(saved(tmp_path, row))
    assert why in told
    assert "pindah" not in told


def test_people_after_the_signature_refuse_the_file(tmp_path):
    path = saved(tmp_path, ["Mengetahui"], [1, TITIN["nik"], "TITIN", "P"])
    assert "people: row 10 of sheet 1" in refusal(path)


def test_a_family_without_address_does_not_inherit_one(tmp_path):
    line = "No. KK : 3274010101209009  Alamat :  RT : 1  RW : 4"
    people, _ = read(saved(tmp_path, [line], [1, TITIN["nik"], "TITIN", "P"]))
    assert [one["alamat"] for one in people] == [PERSON["alamat"], None]


def test_families_go_on_over_a_piece_of_many_rows(tmp_path, monkeypatch):
    people = [
        person(nik=f"32740115{n:08}", nomor_kk=f"327401010120{n // 3:04}") for n in range(9000)
    ]
    found, account = read(write(tmp_path / "b.xlsx", "bip_2016", people))
    assert [one["nomor_kk"] for one in found] == [one["nomor_kk"] for one in people]
    assert account["sheets"][0]["left_out"]["family"] == 3000


def test_what_matches_no_layout_is_refused_naming_what_is_missing(tmp_path):
    book = Workbook()
    book.active.append(["NIK", "Nama", "L/P", "Alamat"])
    book.active.append([BUDI["nik"], "BUDI", "L", "JL. X"])
    book.save(tmp_path / "b.xlsx")
    told = refusal(tmp_path / "b.xlsx")
    assert "the nearest" in told
    assert "misses 'Nomor KK'" in told
    assert "BUDI" not in told


def test_other_sheets_are_reported_and_a_second_of_a_known_layout_is_read(tmp_path):
    book = Workbook()
    sheet(book.active, "bip_2016", [BUDI])
    sheet(book.create_sheet("RT 2"), "bip_ektp", [TITIN])
    book.create_sheet("Rekap").append(["laki-laki", 1])
    book.create_sheet("kosong")
    book.save(tmp_path / "b.xlsx")
    people, found = read(tmp_path / "b.xlsx")
    assert [one["nama"] for one in people] == ["BUDI SANTOSA", "TITIN"]
    assert [one["layout"] for one in found["sheets"]] == ["bip_2016", "bip_ektp"]
    assert found["other_sheets"] == {"3": 1, "4": 0}


def test_a_heading_that_no_layout_knows_is_told_and_a_cell_under_none_is_counted(tmp_path):
    book = Workbook()
    sheet(book.active, "siak_export", [BUDI])
    book.active.cell(4, 38, "Nomor HP")
    book.active.cell(5, 40, "x")
    book.save(tmp_path / "b.xlsx")
    _, found = read(tmp_path / "b.xlsx")
    assert found["headings"] == ["nomor hp"]
    assert found["sheets"][0]["cells_under_no_heading"] == 1


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (3274010101700012, "3274010101700012"),
        (3274010101700010, "3.27401010170001E+15"),
        (9271010101700012, "9.27101010170001E+15"),
        ("3274010101700010", "3274010101700010"),
        (327401010170001, "327401010170001"),
        ("'3274010101700012", "'3274010101700012"),
    ],
)
def test_a_nik_kept_as_a_number_is_exact_or_shows_that_it_is_not(tmp_path, cell, text):
    people, _ = read(saved(tmp_path, [1, cell, "TITIN", "P"]))
    assert people[-1]["nik"] == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (date(1962, 1, 27), "1962-01-27"),
        (22673, "1962-01-27"),
        ("16-04-2015", "16-04-2015"),
        (59, "1900-02-28"),
        (60, "1900-02-29"),
        (61, "1900-03-01"),
        (0, "1900-01-00"),
        (datetime(1962, 1, 27, 8, 30), "1962-01-27 08:30:00"),
        (-5, "-5"),
        (9999999, "9999999"),
    ],
)
def test_days_are_iso_however_the_sheet_keeps_them(tmp_path, cell, text):
    people, _ = read(write(tmp_path / "b.xlsx", "bip_2016", [person(tanggal_lahir=cell)], blank=""))
    assert people[0]["tanggal_lahir"] == text


def test_days_of_a_workbook_that_counts_from_1904(tmp_path):
    book = Workbook()
    book.epoch = CALENDAR_MAC_1904
    sheet(book.active, "bip_2016", [person(tanggal_lahir=21211), person(
        nik=ANI["nik"], tanggal_lahir=date(1962, 1, 27))])  # fmt: skip
    book.save(tmp_path / "b.xlsx")
    people, _ = read(tmp_path / "b.xlsx")
    assert [one["tanggal_lahir"] for one in people] == ["1962-01-27", "1962-01-27"]


def test_other_cells_become_text(tmp_path):
    path = saved(tmp_path, [1, TITIN["nik"], True, 1.5, "=1+1", None, "#N/A"])
    assert read(path)[0][-1]["nama"] == "true"
    assert read(path)[0][-1]["kelamin"] == "1.5"
    # Never computed: no program saved a value with the formula.
    assert read(path)[0][-1]["tempat_lahir"] is None


def test_columns_of_one_kind_are_said_as_cells_of_mixed_kinds_are():
    for cells, options in [
        ([3274010101700012.0, 12.0], {"is_identity": True}),
        ([3274010101700010.0, 12.0], {"is_identity": True}),
        ([1.0, 2.5], {}),
        ([float(2**53), 1e300], {}),
        ([date(1962, 1, 27)], {"is_dated": True}),
        ([22673.0], {"is_dated": True}),
    ]:
        alike = text_of(cells, **options).to_pylist()
        assert alike == text_of([*cells, "x"], **options).to_pylist()[:-1], cells


def test_serials_and_digits():
    assert day_of(1, False) == "1900-01-01"
    assert day_of(0, True) == "1904-01-01"
    assert day_of(22673.5, False) == "1962-01-27 12:00:00"
    assert digits_of(0.1, True) == "0.1"


def test_what_is_no_workbook_is_refused(tmp_path):
    path = tmp_path / "b.xlsx"
    for content, why in [
        (b"", "neither XLSX nor XLS"),
        (b"<html><table></table></html>", "neither XLSX nor XLS"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000, "damaged"),
    ]:
        path.write_bytes(content)
        assert why in refusal(path)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("content.xml", "x")
    assert "neither XLSX nor XLS" in refusal(path)


def test_half_a_workbook_is_refused(tmp_path):
    path = write(tmp_path / "b.xlsx", "bip_2016", [BUDI])
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in refusal(path)


def altered(path, part, change):
    """The workbook with one of its parts changed."""
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = altered(write(tmp_path / "b.xlsx", "bip_2016", [BUDI]), SHEET,
                   lambda xml: xml + b" " * (130 << 20))  # fmt: skip
    small = FORMAT.model_copy(update={"memory_mb": 128})
    assert path.stat().st_size < 1 << 20
    assert "unpacks to more than 128 MB" in refusal(path, small)


def test_an_xml_bomb_does_not_expand(tmp_path):
    lols = "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(12)
    )
    path = altered(
        write(tmp_path / "b.xlsx", "bip_2016", [BUDI]), SHEET,
        lambda xml: f"<!DOCTYPE x [{lols}]>".encode() + xml.replace(b"<v>", b"<v>&l11;", 1),
    )  # fmt: skip
    try:
        people, _ = read(path)
    except SourceMalformed:
        return
    assert "lollol" not in str(people)


@pytest.mark.parametrize("last", ["XFD1048576", "XFD9000", "ZZ1048576"])
def test_a_sheet_of_a_million_columns_takes_no_more_than_it_may(tmp_path, last):
    path = altered(
        write(tmp_path / "b.xlsx", "bip_2016", [BUDI]), SHEET,
        lambda xml: xml.replace(
            b"</sheetData>", f'<row r="9000"><c r="{last}"><v>1</v></c></row></sheetData>'.encode()
        ),
    )  # fmt: skip
    assert "needs more than the 256 MB it may take" in refusal(
        path, FORMAT.model_copy(update={"memory_mb": 256})
    )


def test_the_definition_names_what_is_wrong_in_a_layout():
    from common.definition import Stream

    tree = STREAM.model_dump(mode="json", by_alias=True)
    layout = {"columns": {"NIK": "nikk"}, "family": "(?P<address>.*)"}
    tree["read"]["format"] |= {"layouts": {"odd": layout}, "person": ["naam"]}
    with pytest.raises(ValueError, match="person names no column: naam") as error:
        Stream.model_validate(tree)
    assert "layout odd names no column: address, nikk" in str(error.value)
    with pytest.raises(ValueError, match="no regular expression"):
        Layout(columns={"NIK": "nik"}, end="(")
    with pytest.raises(ValueError, match="at least 1"):
        Format(kind="workbook", layouts={}, person=("nik",))

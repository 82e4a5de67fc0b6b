"""Tables saved by LibreOffice as offices export them: dBase with its memo beside, and CSV."""

import openpyxl
import pytest

from tests.books import converted
from tests.drops import Drops

SAID = 'Catatan petugas yang panjang; ditulis dengan "kutipan" dan é.'
LONG = " ".join([SAID] * 8)
ROWS = [
    ("NO", "NAMA", "NIK", "CATATAN"),
    (1, "Désirée; \"Siti\"", "3274010101010001", LONG),
    (2, "TONO", "3274010101010002", None),
    (3, None, "0000000000000007", "biasa"),
]  # fmt: skip


COLUMNS = {name: {"name": name.lower()} for name in ROWS[0]} | {"NO": {"name": "number"}}


@pytest.fixture
def sheet(tmp_path):
    folder = tmp_path / "drops"
    folder.mkdir()
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    book.save(folder / "made.xlsx")
    return folder / "made.xlsx"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("dbf", {"kind": "dbf", "encoding": "cp1252"}),
        ("csv", {"kind": "delimited", "separator": ";", "encoding": "cp1252"}),
    ],
)
def test_what_libreoffice_saves_is_what_it_was_given(sheet, tmp_path, kind, form):
    saved = converted(sheet, kind)
    read = {"pattern": f"*.{kind}", "format": form}
    world = Drops(tmp_path, saved.parent.as_uri(), read, COLUMNS)
    world.sync()
    rows = world.rows("number", "nama", "nik", "catatan")
    assert rows == [(str(no), name, nik, note) for no, name, nik, note in ROWS[1:]]

"""Workbooks saved by LibreOffice, in BIFF8 and in its own XLSX, and ones locked by msoffcrypto."""

import olefile
import pytest
from msoffcrypto.format.ooxml import OOXMLFile

from tests.books import FORMAT, converted, person, write
from tests.spec.test_workbooks import read, refusal

FILE_PASS = b"\x2f\x00"
PEOPLE = [
    person(tanggal_lahir=22673),
    person(nik="3274014107909002", nama="ANI", tanggal_lahir="16-04-2015"),
    person(nomor_kk="3274010101209009", nik=3274010101700012, nama="TITIN", alamat="GG. MAWAR",
           tanggal_lahir=None),
    person(nomor_kk="3274010101209009", nik=3274010101700010, nama="TONO", alamat="GG. MAWAR"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["xls", "xlsx"])
@pytest.mark.parametrize("layout", list(FORMAT.layouts))
def test_what_libreoffice_saves_is_read_as_what_it_was_given(layout, kind, tmp_path):
    other = write(tmp_path / f"again_{layout}.xlsx", layout, PEOPLE)
    before, account = read(other)
    saved = converted(other, kind)
    assert saved.read_bytes()[:4] == (b"\xd0\xcf\x11\xe0" if kind == "xls" else b"PK\x03\x04")
    after, found = read(saved)
    if kind == "xlsx":  # LibreOffice writes 15 digits into it: the last one is lost, and seen to be
        assert after[2]["nik"] == "3.27401010170001E+15"
        after[2]["nik"] = before[2]["nik"]
    assert after == before
    assert found["sheets"] == account["sheets"]
    assert [one["nik"] for one in after][2:] == ["3274010101700012", "3.27401010170001E+15"]
    assert after[0]["tanggal_lahir"] == "1962-01-27"


def test_a_locked_xlsx_is_refused(tmp_path):
    given, locked = write(tmp_path / "book.xlsx", "bip_2016", PEOPLE), tmp_path / "locked.xlsx"
    with given.open("rb") as plain, locked.open("wb") as target:
        OOXMLFile(plain).encrypt("rahasia", target)
    assert "is locked with a password" in refusal(locked)


def test_an_xls_marked_as_locked_is_refused(tmp_path):
    saved = converted(write(tmp_path / "book.xlsx", "bip_2016", PEOPLE), "xls")
    with olefile.OleFileIO(saved, write_mode=True) as ole:
        content = bytearray(ole.openstream("Workbook").read())
        second = 4 + int.from_bytes(content[2:4], "little")  # the record after the first one
        content[second : second + 2] = FILE_PASS
        size = int.from_bytes(content[second + 2 : second + 4], "little")
        content[second + 4 : second + 4 + size] = b"\x01" * size
        ole.write_stream("Workbook", bytes(content))
    assert "is locked with a password" in refusal(saved)

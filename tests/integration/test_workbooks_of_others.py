"""Workbooks saved by LibreOffice, in BIFF8 and in its own XLSX, and locked ones."""

import subprocess
from pathlib import Path

import pytest

from tests.books import FORMAT, converted, person, write
from tests.spec.test_workbooks import read, refusal

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


@pytest.mark.parametrize("kind", ["xls", "xlsx"])
def test_a_locked_workbook_is_refused(kind, tmp_path):
    given = write(tmp_path / "book.xlsx", "bip_2016", PEOPLE)
    locked = lock(given, kind, tmp_path)
    assert "is locked with a password" in refusal(locked)


def lock(path: Path, kind: str, folder: Path) -> Path:
    """Saved again with a password, by LibreOffice's own interpreter of Basic."""
    name = {"xls": "MS Excel 97", "xlsx": "Calc MS Excel 2007 XML"}[kind]
    target = folder / f"locked.{kind}"
    basic = folder / "profile" / "user" / "basic" / "Standard"
    basic.mkdir(parents=True)
    for part, body in (("script", '<library:element library:name="Module1"/>'), ("dialog", "")):
        (basic / f"{part}.xlb").write_text(
            '<?xml version="1.0"?>'
            '<library:library xmlns:library="http://openoffice.org/2000/library" '
            f'library:name="Standard" library:readonly="false">{body}</library:library>'
        )
    (basic / "Module1.xba").write_text(f"""<?xml version="1.0"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1"
 script:language="StarBasic">Sub Lock
Dim how(1) As New com.sun.star.beans.PropertyValue
Dim hidden(0) As New com.sun.star.beans.PropertyValue
hidden(0).Name = "Hidden"
hidden(0).Value = True
how(0).Name = "FilterName"
how(0).Value = "{name}"
how(1).Name = "Password"
how(1).Value = "rahasia"
book = StarDesktop.loadComponentFromURL("file://{path}", "_blank", 0, hidden())
book.storeToURL("file://{target}", how())
book.close(True)
End Sub
</script:module>
""")
    subprocess.run(
        ["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless",
         "macro:///Standard.Module1.Lock"],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    return target

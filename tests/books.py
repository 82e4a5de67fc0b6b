"""Resident books as offices keep them, written with openpyxl; LibreOffice makes BIFF8 of them."""

import shutil
import subprocess
import tempfile
from itertools import groupby
from pathlib import Path

from openpyxl import Workbook

from common.definition import load_sources
from common.settings import Settings

SOURCE = load_sources(Settings(home=Path("/nonexistent/muara")))["kelurahan"]
STREAM = SOURCE.stream("resident_book")
FORMAT = STREAM.read.format

PERSON = {
    "nomor_kk": "3274010101209001", "nik": "3274011508859001", "nama": "BUDI SANTOSA",
    "tempat_lahir": "CIREBON", "tanggal_lahir": "1985-08-15", "kelamin": "L",
    "ayah": "SANTOSA", "ibu": "AMINAH", "status_kawin": "KAWIN", "shdk": "KEPALA KELUARGA",
    "agama": "ISLAM", "pendidikan": "STRATA-II", "pekerjaan": "GURU", "gol_darah": "O",
    "alamat": "JL. KARTINI NO. 5", "rt": "2", "rw": "4",
}  # fmt: skip


def person(**changes) -> dict:
    return PERSON | changes


def family_line(one: dict) -> str:
    return (
        f"No. KK : {one['nomor_kk']}  Alamat : {one['alamat']}  RT : {one['rt']}  RW : {one['rw']}"
    )


def sheet(
    page, layout: str, people: list[dict], blank: str = "\u00a0", signed: bool = True
) -> None:
    """Titles, header, numbers, families and signatures, as the layout has them."""
    known = FORMAT.layouts[layout]
    page.append(["BUKU INDUK PENDUDUK"])
    page.merge_cells(start_row=1, end_row=1, start_column=1, end_column=8)
    page.append(["KELURAHAN KEJAKSAN"])
    page.append([])
    headings = [text.split(" > ") for text in known.columns]
    if known.header_rows == 1:
        page.append([one[0] for one in headings])
    else:
        tops = [one[0] for one in headings]
        page.append([None, *(top if at == 0 or tops[at - 1] != top else None
                             for at, top in enumerate(tops))])  # fmt: skip
        page.append(["No.", *(one[1] if len(one) > 1 else None for one in headings)])
        page.append([-number - 1 for number in range(len(headings) + 1)])
    columns = known.columns.values()
    for _, family in groupby(people, lambda one: one["nomor_kk"]):
        members = list(family)
        if known.family:
            page.append([family_line(members[0])])
        for number, one in enumerate(members, 1):
            cells = [f"{blank}{one[name]}{blank}" if isinstance(one.get(name), str)
                     else one.get(name) for name in columns]  # fmt: skip
            page.append(cells if known.header_rows == 1 else [number, *cells])
    if known.end and signed:
        page.append([])
        page.append([None] * 6 + ["Cirebon, 23 November 2026"])
        page.append([None] * 6 + ["Lurah Kejaksan"])
        page.append([None] * 6 + ["NIP. 19700101 199001 1 001"])


def write(path: Path, layout: str, people: list[dict], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    sheet(book.active, layout, people, **options)
    book.save(path)
    return path


def converted(path: Path, kind: str) -> Path:
    """The same table as LibreOffice saves it: `xls` is BIFF8, `csv` and `dbf` are in cp1252, a long
    text goes into `.dbt` beside."""
    filters = {
        "xls": "xls:MS Excel 97",
        "xlsx": "xlsx:Calc MS Excel 2007 XML",
        "csv": "csv:Text - txt - csv (StarCalc):59,34,1",
        "dbf": "dbf:dBase:1",
    }
    with tempfile.TemporaryDirectory(prefix="mu-office-") as profile:
        subprocess.run(
            ["soffice", f"-env:UserInstallation=file://{profile}/user", "--headless",
             "--convert-to", filters[kind], "--outdir", f"{profile}/out", str(path)],
            check=True, capture_output=True, timeout=180,
        )  # fmt: skip
        for made in Path(profile, "out").iterdir():
            shutil.move(made, path.with_name(made.name))
    return path.with_suffix(f".{kind}")

"""What an agency gets back: its own rejected rows, readable, inert, nothing that is protected."""

import csv
import subprocess
import zipfile
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from common.definition import Column, Source, load_source, load_sources
from common.errors import DefinitionError, ExtractFault
from common.settings import Settings
from expectations.suite import columns_of, load_rules
from pipeline import leave, rejections
from pipeline.sync import sync
from tests.world import NIGHT, Cameras, monitor
from warehouse import workbook as workbooks
from warehouse.manifest import verify
from warehouse.workbook import CELL_UNITS, Sheet, workbook

SETTINGS = Settings(home=Path("/nonexistent/muara"))
FIRST_SENT = len(rejections.ABOUT_THE_ROW)
DANGEROUS = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", '=HYPERLINK("http://x")',
             "http://intra.example/", "mailto:a@x.example", "{=1+1}", "'=1+1", "1E5"]  # fmt: skip
AWKWARD = ["3274010101010001", "0012", "1.50", "  both ends  ", "two\nlines", "a\x01b", "_x0041_",
           "🙂 nama", "TRUE", "2026-11-23", "1/2"]  # fmt: skip


def delivered(settings: Settings, agency: str) -> Path:
    (path,) = (settings.home / "extracts" / agency / rejections.FOLDER).glob("*.xlsx")
    return path


def returned(cameras: Cameras, source: Source | None = None) -> Path:
    """The workbook of the cameras' owner, made now."""
    settings, night = cameras.settings, cameras.settings.today
    rejections.return_rejections(settings, "dishub", {"cctv": source or cameras.source}, night)
    return delivered(settings, "dishub")


def with_columns(cameras: Cameras, columns: dict[str, Column]) -> Source:
    """The cameras' definition with other columns of the inventory."""
    first, *others = cameras.source.streams
    changed = first.model_copy(update={"columns": columns})
    return cameras.source.model_copy(update={"streams": (changed, *others)})


def rows_of(path: Path, sheet: str) -> list[tuple]:
    return list(openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True))


def marked(path: Path, sheet: str) -> list[tuple[int, str]]:
    """(row as sent, column as the agency calls it) of every coloured cell."""
    page = openpyxl.load_workbook(path)[sheet]
    head = [cell.value for cell in page[1]]
    return [
        (row[FIRST_SENT].value, head[place])
        for row in page.iter_rows(min_row=2)
        for place, cell in enumerate(row)
        if cell.fill.fgColor.rgb == "FFFFC7CE"
    ]


@pytest.fixture
def cameras(tmp_path):
    return Cameras(tmp_path)


def test_a_refused_row_comes_back_as_it_was_sent_with_its_faults(cameras):
    cameras.hold(
        monitor(1),
        monitor(2, name=None),
        monitor(3, function="Nodect", latitude="utara"),
        monitor(4, name="A"),
        monitor(4, name="B"),
    )
    cameras.sync()
    path = returned(cameras)
    assert path.name == "penolakan-dishub-2026-11-23.xlsx"
    head, *rows = rows_of(path, "Monitors")
    assert head == (*rejections.ABOUT_THE_ROW, *cameras.stream.columns)
    assert rows == [
        (2, None, "23 November 2026", "Kolom Name wajib diisi, tetapi kosong.", "Isi kolom Name.",
         "Name", "2", None, "Monitor", "1", "-6.72", "108.55", "dishub", "2024-01-02"),
        (3, None, "23 November 2026",
         "Kode pada kolom Function tidak dikenal.\nIsi kolom Latitude tidak terbaca sebagai angka.",
         "Isi kolom Function dengan salah satu kode: Monitor, Modect, None.\n"
         "Tulis angka dengan titik sebagai tanda desimal, misalnya 1250.5.",
         "Function, Latitude", "3", "Simpang", "Nodect", "1", "utara", "108.55", "dishub",
         "2024-01-02"),
        *((number, None, "23 November 2026",
           "Beberapa baris yang isinya berbeda memakai Id yang sama.",
           "Pastikan setiap baris memiliki Id sendiri; gabungkan atau hapus baris yang ganda.",
           "Id", "4", name, "Monitor", "1", "-6.72", "108.55", "dishub", "2024-01-02")
          for number, name in ((4, "A"), (5, "B"))),
    ]  # fmt: skip
    assert marked(path, "Monitors") == [
        ("2", "Name"), ("3", "Function"), ("3", "Latitude"), ("4", "Id"), ("4", "Id"),
    ]  # fmt: skip


def test_the_cover_says_whose_which_night_and_how_many(cameras):
    cameras.hold(monitor(1), monitor(2, name=None))
    cameras.sync()
    cameras.next_night()
    cameras.hold(monitor(1), monitor(2, name=None), monitor(3, name=None))
    cameras.sync()
    cover = rows_of(returned(cameras), "Petunjuk")
    assert ("Instansi", "Dinas Perhubungan") in [row[:2] for row in cover]
    assert ("Malam", "24 November 2026") in [row[:2] for row in cover]
    assert ("Jumlah baris yang ditolak", "2") in [row[:2] for row in cover]
    system = "Kamera CCTV semua pemilik"
    assert (
        system, "Inventaris kamera (Monitors)", "Monitors", 2, 1, "24 November 2026"
    ) in cover  # fmt: skip
    assert (
        system, "Status kamera terukur (Monitor_Status)", "–", 0, 0,
        "belum pernah (tidak terbaca malam ini)",
    ) in cover  # fmt: skip
    assert ("Kolom Name wajib diisi, tetapi kosong.", "Isi kolom Name.", "Monitors", 2) in [
        row[:4] for row in cover
    ]
    assert (system, cameras.source.contact.unit, cameras.source.contact.email) in [
        row[:3] for row in cover
    ]


def test_an_agency_without_rejections_is_told_so(cameras):
    cameras.hold(monitor(1))
    cameras.sync()
    path = returned(cameras)
    assert openpyxl.load_workbook(path).sheetnames == ["Petunjuk"]
    said = [row[0] for row in rows_of(path, "Petunjuk")]
    assert "Tidak ada baris yang ditolak. Tidak ada yang perlu diperbaiki." in said


def test_what_was_corrected_leaves_the_workbook(cameras):
    cameras.hold(monitor(1), monitor(2, name=None))
    cameras.sync()
    first = returned(cameras)
    cameras.next_night()
    cameras.hold(monitor(1), monitor(2))
    cameras.sync()
    second = returned(cameras)
    assert not first.exists()
    assert second.name == "penolakan-dishub-2026-11-24.xlsx"
    assert openpyxl.load_workbook(second).sheetnames == ["Petunjuk"]


def test_nobody_gets_the_rows_of_another(cameras):
    cameras.hold(monitor(1, name=None, owner="CANARY-OWNER"))
    cameras.sync()
    assert leave.return_rejections(cameras.settings) == {
        "bp4d": 0, "disdukcapil": 0, "dishub": 1, "dkis": 0, "kec_kejaksan": 0,
    }  # fmt: skip
    holds = {}
    for agency in ("bp4d", "disdukcapil", "dishub", "dkis"):
        with zipfile.ZipFile(delivered(cameras.settings, agency)) as archive:
            holds[agency] = any(b"CANARY-OWNER" in archive.read(one) for one in archive.namelist())
    assert holds == {"bp4d": False, "disdukcapil": False, "dishub": True, "dkis": False}


def test_a_protected_value_is_nowhere_in_the_file_but_its_column_is_named(cameras):
    columns = {
        theirs: column.model_copy(update={"protected": theirs in ("Name", "Function")})
        for theirs, column in cameras.stream.columns.items()
    }
    cameras.hold(monitor(1), monitor(2, name="CANARY NAME", function="CANARY CODE"))
    cameras.sync()
    path = returned(cameras, with_columns(cameras, columns))
    with zipfile.ZipFile(path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"CANARY" not in content
    head, row = rows_of(path, "Monitors")
    assert "Name" not in head
    assert "Function" not in head
    assert row[FIRST_SENT - 1] == "Function (dilindungi)"
    assert marked(path, "Monitors") == []


@pytest.mark.parametrize("source", load_sources(SETTINGS).values(), ids=lambda one: one.name)
def test_every_rule_speaks_to_its_agency_and_marks_a_cell(source):
    for stream, rules in load_rules(SETTINGS, source).items():
        for rule in rules:
            assert rule.plain.endswith(".")
            assert rule.remedy.endswith(".")
            if rule.is_about_rows:
                assert columns_of(rule, source.stream(stream)), rule.rule


def test_a_rule_without_words_for_the_agency_is_a_fault(tmp_path):
    (tmp_path / "cctv.yml").write_text(
        "streams: {monitor: [{rule: a, severity: warning, reason: r, origin: o, "
        "expect_column_values_to_not_be_null: {column: camera_name}}]}"
    )
    settings = Settings(home=tmp_path, expectations=tmp_path)
    with pytest.raises(DefinitionError, match=r"needs `plain` and `remedy`: monitor\.a"):
        load_rules(settings, load_source(settings, "cctv"))


def test_who_reported_is_protected():
    sources = load_sources(SETTINGS)
    hidden = {
        (source.name, column.name)
        for source in sources.values()
        for stream in source.streams
        for column in stream.columns.values()
        if column.protected
    }
    assert hidden >= {
        ("report_inbox", "extension"),
        ("brojol", "reporter_name"),
        ("brojol", "reporter_nik"),
        ("brojol", "reporter_phone"),
    }


def test_a_row_without_its_rule_is_returned_all_the_same(cameras):
    """A rule may have been renamed since the row was refused."""
    cameras.hold(monitor(1), monitor(2, name=None))
    cameras.sync()
    columns = {
        theirs: column.model_copy(update={"required": False})
        for theirs, column in cameras.stream.columns.items()
    }
    path = returned(cameras, with_columns(cameras, columns))
    _, row = rows_of(path, "Monitors")
    assert row[3] == "Melanggar aturan lama camera_name_missing."


def test_the_codes_that_are_allowed_stand_beside(tmp_path):
    from tests.spec.test_golden import SOURCES, standing_in

    cameras = Cameras(tmp_path)
    source = SOURCES["civil_registry"]
    for stream in source.streams:
        with standing_in(source, stream, tmp_path) as url:
            sync(cameras.settings, source, stream, lambda _, url=url: url)
    rejections.return_rejections(cameras.settings, "disdukcapil", cameras.sources, NIGHT)
    path = delivered(cameras.settings, "disdukcapil")
    names = openpyxl.load_workbook(path).sheetnames
    assert names == ["Petunjuk", "data_keluarga", "biodata_wni", "Daftar kode"]
    codes = rows_of(path, "Daftar kode")
    assert codes[:2] == [("Kolom", "Kode", "Arti"), ("agama", "1", "ISLAM")]
    assert {row[0] for row in codes[1:]} == {"agama"}
    assert len(codes) == 8
    niks = [row[FIRST_SENT] for row in rows_of(path, "biodata_wni")[1:]]
    assert niks
    assert all(isinstance(nik, str) for nik in niks)


def test_the_delivery_verifies_until_someone_touches_it(cameras):
    cameras.hold(monitor(1, name=None))
    cameras.sync()
    path = returned(cameras)
    manifest = verify(path.parent)
    assert (manifest["agency"], manifest["night"], manifest["rows"]) == ("dishub", str(NIGHT), 1)
    assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}
    before = path.read_bytes()
    returned(cameras)
    assert path.read_bytes() == before, "the same rows give the same bytes"
    path.write_bytes(before + b" ")
    with pytest.raises(ExtractFault):
        verify(path.parent)


def test_a_failure_leaves_the_workbook_that_was_there(cameras, monkeypatch):
    cameras.hold(monitor(1, name=None))
    cameras.sync()
    before = returned(cameras).read_bytes()
    cameras.hold(monitor(1, name=None), monitor(2, name=None))
    cameras.sync()
    monkeypatch.setattr(rejections, "_write_cover", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        returned(cameras)
    assert delivered(cameras.settings, "dishub").read_bytes() == before
    monkeypatch.undo()
    home = returned(cameras).parent.parent
    assert [one.name for one in home.iterdir()] == [rejections.FOLDER], "nothing half made is left"


@pytest.fixture(scope="module")
def text_cells(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.xlsx"
    with workbook(path, date(2026, 11, 23)) as book:
        sheet = Sheet(book, "Isi", (20, 20), ("Nilai", "Ditandai"))
        for text in (*DANGEROUS, *AWKWARD):
            sheet.append((text, text), "sent", {1})
    return path


def test_nothing_in_a_workbook_is_run_or_loses_a_digit(text_cells):
    page = openpyxl.load_workbook(text_cells)["Isi"]
    for row in page.iter_rows(min_row=2):
        for cell in row:
            assert cell.data_type == "s", cell.coordinate
            assert (cell.number_format, cell.quotePrefix) == ("@", True), cell.coordinate
            assert cell.hyperlink is None
    with zipfile.ZipFile(text_cells) as archive:
        sheets = b"".join(archive.read(one) for one in archive.namelist() if "worksheets" in one)
    assert b"<f>" not in sheets
    assert b"<hyperlink" not in sheets


def test_libreoffice_opens_it_and_shows_what_was_sent(text_cells, tmp_path):
    assert in_libreoffice(text_cells, tmp_path)["Isi"] == [
        ["Nilai", "Ditandai"],
        *([shown(text), shown(text)] for text in (*DANGEROUS, *AWKWARD)),
    ]


def shown(text: str) -> str:
    """XML knows one kind of line break."""
    return text.replace("\r", "\n")


def in_libreoffice(path: Path, folder: Path) -> dict[str, list[list[str]]]:
    """Sheet → its cells as LibreOffice shows them; formulas would come as what they compute."""
    every_sheet = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    subprocess.run(
        ["soffice", f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless",
         "--convert-to", every_sheet, "--outdir", folder / "csv", path],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return {
        one.stem.removeprefix(f"{path.stem}-"): list(
            csv.reader(one.read_text().splitlines(keepends=True))
        )
        for one in (folder / "csv").iterdir()
    }


def test_libreoffice_opens_what_an_agency_gets(cameras, tmp_path):
    cameras.hold(monitor(1, name=None), *(monitor(n, name=text, function="?")
                 for n, text in enumerate(DANGEROUS, start=2)))  # fmt: skip
    cameras.sync()
    sheets = in_libreoffice(returned(cameras), tmp_path)
    names = [row[FIRST_SENT + 1] for row in sheets["Monitors"][1:]]
    assert names == ["", *map(shown, DANGEROUS)]


def test_a_sheet_that_is_full_goes_on_in_another(tmp_path):
    path = tmp_path / "long.xlsx"
    with workbook(path, NIGHT, sheet_rows=4) as book:
        sheet = Sheet(book, "Isi", (20,), ("Nilai",))
        for number in range(7):
            sheet.append((str(number),))
    pages = openpyxl.load_workbook(path)
    assert {page.title: [row[0] for row in page.values] for page in pages} == {
        "Isi": ["Nilai", "0", "1", "2"],
        "Isi (2)": ["Nilai", "3", "4", "5"],
        "Isi (3)": ["Nilai", "6"],
    }


def test_excels_own_limits_are_known():
    assert (workbooks.SHEET_ROWS, workbooks.SHEET_NAME, CELL_UNITS) == (1_048_576, 31, 32_767)


@pytest.mark.parametrize("letter", ["a", "🙂"])
def test_a_text_longer_than_a_cell_is_cut_and_says_so(tmp_path, letter):
    path = tmp_path / "long.xlsx"
    with workbook(path, NIGHT) as book:
        Sheet(book, "Isi", (20,)).append((letter * 40_000,), "sent")
    (text,) = rows_of(path, "Isi")[0]
    assert len(text.encode("utf-16-le")) // 2 <= CELL_UNITS
    assert text.startswith(letter * 16_000)
    assert text.endswith(" … (dipotong)")


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (["*/kelahiran_*.csv"], ["kelahiran__.csv"]),
        (["Data", "DATA"], ["Data", "DATA (2)"]),
        (["x" * 40, "x" * 41], ["x" * 31, "x" * 27 + " (2)"]),
        (["'a'", "[]"], ["a", "_"]),
    ],
)
def test_names_of_sheets_are_what_excel_allows(tmp_path, wanted, got):
    with workbook(tmp_path / "names.xlsx", NIGHT) as book:
        assert [Sheet(book, name, (9,)).page.get_name() for name in wanted] == got

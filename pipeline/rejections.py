"""What each agency gets back: its open quarantine rows and no others, as a workbook in Indonesian.

One sheet per stream with the rows as sent, under the agency's own column names, and a cover that
says how to read them. Columns that a definition calls `protected` are not in it. The texts are
those of the rules (`plain`, `remedy`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property, partial
from pathlib import Path

import duckdb

from common.definition import Source, Stream
from common.quoting import json_key
from common.settings import Settings
from expectations.suite import Rule, columns_of, load_rules
from warehouse.catalog import reading, require_night
from warehouse.manifest import delivery, leaving, write_manifest
from warehouse.workbook import Sheet, Workbook, workbook

FOLDER = "penolakan"
COVER, CODES = "Petunjuk", "Daftar kode"
ROWS_AT_ONCE = 5_000
OPEN = "FROM lake.quarantine.row WHERE source = ? AND stream = ? AND state = 'open'"
MONTHS = ("Januari", "Februari", "Maret", "April", "Mei", "Juni", "Juli", "Agustus", "September",
          "Oktober", "November", "Desember")  # fmt: skip
ABOUT_THE_ROW = ("Urutan baca", "Berkas", "Pertama ditolak", "Yang salah", "Yang perlu diperbaiki",
                 "Kolom bermasalah")  # fmt: skip
ABOUT_WIDTHS = (12, 22, 18, 42, 48, 24)
SENT_WIDTH = 20
COVER_WIDTHS = (46, 50, 24, 14, 14, 32)
HOW_TO_READ = (
    "Setiap lembar berikutnya memuat satu tabel atau berkas milik instansi Anda. Setiap barisnya "
    "adalah satu baris yang belum dapat diterima gudang data.",
    "Kolom-kolom pertama menjelaskan apa yang salah dan apa yang perlu diperbaiki. Kolom "
    "selanjutnya memuat baris itu persis seperti yang dikirim, dengan nama kolom sistem Anda.",
    "Sel yang bermasalah berwarna merah muda; namanya juga tercantum pada “Kolom bermasalah”.",
    "“Urutan baca” adalah urutan baris saat dibaca pada malam pertama ditolak, bukan bagian dari "
    "data Anda.",
    "Kolom yang dilindungi tidak dimuat di sini. Bila kolom itu bermasalah, namanya disebut tanpa "
    "isinya; lihat isinya di sistem Anda.",
    "Perbaiki datanya di sistem asal, bukan di buku kerja ini. Baris yang sudah benar diterima "
    "dengan sendirinya pada malam berikutnya dan hilang dari buku kerja ini.",
    "Buku kerja ini memuat data pribadi. Simpan dan bagikan hanya kepada petugas yang "
    "memperbaikinya, lalu hapus bila selesai.",
)


@dataclass
class Returned:
    """One stream's part of a workbook: what its rows may say, and what was written."""

    source: Source
    stream: Stream
    rules: dict[str, Rule]
    sheet: str = ""
    rows: int = 0
    new: int = 0
    broken: Counter[str] = field(default_factory=Counter)

    @property
    def own_name(self) -> str:
        """What the agency calls it: its table, endpoint or files."""
        read = self.stream.read
        match read.reader:
            case "sql":
                return read.table
            case "rest":
                return read.path.strip("/")
            case "files":
                return read.pattern
            case "dlt":
                return read.resource

    @cached_property
    def shown(self) -> dict[str, str]:
        """The agency's column name → ours, of what may be shown."""
        columns = self.stream.columns.items()
        return {theirs: column.name for theirs, column in columns if not column.protected}

    @cached_property
    def theirs(self) -> dict[str, str]:
        """Our column name → the agency's."""
        return {column.name: theirs for theirs, column in self.stream.columns.items()}


def return_rejections(
    settings: Settings, agency: str, sources: dict[str, Source], night: date
) -> int:
    """Deliver one agency's workbook, also when nothing was rejected. Returns its rows.

    It lands in `<home>/extracts/<agency>/penolakan/` in the place of the one before, whole or not
    at all. Raises DefinitionError when the rules of a source cannot be read.
    """
    require_night(settings)
    parts = [
        Returned(source, stream, {rule.rule: rule for rule in rules[stream.name]})
        for source in sources.values()
        if source.agency == agency
        for rules in [load_rules(settings, source)]
        for stream in source.streams
    ]
    final = settings.home / "extracts" / agency / FOLDER
    with leaving(settings), delivery(final) as folder:
        path = folder / workbook_of(agency, night)
        with reading(settings) as connection:
            connection.execute("BEGIN")
            _write(connection, settings, path, agency, parts, night)
        rows = sum(part.rows for part in parts)
        sheets = {f"{part.source.name}.{part.stream.name}": part.rows for part in parts}
        write_manifest(
            folder,
            {
                "agency": agency,
                "night": str(night),
                "rows": rows,
                "rejected": sheets,
                "workbook": path.name,
            },
        )
    return rows


def workbook_of(agency: str, night: date) -> str:
    """The name of the workbook."""
    return f"penolakan-{agency}-{night}.xlsx"


def _write(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    path: Path,
    agency: str,
    parts: list[Returned],
    night: date,
) -> None:
    with workbook(path, night) as book:
        cover = Sheet(book, COVER, COVER_WIDTHS)
        for part in parts:
            _write_rows(connection, book, part, night)
        _write_codes(connection, book, parts)
        _write_cover(connection, settings, cover, agency, parts, night)


def _write_rows(
    connection: duckdb.DuckDBPyConnection, book: Workbook, part: Returned, night: date
) -> None:
    sheet = None
    said = cache(partial(_said, part))
    styles = (*["text"] * len(ABOUT_THE_ROW), *["sent"] * len(part.shown))
    for number, origin, first_night, rules, *sent in _open_rows(connection, part):
        if sheet is None:
            widths = (*ABOUT_WIDTHS, *[SENT_WIDTH] * len(part.shown))
            sheet = Sheet(book, part.own_name, widths, (*ABOUT_THE_ROW, *part.shown))
            part.sheet = sheet.page.get_name()
        wrong, remedy, columns, marked = said(tuple(rules))
        about = (number, origin, indonesian(first_night), wrong, remedy, columns)
        sheet.append((*about, *sent), styles, marked)
        part.rows += 1
        part.new += first_night == night
        part.broken.update(rules)
    if sheet is not None and sheet.part == 1:
        sheet.page.autofilter(0, 0, sheet.row - 1, len(styles) - 1)


def _open_rows(connection: duckdb.DuckDBPyConnection, part: Returned) -> Iterator[tuple]:
    """Row number, file, first night, rules, then the row as sent, in the order of the sheet."""
    paths = ", ".join(json_key(ours) for ours in part.shown.values())
    reader = connection.execute(
        "SELECT row_number, origin, first_night, rules, "
        f"json_extract_string(row_as_sent, [{paths}]) {OPEN} "
        "ORDER BY first_night, origin, row_number, quarantine_id",
        [part.source.name, part.stream.name],
    ).to_arrow_reader(ROWS_AT_ONCE)
    for batch in reader:
        for *about, sent in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield (*about, *sent)


def _said(part: Returned, broken: tuple[str, ...]) -> tuple[str, str, str, set[int]]:
    """Of a set of rules: what is wrong, what to correct, in which columns, which cells to mark."""
    rules = [part.rules[name] for name in broken if name in part.rules]
    named = [ours for rule in rules for ours in columns_of(rule, part.stream)]
    shown = list(part.shown.values())
    columns = ", ".join(
        part.theirs[ours] + ("" if ours in shown else " (dilindungi)")
        for ours in dict.fromkeys(named)
    )
    marked = {len(ABOUT_THE_ROW) + shown.index(ours) for ours in named if ours in shown}
    return (
        "\n".join(_plain(part, name) for name in broken),
        "\n".join(dict.fromkeys(_remedy(part, name) for name in broken)),
        columns,
        marked,
    )


def _plain(part: Returned, name: str) -> str:
    return part.rules[name].plain if name in part.rules else f"Melanggar aturan lama {name}."


def _remedy(part: Returned, name: str) -> str:
    # A rule that was renamed or dropped after the row was refused.
    otherwise = "Tidak ada; baris ini akan dinilai ulang menurut aturan yang baru."
    return part.rules[name].remedy if name in part.rules else otherwise


def _write_codes(
    connection: duckdb.DuckDBPyConnection, book: Workbook, parts: list[Returned]
) -> None:
    """The official codes of the columns in which a code was refused."""
    wanted = {
        (theirs, column.codes)
        for part in parts
        for theirs, column in part.stream.columns.items()
        if column.codes and f"{column.name}_unknown" in part.broken
    }
    if not wanted:
        return
    sheet = Sheet(book, CODES, (24, 12, 60), ("Kolom", "Kode", "Arti"))
    for theirs, codes in sorted(wanted):
        for row in connection.execute(
            "SELECT code, code_name FROM lake.ref.code WHERE list = ? "
            "ORDER BY TRY_CAST(code AS BIGINT), code",
            [codes],
        ).fetchall():
            sheet.append((theirs, *row), ("text", "sent", "sent"))


def _write_cover(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    cover: Sheet,
    agency: str,
    parts: list[Returned],
    night: date,
) -> None:
    rows = sum(part.rows for part in parts)
    cover.append(("Baris data yang ditolak",), "title")
    cover.append(("Instansi", _agency_name(connection, agency)), ("head", "text"))
    cover.append(("Malam", indonesian(night)), ("head", "text"))
    cover.append(("Jumlah baris yang ditolak", str(rows)), ("head", "text"))
    cover.append(("Pertanyaan tentang buku kerja ini", settings.contact), ("head", "text"))
    cover.append(())
    if not rows:
        cover.append(("Tidak ada baris yang ditolak. Tidak ada yang perlu diperbaiki.",), "heading")
        cover.append(())
    cover.append(("Sistem dan tabel",), "heading")
    cover.append(("Sistem", "Tabel atau berkas", "Lembar", "Baris ditolak", "Baru malam ini",
                  "Terakhir dibaca"), "head")  # fmt: skip
    for part in parts:
        read = _last_read(connection, part)
        late = "" if read == night else " (tidak terbaca malam ini)"
        cover.append((
            part.source.title_id or part.source.title,
            f"{part.stream.title_id or part.stream.title} ({part.own_name})",
            part.sheet or "–",
            part.rows,
            part.new,
            (indonesian(read) if read else "belum pernah") + late,
        ))  # fmt: skip
    cover.append(())
    if rows:
        cover.append(("Apa yang salah",), "heading")
        cover.append(("Yang salah", "Yang perlu diperbaiki", "Lembar", "Baris"), "head")
        for part in parts:
            for name, count in sorted(part.broken.items(), key=lambda one: (-one[1], one[0])):
                cover.append((_plain(part, name), _remedy(part, name), part.sheet, count))
        cover.append(())
    cover.append(("Cara membaca",), "heading")
    for number, sentence in enumerate(HOW_TO_READ, start=1):
        cover.paragraph(f"{number}. {sentence}")
    cover.append(())
    cover.append(("Penanggung jawab data",), "heading")
    cover.append(("Sistem", "Unit", "Surel"), "head")
    for source in {part.source.name: part.source for part in parts}.values():
        cover.append((source.title_id or source.title, source.contact.unit, source.contact.email))


def _agency_name(connection: duckdb.DuckDBPyConnection, agency: str) -> str:
    found = connection.execute(
        "SELECT agency_name FROM lake.ref.agency WHERE agency_code = ?", [agency]
    ).fetchone()
    return found[0] if found else agency


def _last_read(connection: duckdb.DuckDBPyConnection, part: Returned) -> date | None:
    found = connection.execute(
        "SELECT max(night) FROM lake.ops.ledger "
        "WHERE source = ? AND stream = ? AND outcome = 'loaded'",
        [part.source.name, part.stream.name],
    ).fetchone()
    return found[0] if found else None


def indonesian(day: date) -> str:
    """17 Agustus 2026"""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"

"""Workbooks in which kelurahan offices keep their residents (`books.yml`).

An office copies them from the registry when it makes its book, and has its own mistakes and news
since: `dirt.yml`. It sends the whole book again every fourth day.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import xlsxwriter

from city.dirt import verdict_of
from city.places import REFERENCE, settings
from city.sql import Con, value
from city.systems import tables

GONE_DAYS = 60  # so long a book still has those who moved out
MADE = datetime(2026, 1, 1)  # in every file, so that equal books are equal bytes
FIRST_SERIAL = date(1899, 12, 30)
FAMILY = ("nomor_kk", "alamat", "rt", "rw")


def copy(con: Con, today: date, offices: Iterable[dict[str, Any]] | None = None) -> None:
    """Brings what the books say (`sound.resident_book`) up to what the registry shows today; rows
    with a mistake of the office stay as they are."""
    for office in settings("books")["offices"] if offices is None else offices:
        con.execute(
            f"""
            DELETE FROM sound.resident_book WHERE kelurahan = '{office["kelurahan"]}'
                AND row_id NOT IN (SELECT row_id FROM bad.resident_book);
            INSERT INTO sound.resident_book {_people(office, today)}
                AND row_id NOT IN (SELECT row_id FROM sound.resident_book)
            """
        )


def send_again(con: Con, today: date) -> None:
    """Every day one of the offices makes its book anew."""
    offices = settings("books")["offices"]
    copy(con, today, [offices[today.toordinal() % len(offices)]])


def _people(office: dict[str, Any], today: date) -> str:
    """SQL: the rows of an office's book, as its workbook says them; empty text for nothing."""
    layout = settings("books")["layouts"][office["layout"]]
    words, written = layout["words"], layout["columns"].values()
    form = layout["dates"] if "%" in layout["dates"] else "%Y-%m-%d"
    district, village = office["kelurahan"].split(".")[2:]
    long_gone = today - timedelta(GONE_DAYS)

    def worded(column: str, known: Sequence[str]) -> str:
        return f"{list(known)}[{column}::INT]"

    said = {
        "kelurahan": f"'{office['kelurahan']}'",
        "rw_buku": f"'{office['rw']:02}'",
        "nomor_kk": "person.no_kk",
        "nik": "nik",
        "nama": "nama_lgkp",
        "tempat_lahir": "tmpt_lhr",
        "tanggal_lahir": f"strftime(tgl_lhr::DATE, '{form}')",
        "kelamin": worded("jenis_klmin", words["sex"]),
        "nik_ayah": "nik_ayah",
        "ayah": "nama_lgkp_ayah",
        "nik_ibu": "nik_ibu",
        "ibu": "nama_lgkp_ibu",
        "status_kawin": worded("stat_kwn", words["marital"]),
        "shdk": worded("stat_hbkel", _names("hubungan")),
        "agama": worded("agama", _names("agama")),
        "pendidikan": worded("pddk_akh", words["education"]),
        "pekerjaan": worded("jenis_pkrjn", _names("pekerjaan")),
        "gol_darah": worded("gol_drh", [*_names("golongan_darah")[:12], words["blood_unknown"]]),
        "alamat": "alamat",
        "rt": "no_rt",
        "rw": "no_rw",
        "nomor_akta_lahir": "no_akta_lhr",
    }
    always = {"kelurahan", "rw_buku", *FAMILY}
    columns = ", ".join(
        f"coalesce({sql}, '') AS {name}" if name in always or name in written else f"'' AS {name}"
        for name, sql in said.items()
    )
    return f"""
        SELECT row_id, {columns}
        FROM sent.biodata_wni AS person JOIN (
            SELECT DISTINCT ON (no_kk) no_kk, alamat, no_rt, no_rw FROM sent.data_keluarga
            WHERE {verdict_of("fault")} IN ('sound', 'undecidable') ORDER BY ALL
        ) AS family USING (no_kk)
        WHERE {verdict_of("fault")} IN ('sound', 'undecidable')
            AND no_kec = '{int(district)}' AND no_kel = '{village}'
            AND no_rw = '{office["rw"]:03}'
            AND (flag_status = '1' OR (flag_status = '3' AND tgl_ubah >= '{long_gone}'))"""


def _names(table: str) -> list[str]:
    """The names of a code list of the registry, in the order of the codes from 1."""
    lines = (REFERENCE / "civil_registry_codes" / f"{table}.tsv").read_text(encoding="utf-8")
    return [line.split("\t")[1] for line in lines.splitlines()[1:]]


def write(con: Con, home: Path) -> None:
    """Writes every office's book, <kelurahan>/buku_rw_<rw>.xlsx, whole or not at all."""
    (table,) = (one for one in tables() if one.name == "resident_book")
    for office in settings("books")["offices"]:
        rows = con.execute(
            f"""
            SELECT {table.quoted} FROM sent.resident_book WHERE kelurahan = '{office["kelurahan"]}'
            ORDER BY nomor_kk, alamat, row_id
            """
        ).fetchall()
        people = [dict(zip(table.columns, row, strict=True)) for row in rows]
        folder = home / "systems" / "kelurahan_books" / office["kelurahan"]
        folder.mkdir(parents=True, exist_ok=True)
        name = value(
            con,
            f"SELECT any_value(kelurahan_name) FROM rw WHERE region_code = '{office['kelurahan']}'",
        )
        temporary = folder / ".book.part"
        _write_book(temporary, settings("books")["layouts"][office["layout"]], name, people)
        os.replace(temporary, folder / f"buku_rw_{office['rw']:02}.xlsx")


def _write_book(
    path: Path, layout: dict[str, Any], name: str, people: list[dict[str, str]]
) -> None:
    with xlsxwriter.Workbook(path, {"in_memory": True}) as book:
        book.set_properties({"created": MADE})
        page = book.add_worksheet("Data Penduduk")
        page.write_row(0, 0, [f"DATA PENDUDUK KELURAHAN {name.upper()}"])
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        columns = layout["columns"]
        is_family_book = any(" > " in heading for heading in columns)
        row = _head(page, list(columns), is_family_book)
        for family, members in groupby(people, itemgetter(*FAMILY)):
            if is_family_book:
                number, address, rt, rw = family
                page.write(row, 0, f"No. KK : {number}  Alamat : {address}  RT : {rt}  RW : {rw}")
                row += 1
            for place, person in enumerate(members, 1):
                if is_family_book:
                    page.write_number(row, 0, place)
                for at, column in enumerate(columns.values(), is_family_book):
                    if text := person.get(column):
                        _write_cell(page, row, at, column, text, layout["dates"], day)
                row += 1
        if is_family_book:
            page.write_row(row + 1, 8, ["Mengetahui,"])
            page.write_row(row + 2, 8, [f"Lurah {name}"])


def _head(page: Any, headings: list[str], is_family_book: bool) -> int:
    """Writes the header from row 3 on; of a family book in two rows, and the row of numbers below.
    Returns the next row."""
    if not is_family_book:
        page.write_row(2, 0, headings)
        return 3
    page.write(2, 0, "No.")
    last = ""
    for at, heading in enumerate(headings, 1):
        top, _, below = heading.partition(" > ")
        if top != last:
            page.write(2, at, top)
        page.write(3, at, below)
        last = top
    page.write_row(4, 0, [-number for number in range(1, len(headings) + 2)])
    return 5


def _write_cell(page: Any, row: int, at: int, column: str, text: str, dates: str, day: Any) -> None:
    """Text, but for days where the layout keeps them as numbers, and for a NIK that a clerk's
    spreadsheet took for one."""
    if column == "tanggal_lahir" and dates == "serial":
        page.write_number(row, at, (date.fromisoformat(text) - FIRST_SERIAL).days)
    elif column == "tanggal_lahir" and dates == "cell":
        page.write_datetime(row, at, datetime.fromisoformat(text), day)
    elif column == "nik" and "E+" in text:
        page.write_number(row, at, float(text))
    else:
        # A no-break blank before and behind, as their forms pad them.
        page.write_string(row, at, f"\u00a0{text}\u00a0" if column == "nama" else text)

"""The sample city's systems against its truth: sound is sound, wrong is known, days add up."""

import csv
import email
import hashlib
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pytest
import yaml
from openpyxl import load_workbook

import city

RESIDENTS, TODAY, DAYS = 3_000, date(2026, 11, 23), 2
NO_KEY = {"biodata_wni": "nik", "data_keluarga": "no_kk", "hospital_notice": "no_surat",
          "resident_book": "nik"}  # fmt: skip
KEY = {"Monitors": "Id", "Monitor_Status": "MonitorId", "inbox": "ID"}  # elsewhere the first column
Row = dict[str, str | None]


@cache
def rows_of(home: Path) -> dict[tuple[str, str], list[Row]]:
    """Every row of every system as sent, read without the city's own code; values as text."""
    found: dict[tuple[str, str], list[Row]] = {}
    for path in sorted((home / "systems").glob("*.db")):
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for (table,) in names:
                cursor = connection.execute(f'SELECT * FROM "{table}"')
                columns = [column for column, *_ in cursor.description]
                found[path.stem, table] = [
                    dict(zip(columns, (None if v is None else str(v) for v in row), strict=True))
                    for row in cursor
                ]
    notices: list[Row] = []
    for path in sorted((home / "systems" / "hospital_drops").rglob("*.csv")):
        with path.open(encoding="cp1252", newline="") as file:
            notices += list(csv.DictReader(file, delimiter=";"))
    found["brojol", "hospital_notice"] = notices
    found["report_inbox", "surat"] = [
        {"message_id": email.message_from_bytes(content)["Message-ID"].strip("<>"),
         "sha256": hashlib.sha256(content).hexdigest()}
        for content in (path.read_bytes() for path in (home / "systems/surat/new").iterdir())
    ]  # fmt: skip
    found["kelurahan", "resident_book"] = [
        row
        for path in sorted((home / "systems" / "kelurahan_books").rglob("*.xlsx"))
        for row in people_of(path)
    ]
    return found


def people_of(path: Path) -> Iterator[Row]:
    """The people of a resident book, row by row."""
    folder, name = path.parent.name, path.stem
    columns = dict.fromkeys(tables()["kelurahan", "resident_book"], "")
    (layout,) = (one["layout"] for one in books()["offices"] if one["kelurahan"] == folder)
    written = list(books()["layouts"][layout]["columns"].values())
    family: dict[str, str] = {}
    first = 1 if layout == "siak_export" else 0
    for cells in load_workbook(path).active.iter_rows(
        min_row=4 + 2 * (not first), values_only=True
    ):
        if line := re.fullmatch(
            r"No. KK : (\d+)  Alamat : (.*)  RT : (.*)  RW : (.*)", str(cells[0])
        ):
            family = dict(zip(("nomor_kk", "alamat", "rt", "rw"), line.groups(), strict=True))
        elif cells[0] is not None and cells[2] is not None:
            named = zip(written, cells[not first :], strict=False)
            row = {column: text_of(column, cell) for column, cell in named if column}
            yield columns | {"kelurahan": folder, "rw_buku": name[-2:]} | family | row


def text_of(column: str, cell: object) -> str:
    if column == "tanggal_lahir" and isinstance(cell, int):
        return str(date(1899, 12, 30) + timedelta(days=cell))
    if column == "tanggal_lahir" and isinstance(cell, datetime):
        return str(cell.date())
    if column == "nik" and isinstance(cell, int):
        return f"{cell:.14E}"
    return "" if cell is None else str(cell).strip("\u00a0")


@cache
def books() -> dict:
    return yaml.safe_load((Path(city.__file__).parent / "books.yml").read_text())


@cache
def tables() -> dict[tuple[str, str], list[str]]:
    """Column names by system and table."""
    tree = yaml.safe_load((Path(city.__file__).parent / "systems.yml").read_text())
    return {
        (system, table): list(shape["columns"])
        for system, known in tree.items()
        for table, shape in known.items()
    }


def row_key(table: str, row: Row) -> str:
    """How the truth names a row."""
    if table in NO_KEY:
        text = "|".join("\\N" if value is None else value for value in row.values())
        return hashlib.md5(text.encode()).hexdigest()
    return row[KEY.get(table, next(iter(row)))] or ""


def natural_key(table: str, row: Row) -> str:
    return row[NO_KEY[table]] or "" if table in NO_KEY else row_key(table, row)


def truth(home: Path, name: str) -> list[tuple]:
    return duckdb.sql(f"FROM '{home}/truth/{name}.parquet'").fetchall()


@cache
def fault_keys(home: Path) -> dict[tuple[str, str, str], list[str]]:
    """Faults by (system, table, row key); a copy has its original's key."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for system, table, key, fault, _ in truth(home, "fault"):
        found.setdefault((system, table, key), []).append(fault)
    return found


def sound_rows(home: Path, system: str, table: str) -> Iterator[Row]:
    faulty = fault_keys(home)
    for row in rows_of(home)[system, table]:
        if (system, table, row_key(table, row)) not in faulty:
            yield row


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    city.build(folder, RESIDENTS, seed=5, today=TODAY)
    return folder


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """(home before, home after) for the days of one city."""
    first = tmp_path_factory.mktemp("days") / "0"
    city.build(first, RESIDENTS, seed=6, today=TODAY)
    pairs = []
    for number in range(1, DAYS + 1):
        later = first.parent / str(number)
        shutil.copytree(first, later)
        city.tomorrow(later)
        pairs.append((first, later))
        first = later
    return pairs


def test_exactly_as_many_residents_as_asked(home: Path) -> None:
    status = [row[-2] for row in truth(home, "person")]
    assert status.count("resident") == RESIDENTS
    assert {"dead", "moved_out"} <= set(status)


def test_the_same_seed_gives_the_same_city_today_and_tomorrow(home: Path, tmp_path: Path) -> None:
    city.build(tmp_path, RESIDENTS, seed=5, today=TODAY)
    assert city.content_hashes(tmp_path) == city.content_hashes(home)
    again = tmp_path / "again"
    shutil.copytree(home, again)
    city.tomorrow(again)
    city.tomorrow(tmp_path)
    assert city.content_hashes(tmp_path) == city.content_hashes(again)
    assert city.content_hashes(tmp_path) != city.content_hashes(home)


def test_another_seed_gives_another_city(home: Path, days: list[tuple[Path, Path]]) -> None:
    one, other = city.content_hashes(home), city.content_hashes(days[0][0])
    differing = {table for table in one if other.get(table) != one[table]}
    law_and_lists = {"simreda.ref_unit", "simreda.ref_program", "simreda.ref_kegiatan"}
    assert set(one) - differing <= law_and_lists | {"report_inbox.services"}


@pytest.mark.parametrize("which", ["built", "after two days"])
def test_a_sound_nik_tells_birth_date_and_sex(
    which: str, home: Path, days: list[tuple[Path, Path]]
) -> None:
    of = home if which == "built" else days[-1][1]
    faulty = fault_keys(of)
    seen = set()
    for row in rows_of(of)["civil_registry", "biodata_wni"]:
        faults = faulty.get(("civil_registry", "biodata_wni", row_key("biodata_wni", row)), [])
        if set(faults) - {"duplicate_row", "nik_serial_typo", "name_variant"}:
            continue
        nik, born = row["nik"], date.fromisoformat(row["tgl_lhr"])
        assert re.fullmatch(r"\d{16}", nik)
        day = born.day + (40 if row["jenis_klmin"] == "2" else 0)
        assert nik[6:12] == f"{day:02d}{born:%m%y}"
        assert nik[12:] != "0000"
        assert born <= city.today(of)
        assert row["tgl_entri"][:10] >= row["tgl_lhr"]
        assert nik not in seen or "duplicate_row" in faults
        seen.add(nik)


def test_sound_residents_have_codes_families_and_places_that_exist(home: Path) -> None:
    root = Path(__file__).parents[2]
    codes = {
        column: {line.split("\t")[0] for line in path.read_text().splitlines()[1:]}
        for column, path in {
            name: root / "warehouse" / "reference" / "civil_registry_codes" / f"{table}.tsv"
            for name, table in [
                ("agama", "agama"), ("gol_drh", "golongan_darah"), ("stat_kwn", "kawin"),
                ("stat_hbkel", "hubungan"), ("pddk_akh", "pendidikan_kk"),
                ("jenis_pkrjn", "pekerjaan"), ("jenis_klmin", "sex"),
            ]
        }.items()
    }  # fmt: skip
    regions = (root / "profiles" / "kota_cirebon" / "region.csv").read_text()
    families = {row["no_kk"] for row in rows_of(home)["civil_registry", "data_keluarga"]}
    people = list(sound_rows(home, "civil_registry", "biodata_wni"))
    assert len(people) > RESIDENTS * 0.8
    for row in people:
        assert row["no_kk"] in families
        assert all(row[column] in known for column, known in codes.items())
        assert f"32.74.{int(row['no_kec']):02d}.{row['no_kel']}," in regions
        assert (row["stat_hidup"] == "2") == (row["flag_status"] == "2")
        assert row["tgl_ubah"] is None or row["tgl_ubah"] >= row["tgl_entri"]
        assert row["nama_lgkp"].strip()
        assert not re.search("Ã|â€|\u00a0", row["nama_lgkp"])


def test_parents_in_the_city_are_named_rightly(home: Path) -> None:
    people = {row[0]: row for row in truth(home, "person")}
    by_nik = {row[2]: row for row in truth(home, "person")}
    checked = 0
    for row in sound_rows(home, "civil_registry", "biodata_wni"):
        child = by_nik[row["nik"]]
        mother = people.get(child[8])
        assert row["nik_ibu"] == (mother and mother[2])
        if mother:
            assert row["nama_lgkp_ibu"] == mother[1]
            assert (mother[4], mother[7]) == ("female", child[7])
            assert 17 * 365 < (child[3] - mother[3]).days < 46 * 365
            checked += 1
    assert checked > RESIDENTS * 0.2


def test_every_fault_occurs_and_the_table_of_verdicts_is_complete(home: Path) -> None:
    occurring = [row[3] for row in truth(home, "fault")]
    for fault in city.faults():
        assert fault.verdict in {"reject", "flag", "exclude", "undecidable"}
        assert fault.reason
        assert occurring.count(fault.code) >= fault.least
    assert set(occurring) == {fault.code for fault in city.faults()}


def test_no_row_has_two_faults_and_every_fault_is_on_a_row(home: Path) -> None:
    present = {}
    for (system, table), rows in rows_of(home).items():
        for row in rows:
            key = (system, table, row_key(table, row))
            present[key] = present.get(key, 0) + 1
    copies = {f.code for f in city.faults() if f.by == "copy" and f.verdict == "exclude"}
    for key, faults in fault_keys(home).items():
        extra = [fault for fault in faults if fault in copies]
        assert len(faults) - len(extra) <= 1
        assert present[key] == len(extra) + 1
        assert not extra or len(faults) == len(extra), "only sound rows are copied"


def test_counts_are_those_of_the_systems(home: Path) -> None:
    verdict = {fault.code: fault.verdict for fault in city.faults()}
    counted = {(row[0], row[1]): row[2:] for row in truth(home, "count")}
    faults = [(row[0], row[1], verdict[row[3]]) for row in truth(home, "fault")]
    for (system, table), rows in rows_of(home).items():
        total, sound, *by_verdict = counted.pop((system, table))
        assert total == len(rows)
        assert by_verdict == [
            faults.count((system, table, v)) for v in ("reject", "flag", "exclude", "undecidable")
        ]
        assert sound == total - sum(by_verdict)
    assert not counted


def test_rejected_rows_leave_no_orphans(home: Path) -> None:
    """A sound child's parent is there and is not rejected."""
    for system, child, column, parent in [
        ("simreda", "trx_musrendes", "id_usulan_rw", "trx_musrendes_rw"),
        ("simreda", "trx_musrencam", "id_usulan_desa", "trx_musrendes"),
        ("simreda", "trx_musrenkot", "id_usulan_cam", "trx_musrencam"),
        ("simreda", "trx_rpjmd_program_indikator", "id_program_rpjmd", "trx_rpjmd_program"),
        ("brojol", "akta_kelahiran", "id_laporan", "laporan_kelahiran"),
        ("cctv", "Monitor_Status", "MonitorId", "Monitors"),
    ]:
        verdict = {fault.code: fault.verdict for fault in city.faults()}
        rejected = {
            key[2] for key, (fault, *_) in fault_keys(home).items()
            if key[:2] == (system, parent) and verdict[fault] == "reject"
        }  # fmt: skip
        parents = {row_key(parent, row) for row in rows_of(home)[system, parent]} - rejected
        assert {row[column] for row in sound_rows(home, system, child)} <= parents


def test_sound_proposals_and_plans_add_up(home: Path) -> None:
    for row in sound_rows(home, "simreda", "trx_musrendes_rw"):
        assert float(row["jml_pagu"]) == float(row["volume"]) * float(row["harga_satuan"]) > 0
        if row["lat"]:
            assert -6.80 <= float(row["lat"]) <= -6.66
            assert 108.50 <= float(row["lang"]) <= 108.62
    for row in sound_rows(home, "simreda", "trx_rpjmd_program"):
        years = sum(float(row[f"pagu_tahun{year}"]) for year in range(1, 6))
        assert float(row["total_pagu"]) == years
    programmes = {r["id_program"]: r for r in rows_of(home)["simreda", "ref_program"]}
    for row in sound_rows(home, "simreda", "trx_rkpd_rancangan"):
        regulation = "permendagri13" if int(row["tahun_rkpd"]) < 2021 else "permendagri90"
        assert programmes[row["id_program"]]["peraturan"] == regulation


def test_sound_births_follow_their_own_order(home: Path) -> None:
    reports = {r["id_laporan"]: r for r in sound_rows(home, "brojol", "laporan_kelahiran")}
    for row in reports.values():
        assert row["tgl_lahir"] <= row["tgl_lapor"][:10] <= TODAY.isoformat()
        assert row["tgl_lapor"] <= row["updated_at"]
    for row in sound_rows(home, "brojol", "akta_kelahiran"):
        assert row["tgl_lahir"] <= row["tgl_terbit"] <= TODAY.isoformat()
        assert re.fullmatch(r"3274-L[UT]-\d{8}-\d{4}", row["no_akta"])
        if report := reports.get(row["id_laporan"]):
            days_late = date.fromisoformat(report["tgl_lapor"][:10]) - date.fromisoformat(
                row["tgl_lahir"]
            )
            assert ("-LT-" in row["no_akta"]) == (days_late > timedelta(days=60))
            assert row["nik_ibu"] == report["nik_ibu"] or len(report["nik_ibu"]) != 16


def test_hospital_files_are_named_after_hospital_and_day(home: Path) -> None:
    for path in (home / "systems" / "hospital_drops").rglob("*.csv"):
        assert path.read_bytes().endswith(b"\r\n")
        with path.open(encoding="cp1252", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                assert row["no_surat"].startswith(f"{path.parent.name}/")
                day, month, year = row["tgl_surat"].split("/")
                assert path.stem == f"kelahiran_{path.parent.name}_{year}{month}{day}"


def test_a_day_changes_exactly_what_its_change_file_says(days: list[tuple[Path, Path]]) -> None:
    for before, after in days:
        old, new = rows_of(before), rows_of(after)
        differing = []
        for system, table in new:
            of_old, of_new = old[system, table], new[system, table]
            unchanged = {row_key(table, row) + str(row) for row in of_old} & {
                row_key(table, row) + str(row) for row in of_new
            }
            moved = [
                {
                    natural_key(table, row): row
                    for row in rows
                    if row_key(table, row) + str(row) not in unchanged
                }
                for rows in (of_old, of_new)
            ]
            for key in moved[0].keys() | moved[1].keys():
                op = (
                    "insert"
                    if key not in moved[0]
                    else "delete"
                    if key not in moved[1]
                    else "update"
                )
                differing.append((system, table, op, key))
        said = truth(after, f"change_{city.today(after)}")
        assert sorted(row[:4] for row in said) == sorted(differing)


def test_the_verdicts_of_a_day_are_those_of_the_faults_before_and_after(
    days: list[tuple[Path, Path]],
) -> None:
    word = {"reject": "rejected", "flag": "flagged", "exclude": "excluded", "undecidable": "sound"}
    verdict = {fault.code: word[fault.verdict] for fault in city.faults()}
    for before, after in days:
        states = []
        for home in (before, after):
            faulty = fault_keys(home)
            states.append(
                {
                    (system, table, natural_key(table, row)): verdict.get(
                        faulty.get((system, table, row_key(table, row)), ["none"])[0], "sound"
                    )
                    for (system, table), rows in rows_of(home).items()
                    for row in rows
                }
            )
        for system, table, _, key, was, is_now in truth(after, f"change_{city.today(after)}"):
            assert states[0].get((system, table, key), "absent") == was
            assert states[1].get((system, table, key), "absent") == is_now


def test_each_day_has_every_kind_of_event(days: list[tuple[Path, Path]]) -> None:
    for number, (_, after) in enumerate(days, 1):
        assert city.today(after) == TODAY + timedelta(days=number)
        seen = {row[1:3] + row[4:] for row in truth(after, f"change_{city.today(after)}")}
        assert {
            ("biodata_wni", "insert", "absent", "sound"),
            ("biodata_wni", "update", "sound", "sound"),
            ("biodata_wni", "update", "sound", "rejected"),
            ("biodata_wni", "update", "rejected", "sound"),
            ("biodata_wni", "delete", "sound", "absent"),
            ("data_keluarga", "insert", "absent", "sound"),
            ("trx_musrendes_rw", "update", "sound", "sound"),
            ("trx_musrendes_rw", "update", "sound", "rejected"),
            ("trx_musrendes_rw", "delete", "sound", "absent"),
            ("trx_musrendes", "insert", "absent", "sound"),
            ("requests", "insert", "absent", "sound"),
            ("requests", "update", "sound", "sound"),
            ("laporan_kelahiran", "insert", "absent", "sound"),
            ("akta_kelahiran", "insert", "absent", "sound"),
            ("hospital_notice", "insert", "absent", "sound"),
            ("Monitor_Status", "update", "sound", "sound"),
        } <= seen


def test_few_rows_are_deleted(days: list[tuple[Path, Path]]) -> None:
    for before, after in days:
        changes = truth(after, f"change_{city.today(after)}")
        for (system, table), rows in rows_of(before).items():
            deleted = [row for row in changes if row[:3] == (system, table, "delete")]
            assert len(deleted) < 0.05 * len(rows)
            assert not deleted or len(rows) >= 40


def test_mentions_point_at_rows_and_people(home: Path) -> None:
    people = {row[0] for row in truth(home, "person")}
    keys = {
        (system, table, row_key(table, row))
        for (system, table), rows in rows_of(home).items()
        for row in rows
    }
    mentions = truth(home, "mention")
    assert {row[0] for row in mentions} <= people
    assert {row[1:4] for row in mentions} <= keys
    residents = [row for row in mentions if row[2] == "biodata_wni"]
    assert len(residents) == len(rows_of(home)["civil_registry", "biodata_wni"])


def test_a_person_is_who_the_mention_says(home: Path) -> None:
    people = {row[0]: row for row in truth(home, "person")}
    by_key = {row[3]: people[row[0]] for row in truth(home, "mention") if row[5] == "resident"}
    for row in sound_rows(home, "civil_registry", "biodata_wni"):
        person = by_key[row_key("biodata_wni", row)]
        assert (row["nik"], row["nama_lgkp"], row["tgl_lhr"]) == (
            person[2],
            person[1],
            str(person[3]),
        )

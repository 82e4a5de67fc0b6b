"""The leak search of the night, on a city of 5,000: what is planted is found where it stands."""

import gzip
import json

import duckdb
import pytest
import xlsxwriter

from pipeline import leaks
from warehouse.catalog import reading
from warehouse.shares import read_contracts

ONE = (
    "SELECT {} FROM lake.core.person_identity WHERE length(person_name) > 20 AND "
    "person_name SIMILAR TO '[A-Z]+ [A-Z]+ [A-Z]+' AND nik NOT LIKE '%0%0%0%0%' "
    "ORDER BY source_record_id LIMIT 1"
)
NIGHT = "2026-11-23"


@pytest.fixture(scope="module")
def searched(first_night, tmp_path_factory):
    """Where somebody was found in a night in which all this was planted."""
    town = first_night.copy(tmp_path_factory.mktemp("leaks") / "var")
    with reading(town.settings) as connection:
        (nik, name) = connection.execute(ONE.format("nik, person_name")).fetchone()
        (phone,) = connection.execute(
            "SELECT reporter_phone FROM lake.core.report_identity "
            "WHERE reporter_phone SIMILAR TO '08[0-9]{9,10}' LIMIT 1"
        ).fetchone()
        (email,) = connection.execute(
            "SELECT sender_email FROM lake.core.report_identity "
            "WHERE sender_email IS NOT NULL LIMIT 1"
        ).fetchone()
    plant(town, nik, name, phone, email)
    with reading(town.settings) as connection:
        search = leaks.Search(connection)
        return (
            leaks.in_metadata(town.settings, search),
            leaks.in_deliveries(
                town.settings, search, read_contracts(town.settings).in_force, town.sources, NIGHT
            ),
            (nik, name, phone, email),
        )


def plant(town, nik, name, phone, email):
    home = town.home
    grouped = " ".join(nik[place : place + 4] for place in range(0, 16, 4))
    published = (home / "published" / "current").resolve()
    rewrite(published / "warehouse.duckdb", "core.camera", f"camera_name = 'Kamera {grouped}'")
    parquet(published / "parquet/core/camera.parquet", f"REPLACE ('{name.lower()}' AS camera_name)")
    parquet(published / "parquet/mart/camera_owner.parquet", f"REPLACE ({nik}::DOUBLE AS cameras)")
    rewrite(home / "shares" / "bp4d.duckdb", "proposal", f"measure_unit = '{nik[::-1]}'")
    bp4d = home / "extracts" / "bp4d" / NIGHT
    parquet(bp4d / "proposal.parquet", f"REPLACE ('Bantuan untuk {name}, RT 1' AS title)")
    parquet(bp4d / "programme.parquet", ", 'x' AS pagu")
    items = f"read_csv('{bp4d}/planning_item.csv', all_varchar = true)"
    table = duckdb.sql(f"SELECT * REPLACE ('oleh {email}' AS item_name) FROM {items}")
    table.write_csv(str(bp4d / "planning_item.csv"))
    with gzip.open(bp4d / "lainnya.csv.gz", "wt") as file:
        file.write(f"a\n{nik}\n")
    registry = home / "extracts" / "disdukcapil" / NIGHT
    parquet(registry / "birth_to_register.parquet", f"REPLACE ('{phone}' AS state)")
    with xlsxwriter.Workbook(home / "extracts/dishub/penolakan" / "lagi.xlsx") as book:
        page = book.add_worksheet("Monitors")
        page.write_row(0, 0, ["Name", "nik_pelapor"])
        page.write_row(1, 0, [f"+62{phone[1:]}"])
    manifest = bp4d / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "for": name.title()}))
    with gzip.open(home / "logs" / "old.log.gz", "wt") as file:
        file.write(f"{'x' * 2000} {email.upper()} {'x' * 2000}\n")
    (home / "logs" / "wide.log").write_text(f"NIK {nik}\n", encoding="utf-16")
    (home / "logs" / "near.log").write_text(f"{int(nik) + 1} {name} X{name.replace(' ', '')}Y"[:17])
    (home / "lineage").mkdir(exist_ok=True)
    (home / "lineage" / f"{nik}.json").write_text("{}")


def rewrite(path, table, change):
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"UPDATE {table} SET {change}")


def parquet(path, change):
    duckdb.sql(f"CREATE OR REPLACE TEMP TABLE planted AS SELECT * {change} FROM '{path}'")
    duckdb.sql(f"COPY planted TO '{path}' (FORMAT parquet)")


@pytest.mark.parametrize(
    "place",
    [
        "warehouse.duckdb#camera.camera_name (number)",
        "parquet/core/camera.parquet#.camera_name (name)",
        "parquet/mart/camera_owner.parquet#.cameras (number)",
        "shares/bp4d.duckdb#proposal.measure_unit (number)",
        f"extracts/bp4d/{NIGHT}/proposal.parquet#.title (name)",
        f"extracts/bp4d/{NIGHT}/programme.parquet#.pagu (not granted)",
        f"extracts/bp4d/{NIGHT}/planning_item.csv#.item_name (token)",
        f"extracts/bp4d/{NIGHT}/lainnya.csv.gz# (no dataset of the contract)",
        f"extracts/disdukcapil/{NIGHT}/birth_to_register.parquet#.state (phone)",
        "extracts/dishub/penolakan/lagi.xlsx#Monitors (phone)",
        "extracts/dishub/penolakan/lagi.xlsx#Monitors.nik_pelapor (not of this stream)",
    ],
)
def test_what_left_with_somebody_in_it_is_found(searched, place):
    assert [one for one in searched[1] if one.endswith(place)]


def test_what_a_contract_grants_is_no_leak(searched):
    columns = {one.split("#")[0] for one in searched[1] if "disdukcapil" in one}
    assert columns == {f"extracts/disdukcapil/{NIGHT}/birth_to_register.parquet"}


def test_logs_metadata_and_names_of_files_are_searched(searched):
    assert searched[0] == [
        f"extracts/bp4d/{NIGHT}/manifest.json (name)",
        "logs/old.log.gz (token)",
        "logs/wide.log (number)",
        "the name of a file in lineage (number)",
    ]


def test_no_value_is_told(searched):
    assert not [
        one for one in (*searched[0], *searched[1]) for value in searched[2] if value in one
    ]


def test_a_number_in_a_run_of_digits_without_end_is_found(first_night):
    """As the bytes of a database file hold them; each window of it must not cost the whole run."""
    with reading(first_night.settings) as connection:
        (nik,) = connection.execute(ONE.format("nik")).fetchone()
        connection.execute("SET memory_limit = '400MB'")
        search = leaks.Search(connection)
        for run in ("1" * 90_000, "1" * 70_000 + nik + "7" * 20_000):
            found = search.look_at([("bytes", run)])
            assert found == ({"bytes (number)"} if nik in run else set())

"""The same residents through the registry and the books of four kelurahan: what is listed as
different is what the city's truth says, on the first night and as days pass."""

from collections import Counter

import duckdb
import pytest

from pipeline.comparison import compare

DIFFERS = {"book_name_misspelt": ["person_name"], "book_address_later": ["address"]}


def listed(town):
    """(kind, columns) → how often."""
    source = town.sources["kelurahan"]
    found = compare(town.settings, source, source.stream("resident_book"))
    return Counter((one.kind, tuple(one.columns)) for one in found.disagreements)


@pytest.fixture
def truth(first_night):
    def ask(town, query):
        path = town.home / "city" / "truth" / "city.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(query).fetchall()

    return ask


def expected(town, truth):
    """By the city's own tables: the books as sent, beside the registry as it shows itself now."""
    rejected = {"nik_shared", "birth_date_impossible", "birth_date_future", "name_missing",
                "religion_unknown_code", "occupation_unknown_code", "nik_missing", "nik_short",
                "nik_day_invalid", "nik_month_invalid", "nik_serial_zero",
                "nik_placeholder"}  # fmt: skip
    faults = ", ".join(f"'{fault}'" for fault in rejected)
    rows = truth(
        town,
        f"""
        WITH book AS (
            FROM sent.resident_book WHERE fault IS DISTINCT FROM 'book_nik_rounded'),
        family AS (
            SELECT DISTINCT ON (no_kk) no_kk, alamat, TRY_CAST(no_rw AS INT) AS rw
            FROM sent.data_keluarga WHERE fault IS NULL OR fault NOT LIKE 'kk_malformed'
            ORDER BY no_kk),
        registry AS (
            SELECT DISTINCT nik, nama_lgkp, alamat, flag_status,
                '32.74.0' || no_kec || '.' || no_kel AS kelurahan, rw
            FROM sent.biodata_wni LEFT JOIN family USING (no_kk)
            WHERE fault IS NULL OR fault NOT IN ({faults})),
        office AS (SELECT DISTINCT kelurahan, rw_buku::INT AS rw FROM book),
        inside AS (FROM registry SEMI JOIN office USING (kelurahan, rw) WHERE flag_status = '1')
        SELECT CASE WHEN inside.nik IS NOT NULL THEN 'differing'
                WHEN book.nik IN (SELECT nik FROM registry) THEN 'elsewhere'
                ELSE 'only_here' END,
            list_filter([
                CASE WHEN trim(replace(nama, chr(160), ' ')) <>
                    trim(replace(nama_lgkp, chr(160), ' ')) THEN 'person_name' END,
                CASE WHEN book.alamat <> inside.alamat THEN 'address' END],
                lambda one: one IS NOT NULL)
        FROM book LEFT JOIN inside ON book.nik = inside.nik AND book.kelurahan = inside.kelurahan
        UNION ALL
        SELECT 'only_there', [] FROM inside WHERE nik NOT IN (SELECT nik FROM book)
        """,
    )
    return Counter(
        (kind, tuple(columns)) for kind, columns in rows if kind != "differing" or columns
    )


def test_on_the_first_night_the_planted_differences_are_listed(first_night, truth):
    found = listed(first_night)
    planted = dict(truth(first_night, "SELECT fault, count(*) FROM bad.resident_book GROUP BY 1"))
    assert set(planted) == {*DIFFERS, "book_nik_rounded", "book_child_unregistered"}
    for fault, columns in DIFFERS.items():
        assert found["differing", tuple(columns)] == planted[fault]
    assert found["only_here", ()] == planted["book_child_unregistered"]
    assert found["only_there", ()] >= planted["book_nik_rounded"]
    assert found == expected(first_night, truth)


def test_as_days_pass_the_list_follows_both(first_night, truth, tmp_path):
    town = first_night.copy(tmp_path / "var")
    for _ in range(4):  # each office sends its book once
        town.tomorrow()
        town.sync("civil_registry", "kelurahan")
        assert listed(town) == expected(town, truth)

"""One person erased: gone from the lake's files, the catalog's bytes and the published files,
while last month's counts still answer."""

import sqlite3
from datetime import timedelta

import pytest

from common.errors import DefinitionError
from pipeline.erasure import erase, requests
from pipeline.trace import trace
from warehouse.catalog import attach, lake_folder, open_duckdb, reading

# First and last in every sort order of names, so that they stand in the catalog's statistics.
NAME = "AAAA CANARI YANG DIHAPUS"


def test_an_erased_person_is_gone_and_last_month_still_answers(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    registry = town.home / "city" / "systems" / "civil_registry.db"
    with sqlite3.connect(registry) as connection:
        (nik,) = connection.execute(
            "SELECT b.nik FROM biodata_wni b JOIN biodata_wni c ON c.nik_ibu = b.nik "
            "WHERE b.tgl_lhr LIKE '19%' AND length(b.nik) = 16 GROUP BY b.nik "
            "HAVING count(DISTINCT b.nama_lgkp) = 1 ORDER BY count(*) DESC LIMIT 1"
        ).fetchone()
        (sent,) = connection.execute(
            "SELECT count(*) FROM biodata_wni WHERE nik = ?", [nik]
        ).fetchone()
        connection.execute("UPDATE biodata_wni SET nama_lgkp = ? WHERE nik = ?", [NAME, nik])
        connection.execute(
            "UPDATE biodata_wni SET nama_lgkp_ibu = ? WHERE nik_ibu = ?", [NAME, nik]
        )
    town.settings.today += timedelta(days=30)
    town.settings.impact_assessment = "PDP/1/2026"
    assert town.night() == []
    last_month = town.settings.today - timedelta(days=20)
    counted = residents(town, last_month)
    assert nik.encode() in traces(town), "the test must be able to find what it looks for"
    assert NAME.encode() in traces(town)
    assert found_in_tables(town, nik, NAME) > 3

    with reading(town.settings) as connection:
        ((record,),) = connection.execute(
            "SELECT CAST(source_record_id AS VARCHAR) FROM lake.core.person_identity "
            "WHERE nik = ? AND valid_to IS NULL",
            [nik],
        ).fetchall()
    people_waived(town, record)
    assert waivers(town) == 1
    known = persons(town)
    original = town.home / "originals" / "brojol" / "aa" / "planted"
    original.parent.mkdir(parents=True)
    original.write_text(f"no_surat;nama_ibu;nik_ibu\nRS/1;{NAME};{nik}\n")
    registry_source = town.sources["civil_registry"]
    erase(
        town.settings, town.sources | {"civil_registry": without_mothers(registry_source)},
        [record], reference="470/1/2026",
    )  # fmt: skip
    assert_gone(town, nik)
    assert waivers(town) == 0
    assert persons(town) < known
    left = trace(town.settings, record)
    assert (left.erased_on, left.landed, left.held) == (town.settings.today, [], [])
    assert {(one.table, one.closed_reason) for one in left.versions} == {("core.person", "erased")}
    assert residents(town, last_month) == counted
    assert residents(town, town.settings.today) == counted - 1

    town.settings.today += timedelta(days=1)
    with sqlite3.connect(registry) as connection:
        connection.execute(
            "UPDATE biodata_wni SET nama_lgkp = nama_lgkp || ' LAGI' WHERE nik = ?", [nik]
        )
    assert town.night() == []
    assert_gone(town, nik, but=merged_away(town))
    with reading(town.settings) as connection:
        assert connection.execute(
            "SELECT excluded_reasons['erased_on_request'] FROM lake.ops.ledger "
            "WHERE stream = 'resident' AND strategy <> 'replay' ORDER BY batch_id DESC LIMIT 1"
        ).fetchall() == [(sent,)]


def persons(town):
    with reading(town.settings) as connection:
        query = "SELECT count(*) FROM lake.core.golden_record_identity"
        return connection.execute(query).fetchall()[0][0]


def people_waived(town, record):
    connection = open_duckdb(town.settings)
    attach(connection, town.settings)
    connection.execute(
        "INSERT INTO lake.quarantine.waiver SELECT gen_random_uuid(), gen_random_uuid(), "
        "'civil_registry', 'resident', ?, gen_random_uuid(), ['nik_malformed'], '-', '-', ?, ?, "
        "NULL",
        [record, *[town.settings.today] * 2],
    )
    connection.close()


def waivers(town):
    with reading(town.settings) as connection:
        query = "SELECT count(*) FROM lake.quarantine.waiver"
        return connection.execute(query).fetchall()[0][0]


def without_mothers(source):
    """A definition that no longer names columns which landing still holds."""
    streams = [
        stream.model_copy(update={"columns": {
            sent: column for sent, column in stream.columns.items()
            if not column.name.startswith("mother_")}})
        for stream in source.streams
    ]  # fmt: skip
    return source.model_copy(update={"streams": tuple(streams)})


def test_an_unknown_record_is_refused(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    nobody = "00000000-0000-0000-0000-000000000000"
    for asked in (nobody, f"mother:{nobody}", "3274012345670001"):
        with pytest.raises(DefinitionError, match="no person has this record id") as error:
            erase(town.settings, town.sources, [asked], reference="x")
        assert asked not in str(error.value)
    assert requests(town.settings) == []


def merged_away(town):
    """Files of the nights after the erasure whose rows are in another file by now."""
    data = lake_folder(town.settings) / "data"
    with reading(town.settings) as connection:
        files = connection.execute(
            "SELECT path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion"
        ).fetchall()
    return {str(data / path) for (path,) in files}


def assert_gone(town, nik, but=frozenset()):
    assert nik.encode() not in traces(town)
    assert NAME.encode() not in traces(town)
    assert found_in_tables(town, nik, NAME) == 0
    with reading(town.settings) as connection:
        known = {
            path
            for (table, schema) in connection.execute(
                "SELECT table_name, schema_name FROM duckdb_tables() WHERE database_name = 'lake'"
            ).fetchall()
            for row in connection.execute(
                "SELECT data_file, delete_file FROM ducklake_list_files('lake', ?, schema => ?)",
                [table, schema],
            ).fetchall()
            for path in row
            if path
        }
    # Marts hold counts only, judgements hashes of rules; what is written after the erasure leaves
    # the former until it expires.
    data = lake_folder(town.settings) / "data"
    free = (f"{data}/mart/", f"{data}/ops/judgement/")
    on_disk = {str(path) for path in data.rglob("*.parquet")}
    on_disk, known = (
        {path for path in paths if not path.startswith(free)} for paths in (on_disk, known)
    )
    assert on_disk - but == known, "no file is left that an older snapshot could still show"


def traces(town):
    """The bytes of the catalog, the published files, shares and extracts."""
    places = [
        lake_folder(town.settings) / "catalog.sqlite",
        *town.home.glob("lake/catalog.sqlite-*"),
    ]
    for folder in ("published", "shares", "extracts", "originals", "logs"):
        places += [path for path in (town.home / folder).rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in places)


def found_in_tables(town, *words):
    """Rows of any table, present and past versions, in which a word stands."""
    with reading(town.settings) as connection:
        tables = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE database_name = 'lake'"
        ).fetchall()
        condition = " OR ".join(f"contains(CAST(t AS VARCHAR), '{word}')" for word in words)
        return sum(
            connection.execute(
                f"SELECT count(*) FROM lake.{name} AS t WHERE {condition}"
            ).fetchall()[0][0]
            for (name,) in tables
        )


def residents(town, night):
    with reading(town.settings) as connection:
        return connection.execute(
            "SELECT count(*) FROM lake.core.person WHERE valid_from <= $1 "
            "AND (valid_to IS NULL OR valid_to > $1)",
            [night],
        ).fetchall()[0][0]

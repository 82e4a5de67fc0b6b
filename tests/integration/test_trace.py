"""One record followed: back to the bytes its agency sent, forward to the files that carried it."""

import csv
import json
from dataclasses import asdict

import duckdb
import pytest
from typer.testing import CliRunner

from common.errors import DefinitionError
from muara import cli
from pipeline import leave
from pipeline.trace import Granted, trace
from tests.world import Cameras, monitor
from warehouse.catalog import reading


def rows(settings, query):
    with reading(settings) as connection:
        return connection.execute(query).fetchall()


def test_back_to_the_row_of_the_file_as_it_came(first_night):
    """The file is read here without any of our readers."""
    settings = first_night.settings
    record, number = rows(
        settings,
        "SELECT _record_id, notice_number FROM lake.landing.brojol__birth_notice "
        "ORDER BY _row DESC LIMIT 1",
    )[0]
    found = trace(settings, str(record))
    (landed,) = found.landed
    assert (found.source, found.stream, landed.op) == ("brojol", "birth_notice", "insert")
    dropped = settings.home / "city" / "systems" / "hospital_drops" / landed.origin
    kept = settings.home / landed.original.path
    assert kept.read_bytes() == dropped.read_bytes()
    with dropped.open(encoding="cp1252", newline="") as file:
        sent = list(csv.DictReader(file, delimiter=";"))
    places = [place for place, row in enumerate(sent, start=1) if row["no_surat"] == number]
    assert landed.original.rows == tuple(places) != ()
    assert {version.table for version in found.versions} == {
        "core.birth_notice",
        "core.birth_notice_identity",
    }
    assert {version.batch_id for version in found.versions} == {landed.batch_id}
    assert "mart.birth_month" in found.marts


def test_forward_to_the_delivery_by_the_agencys_own_pseudonym(first_night):
    settings = first_night.settings
    record, number = rows(
        settings,
        "SELECT source_record_id, report_number FROM lake.core.birth_report "
        "JOIN lake.core.birth_report_identity USING (source_record_id) "
        "WHERE state = 'verified' ORDER BY 1 LIMIT 1",
    )[0]
    found = trace(settings, str(record))
    carried = [one for one in found.carried if one.dataset == "birth_to_register_identity"]
    assert [(one.audience, one.rows, one.is_as_delivered) for one in carried] == [
        ("disdukcapil", 1, True)
    ]
    with duckdb.connect() as connection:
        ((delivered,),) = connection.execute(
            f"SELECT source_record_id FROM '{settings.home / carried[0].file}' "
            "WHERE report_number = ?",
            [number],
        ).fetchall()
    assert delivered != str(record)
    assert {one.audience for one in found.carried} == {"analyst", "disdukcapil"}


def test_in_a_mart_a_record_is_only_counted(first_night):
    settings = first_night.settings
    ((record,),) = rows(settings, "SELECT min(source_record_id) FROM lake.core.proposal")
    found = trace(settings, str(record))
    assert found.granted == [
        Granted("bp4d", "proposal", "core.proposal", 1),
        Granted("bp4d", "proposal_year", "mart.proposal_year", None),
    ]
    assert [one.dataset for one in found.carried] == ["proposal", "core.proposal"]


@pytest.mark.parametrize(("state", "datasets"), [
    ("verified", ["birth_to_register", "birth_to_register_identity"]),
    ("issued", []),
])  # fmt: skip
def test_what_a_contracts_filter_leaves_out_was_not_carried(first_night, state, datasets):
    settings = first_night.settings
    ((record,),) = rows(
        settings,
        "SELECT source_record_id FROM lake.core.birth_report "
        f"WHERE state = '{state}' AND valid_to IS NULL ORDER BY 1 LIMIT 1",
    )
    found = trace(settings, str(record))
    assert [one.dataset for one in found.granted] == datasets
    assert [one.dataset for one in found.carried if one.audience == "disdukcapil"] == datasets


def test_an_entry_of_the_quarantine_and_its_record_are_one_trace(first_night):
    settings = first_night.settings
    entry, record = rows(
        settings,
        "SELECT quarantine_id, source_record_id FROM lake.quarantine.row "
        "WHERE source = 'civil_registry' ORDER BY 1 LIMIT 1",
    )[0]
    found = trace(settings, str(entry))
    assert found == trace(settings, str(record))
    assert str(entry) in [held.quarantine_id for held in found.held]
    (carried,) = [one for one in found.carried if one.audience == "disdukcapil"]
    assert (carried.dataset, carried.rows) == ("rejected_row", len(found.held))


def test_a_rejected_row_of_a_file_is_found_in_its_bytes(first_night):
    settings = first_night.settings
    ((entry,),) = rows(
        settings,
        "SELECT quarantine_id FROM lake.quarantine.row WHERE stream = 'birth_notice' LIMIT 1",
    )
    held = [one for one in trace(settings, str(entry)).held if one.quarantine_id == str(entry)]
    assert held[0].original.rows


def test_a_person_and_whoever_names_them_and_no_value_of_either(first_night):
    settings = first_night.settings
    nik, record = rows(
        settings,
        "SELECT nik, any_value(source_record_id) FROM lake.core.person_identity AS parent "
        "JOIN (SELECT mother_nik AS nik, count(*) AS children FROM lake.core.person_identity "
        "      GROUP BY 1) USING (nik) WHERE children > 1 GROUP BY 1 HAVING count(*) = 1 LIMIT 1",
    )[0]
    found = trace(settings, str(record), person=True)
    children = rows(
        settings,
        "SELECT CAST(source_record_id AS VARCHAR) FROM lake.core.person_identity "
        f"WHERE mother_nik = '{nik}' ORDER BY 1",
    )
    named = [
        (one.record_id,) for one in found.mentions
        if (one.table, one.column) == ("core.person_identity", "mother_nik")
    ]  # fmt: skip
    assert named == children
    told = json.dumps(asdict(found), default=str)
    values = rows(
        settings,
        "SELECT DISTINCT unnest([nik, person_name, mother_name, mother_nik, father_nik]) "
        f"FROM lake.core.person_identity WHERE nik = '{nik}'",
    )
    assert not [value for (value,) in values if value and value in told]


@pytest.fixture
def cameras(tmp_path):
    return Cameras(tmp_path)


def record_of(cameras):
    ((record,),) = cameras.rows("SELECT DISTINCT _record_id FROM lake.landing.cctv__monitor "
                                "WHERE camera_number = '1'")  # fmt: skip
    return str(record)


def camera(cameras):
    """The camera's trace as changes in landing, and versions in core."""
    found = trace(cameras.settings, record_of(cameras))
    return (
        [(one.batch_id, one.op, one.row) for one in found.landed],
        [(one.batch_id, one.closed_batch_id, one.closed_reason) for one in found.versions],
    )


def test_every_version_with_its_batches_to_the_deletion(cameras):
    cameras.hold(monitor(2), monitor(1))
    cameras.sync()
    cameras.next_night()
    cameras.hold(monitor(2), monitor(1, name="Pasar"))
    cameras.sync()
    cameras.next_night()
    cameras.hold(monitor(2))
    cameras.sync(accept_deletions=True)
    assert camera(cameras) == (
        [(1, "insert", 2), (2, "update", 2), (3, "delete", None)],
        [(1, 2, "replaced"), (2, 3, "deleted")],
    )


def test_publications_of_several_nights_and_one_that_was_changed(cameras):
    cameras.hold(monitor(1))
    cameras.sync()
    leave.publish(cameras.settings)
    cameras.next_night()
    leave.publish(cameras.settings)
    first, second = trace(cameras.settings, record_of(cameras)).carried
    assert (first.night, second.night) == ("2026-11-23", "2026-11-24")
    assert first.is_as_delivered
    file = cameras.settings.home / first.file
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS FROM '{file}'; COPY t TO '{file}' (FORMAT parquet)")
        connection.execute(f"COPY (FROM t, range(2)) TO '{file}' (FORMAT parquet)")
    again, _ = trace(cameras.settings, record_of(cameras)).carried
    assert (again.rows, again.is_as_delivered) == (2, False)


def test_the_command_says_the_same(cameras, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    cameras.hold(monitor(1, name="Simpang Gunung Sari"))
    cameras.sync()
    leave.publish(cameras.settings)
    record = record_of(cameras)
    said = CliRunner().invoke(cli.app, ["trace", record, "--json"])
    found = trace(cameras.settings, record)
    assert json.loads(said.stdout) == json.loads(json.dumps(asdict(found), default=str))
    shown = CliRunner().invoke(cli.app, ["trace", record])
    assert shown.exit_code == 0
    assert f"record {record} of cctv.monitor" in shown.stdout
    assert found.carried[0].file in shown.stdout.replace("\n", "")
    assert "Simpang" not in shown.stdout


@pytest.mark.parametrize(
    "record", ["3274016505900042", "SITI", "6f1c2c1e-0d40-b42c-464e-f4b1f9b0014a"]
)
def test_what_is_no_record_is_refused_and_not_repeated(cameras, record):
    with pytest.raises(DefinitionError) as refused:
        trace(cameras.settings, record)
    assert record not in str(refused.value)

"""The sample city's requests, mail and SMS against its truth: every message a record, what was sent
twice found, and nothing taken for a repetition that is none."""

import duckdb
import pytest

from pipeline.sync import prepare, sync
from tests.truth import rows_as_sent, table_of, wrong_outcomes
from warehouse.catalog import reading

FOUND_AT_LEAST = (
    0.85  # the others: a part is missing, a request or a mail is in quarantine, a fault
)


@pytest.fixture(scope="module")
def town(small_city, tmp_path_factory):
    town = small_city.copy(tmp_path_factory.mktemp("messages") / "var")
    prepare(town.settings, town.sources)
    source = town.sources["report_inbox"]
    with town.resolver() as resolve:
        for stream in source.streams:
            sync(town.settings, source, stream, resolve)
    return town


def test_every_message_is_what_the_truth_says(town):
    source = town.sources["report_inbox"]
    for stream in source.streams:
        assert wrong_outcomes(town.settings, source, stream) == [], stream.name
        sent = rows_as_sent(town.home / "city", source.name, table_of(stream))
        with reading(town.settings) as connection:
            extracted = connection.execute(
                "SELECT sum(extracted) FROM lake.ops.ledger WHERE stream = ?", [stream.name]
            ).fetchall()[0][0]
        assert extracted == sent["rows"]


def found_and_true(town) -> tuple[set, set, int]:
    """Pairs (request, message) that are one report: as found, and as the truth knows of those that
    are in core; and how many reports there are."""
    with reading(town.settings) as connection:
        found = connection.execute(
            """
            WITH message AS (
                SELECT record.source_record_id, record.report_record_id, record.stream,
                    coalesce(mail.message_key, who.description) AS said,
                    regexp_extract(mail.message_key, '^laporan-([0-9]+)@', 1) AS number,
                    who.sender_phone AS phone, kept.requested_at AS at
                FROM lake.core.report_source AS record
                JOIN lake.core.report_identity AS who USING (source_record_id)
                JOIN lake.core.report_record AS kept USING (source_record_id)
                LEFT JOIN lake.landing.report_inbox__mail AS mail
                    ON mail._record_id = record.source_record_id)
            SELECT message.number, message.phone, message.at, request.report_number
            FROM message LEFT JOIN lake.core.report_identity AS request
                ON request.source_record_id = message.report_record_id
            WHERE message.stream <> 'request'
            """
        ).to_arrow_table()
        reports = connection.execute("SELECT count(*) FROM lake.core.report").fetchall()[0][0]
    with duckdb.connect() as connection:
        connection.register("found", found)
        rows = connection.execute(
            f"""
            SELECT truth.number, truth.report_number, found.report_number
            FROM found JOIN '{town.home}/city/truth/message.parquet' AS truth
            ON if(channel = 'email', found.number = truth.number::VARCHAR,
                found.number IS NULL
                AND found.phone = ltrim(truth.phone, '+')
                AND found.at = date_trunc('second', truth.sent_at) - INTERVAL 7 HOUR)
            """
        ).fetchall()
    said = {(number, str(request)) for number, _, request in rows if request is not None}
    true = {(number, str(request)) for number, request, _ in rows if request is not None}
    return said, true, reports


def test_what_was_sent_twice_is_found_and_nothing_else(town, record_property):
    found, true, reports = found_and_true(town)
    assert true
    assert found <= true
    assert len(found) >= FOUND_AT_LEAST * len(true)
    with reading(town.settings) as connection:
        records = connection.execute("SELECT count(*) FROM lake.core.report_record").fetchall()
    assert records[0][0] - reports == len(found)
    print(f"{len(found)} of {len(true)} repetitions found, none wrong; {reports} reports")

"""A small city through several nights: truth, quiet nights, changes, rebuild, erasure."""

from collections import Counter

import pytest

from pipeline.night import checks
from tests.same import content_hashes
from tests.truth import rows_as_sent, table_of, wrong_outcomes
from transforms.conform import conform_of
from transforms.standardise.typed import typed
from warehouse.account import attempts, last_batch
from warehouse.catalog import changed_since, reading
from warehouse.rebuild import differences


def streams(town):
    return [(source, stream) for source in town.sources.values() for stream in source.streams]


def assert_truth(town):
    """Every row as its fault's verdict says, and every row of every table accounted for."""
    for source, stream in streams(town):
        assert wrong_outcomes(town.settings, source, stream) == [], stream.name
    with reading(town.settings) as connection:
        newest = {(one.source, one.stream): one.counts for one in attempts(connection)}
    for source, stream in streams(town):
        if stream.strategy == "snapshot":
            sent = rows_as_sent(town.home / "city", source.name, table_of(stream))
            counts = newest[source.name, stream.name]
            assert counts["extracted"] == sent["rows"], stream.name
            assert counts["quarantined"] == sent["rejected"], stream.name
            assert counts["excluded"] == sent["excluded"], stream.name


def rebuild_differences(town):
    return differences(
        town.settings, town.sources, lambda stream: lambda rows: typed(rows, stream), conform_of
    )


def newest_snapshot(town):
    with reading(town.settings) as connection:
        return connection.execute(
            "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')"
        ).fetchall()[0][0]


def test_the_first_night_treats_every_row_as_the_truth_says(first_night):
    assert_truth(first_night)
    answers = checks(first_night.settings, first_night.sources, 0)
    assert [answer for answer in answers if not answer.holds] == []


def test_the_same_night_again_changes_nothing(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    before, snapshot = content_hashes(town.settings), newest_snapshot(town)
    assert town.night() == []
    assert content_hashes(town.settings) == before
    with reading(town.settings) as connection:
        assert changed_since(connection, snapshot) == {"ops.ledger", "ops.step", "ops.submission"}
    with reading(town.settings) as connection:
        for one in attempts(connection):
            assert one.counts["inserted"] + one.counts["updated"] + one.counts["deleted"] == 0


@pytest.mark.parametrize("days", [2, pytest.param(7, marks=pytest.mark.soak)])
def test_days_of_change(days, first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    for _ in range(days):
        with reading(town.settings) as connection:
            before = last_batch(connection)
        town.tomorrow()
        assert town.night() == []
        assert_truth(town)
        assert_changes(town, before)
    assert rebuild_differences(town) == {}


def assert_changes(town, before):
    """Exactly the truth's changes arrived, by a sync or a replay: per stream, rows inserted,
    updated, deleted, by the verdicts before and after; a row that was or became rejected moves
    through quarantine."""
    import duckdb

    today = town.settings.today
    change = duckdb.sql(f"FROM '{town.home}/city/truth/change_{today}.parquet'").to_arrow_table()
    with reading(town.settings) as connection:
        tonight = Counter()
        for one in attempts(connection, every=True, after_batch=before):
            for count in ("inserted", "updated", "deleted"):
                tonight[one.source, one.stream, count] += one.counts[count]
    with duckdb.connect() as connection:
        connection.register("change", change)
        for source, stream in streams(town):
            expected = connection.execute(
                """
                SELECT count(*) FILTER (before IN ('absent', 'rejected') AND after NOT IN
                        ('absent', 'rejected', 'excluded')),
                    count(*) FILTER (before NOT IN ('absent', 'rejected', 'excluded') AND after NOT
                        IN ('absent', 'rejected', 'excluded')),
                    count(*) FILTER (before NOT IN ('excluded', 'rejected') AND after = 'absent')
                FROM change WHERE system = ? AND "table" = ?
                """,
                [source.name, table_of(stream)],
            ).fetchone()
            inserted, updated, deleted = (
                tonight[source.name, stream.name, count]
                for count in ("inserted", "updated", "deleted")
            )
            arrived = (inserted + updated, deleted)
            assert arrived == (expected[0] + expected[1], expected[2]), stream.name


@pytest.mark.parametrize("table", ["core.person_identity"])
def test_identity_tables_are_not_published(first_night, table):
    import duckdb

    path = first_night.home / "published" / "current" / "warehouse.duckdb"
    with duckdb.connect(str(path), read_only=True) as published:
        names = {f"{schema}.{name}" for schema, name in published.execute(
            "SELECT schema_name, table_name FROM duckdb_tables()").fetchall()}  # fmt: skip
        assert table not in names
        assert "core.person" in names
        assert published.execute("SELECT count(*) FROM now.person").fetchall()[0][0] > 4900

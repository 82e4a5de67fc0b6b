"""A stretch of a cursor on real servers: what is counted is what is read, and nothing ahead."""

from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from common.errors import DefinitionError
from connectors.readers import Interval, Progress, sql
from tests.tables import pull_of, rows_of, source_of

NUMBERS = count()
LONG_AGO, AHEAD = datetime(2020, 1, 1), datetime(2100, 1, 1)


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def pulling(request, tmp_path):
    """One row a day of January 2026, one without a value, one of the year 2037."""
    url = request.getfixturevalue(request.param).create_database(f"stretch_{next(NUMBERS)}")
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE seen (id int PRIMARY KEY, at timestamp NULL)"))
        days = [(day, datetime(2026, 1, day)) for day in range(1, 32)]
        for number, at in [*days, (90, None), (91, datetime(2037, 1, 1))]:
            connection.execute(
                sa.text("INSERT INTO seen VALUES (:number, :at)"), {"number": number, "at": at}
            )
    source = source_of("seen", {"id": {"type": "integer"}, "at": {"type": "timestamp"}},
                       strategy="cursor", cursor={"column": "at"})  # fmt: skip
    return lambda asked: pull_of(url, source, tmp_path, Progress(asked=asked))


@pytest.mark.parametrize(
    ("low", "high", "rows"),
    [
        (datetime(2026, 1, 5), datetime(2026, 1, 8), 3),
        (datetime(2026, 1, 5), datetime(2026, 1, 5), 0),
        (LONG_AGO, AHEAD, 31),
        (datetime(2030, 1, 1), AHEAD, 0),
    ],
)
def test_a_stretch(pulling, low, high, rows):
    asked = Interval(low, high)
    pull = pulling(asked)
    assert sql.count(pulling(None), [asked, asked]) == [rows, rows]
    assert len(rows_of(pull)) == rows
    assert pull.interval.low <= pull.interval.high <= datetime.now() + timedelta(days=1)


@pytest.mark.parametrize("zone", ["America/Lima", "Asia/Jakarta"])
def test_a_cursor_with_a_time_zone_is_in_utc_whatever_the_server_thinks(
    postgres_server, tmp_path, zone
):
    """The row was committed in the overlap before what is covered; the server lives elsewhere."""
    name = f"stretch_{next(NUMBERS)}"
    url = postgres_server.create_database(name)
    for statement in (
        f"ALTER DATABASE {name} SET timezone = '{zone}'",
        "CREATE TABLE seen (id int PRIMARY KEY, at timestamptz, wall timestamp)",
        "INSERT INTO seen VALUES (1, '2026-01-05 00:30:00+00', '2026-01-05 00:30:00'),"
        " (2, '2026-01-04 23:30:00+00', '2026-01-04 23:30:00')",
    ):
        with sa.create_engine(url).begin() as connection:
            connection.execute(sa.text(statement))
    columns = {"id": {"type": "integer"}, "at": {"type": "timestamp"},
               "wall": {"type": "timestamp"}}  # fmt: skip
    for column, local in (("at", ZoneInfo("UTC")), ("wall", ZoneInfo(zone))):
        source = source_of("seen", columns, strategy="cursor", cursor={"column": column})
        pull = pull_of(url, source, tmp_path, Progress(covered_until=datetime(2026, 1, 5, 1)))
        assert rows_of(pull) == [("1", "2026-01-05 00:30:00+00", "2026-01-05 00:30:00")]
        now = datetime.now(local).replace(tzinfo=None)
        assert abs(pull.interval.high - now) < timedelta(minutes=5), "the clock of the stamps"


@pytest.mark.parametrize("kind", ["varchar(20)", "char(10)", "integer", "decimal(20,0)"])
def test_a_column_that_sorts_by_spelling_is_no_cursor(empty_database, kind, tmp_path):
    """Texts such as 31/12/2025 come after 01/01/2026: what is later would never be read."""
    value = "'31/12/2025'" if "char" in kind else "20251231"
    with sa.create_engine(empty_database).begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE t (id integer PRIMARY KEY, at {kind})")
        connection.exec_driver_sql(f"INSERT INTO t VALUES (1, {value})")
    source = source_of("t", {"id": {}, "at": {}}, strategy="cursor", cursor={"column": "at"})
    for progress in (None, Progress(asked=Interval(LONG_AGO, AHEAD))):
        with pytest.raises(DefinitionError, match="does not sort as time does"):
            rows_of(pull_of(empty_database, source, tmp_path, progress))


def test_a_zero_stamp_is_none(mariadb_server, tmp_path):
    """Such rows are read every night, and by no stretch."""
    url = mariadb_server.create_database(f"stretch_{next(NUMBERS)}")
    with sa.create_engine(url).begin() as connection:
        for statement in (
            "SET sql_mode = ''", "CREATE TABLE t (id int PRIMARY KEY, at datetime NOT NULL)",
            "INSERT INTO t VALUES (1, '0000-00-00 00:00:00'), (2, '2026-01-05 00:00:00')",
        ):  # fmt: skip
            connection.exec_driver_sql(statement)
    source = source_of("t", {"id": {}, "at": {}}, strategy="cursor", cursor={"column": "at"})
    covered = Progress(covered_until=datetime(2026, 3, 1))
    assert [row[0] for row in rows_of(pull_of(url, source, tmp_path, covered))] == ["1"]
    asked = Progress(asked=Interval(LONG_AGO, AHEAD))
    assert [row[0] for row in rows_of(pull_of(url, source, tmp_path, asked))] == ["2"]

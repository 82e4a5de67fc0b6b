"""Every type of each database, at its edges, arrives as the database writes it, on every route."""

import string
from datetime import date, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.readers import sql
from connectors.readers.sql.routes import Connectorx, PostgresScanner, Route
from tests.tables import pull_of, rows_of, source_of

MEGABYTE = "😀é" * 180_000

# type → (literal, text that must arrive)
POSTGRES = {
    "smallint": [("-32768", "-32768"), ("32767", "32767")],
    "bigint": [("-9223372036854775808", "-9223372036854775808")],
    "numeric": [("'NaN'", "NaN"), ("1e-30", "0." + "0" * 29 + "1"), ("9" * 60, "9" * 60)],
    "numeric(20,2)": [("123456789012345678.9", "123456789012345678.90")],
    "real": [("0.1", "0.1"), ("'Infinity'", "Infinity"), ("16777217", "1.6777216e+07")],
    "double precision": [("0.1", "0.1"), ("'NaN'", "NaN"), ("1e300", "1e+300"),
                         ("0.30000000000000004", "0.30000000000000004")],
    "boolean": [("true", "true"), ("false", "false")],
    "text": [("''", ""), ("E'a\\nb,\"c\"'", 'a\nb,"c"'), ("'\\N'", "\\N"), ("'NULL'", "NULL")],
    "varchar(20)": [("' blank '", " blank ")],
    "char(5)": [("'ab'", "ab")],
    "bytea": [("'\\x00ff'", "00ff"), ("''", "")],
    "date": [("'0044-03-15 BC'", "0044-03-15 BC"), ("'9999-12-31'", "9999-12-31"),
             ("'infinity'", "infinity"), ("'1582-10-10'", "1582-10-10")],
    "timestamp": [("'1899-12-31 23:59:59.999999'", "1899-12-31 23:59:59.999999"),
                  ("'9999-12-31'", "9999-12-31 00:00:00")],
    "timestamptz": [("'2026-01-01 07:00:00+07'", "2026-01-01 00:00:00+00")],
    "time": [("'24:00:00'", "24:00:00")],
    "interval": [("'1 year 2 days 03:00'", "P1Y2DT3H")],
    "uuid": [("'6f1c0c8e-0000-4000-8000-000000000001'", "6f1c0c8e-0000-4000-8000-000000000001")],
    "jsonb": [("'{\"b\": 1, \"a\": [1.10, null]}'", '{"a": [1.10, null], "b": 1}')],
    "json": [("'{\"b\":  1}'", '{"b":  1}')],
    "int[]": [("'{1,NULL,3}'", "{1,NULL,3}"), ("'{{1,2},{3,4}}'", "{{1,2},{3,4}}")],
    "text[]": [("ARRAY['a,b', '', NULL]", '{"a,b","",NULL}')],
    "inet": [("'10.0.0.1'", "10.0.0.1/32")],
    "mood": [("'senang'", "senang")],
}  # fmt: skip
MARIADB = {
    "tinyint": [("-128", "-128")],
    "tinyint(1)": [("1", "1"), ("2", "2")],
    "bigint unsigned": [("18446744073709551615", "18446744073709551615")],
    "decimal(16,0)": [("9999999999999999", "9999999999999999")],
    "decimal(65,30)": [("0.1", "0." + "1" + "0" * 29)],
    "float": [("0.1", "0.10000000149011612"), ("16777216", "16777216")],
    "double": [("0.1", "0.1"), ("1e300", "1e300")],
    "bit(5)": [("b'10101'", "21")],
    "bit(64)": [("~0", "18446744073709551615")],
    "char(5)": [("'ab'", "ab")],
    "varchar(20) character set latin1": [("'Ã©'", "Ã©"), ("'é'", "é"), ("''", "")],
    "text character set utf8mb4": [("'😀'", "😀"), ("' blank '", " blank ")],
    "enum('L','P','')": [("'P'", "P"), ("''", "")],
    "set('a','b')": [("'a,b'", "a,b")],
    "json": [("'{\"b\":  1}'", '{"b":  1}')],
    "date": [
        ("'0000-00-00'", "0000-00-00"),
        ("'2026-00-15'", "2026-00-15"),
        ("'9999-12-31'", "9999-12-31"),
        ("'1000-01-01'", "1000-01-01"),
    ],
    "datetime(6)": [
        ("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
        ("'0000-00-00'", "0000-00-00 00:00:00.000000"),
    ],
    "datetime": [("'1899-12-31 23:59:59'", "1899-12-31 23:59:59")],
    "timestamp null": [("'2026-01-01 00:00:00'", "2026-01-01 00:00:00")],
    "time": [("'838:59:59'", "838:59:59"), ("'-10:00:00'", "-10:00:00")],
    "year": [("2026", "2026")],
    "blob": [("x'00ff'", "00ff")],
    "varbinary(5)": [("'a\\0b'", "610062")],
}
SQLITE = {
    "INTEGER": [("9223372036854775807", "9223372036854775807")],
    "REAL": [("0.1", "0.1"), ("0.30000000000000004", "0.30000000000000004"), ("1e300", "1.0e+300"),
             ("'text'", "text")],
    "TEXT": [("'😀'", "😀"), ("''", ""), ("x'00ff'", "00ff")],
    "NUMERIC": [("'3274'", "3274")],
}  # fmt: skip


def fill(url: str, kinds: dict, engine: str = "", long_text: str = "text") -> dict[str, dict]:
    """Table `t`: one column per type, one row per literal (NULL elsewhere) and a long text."""
    columns = {f"c{place}": kind for place, kind in enumerate(kinds)}
    database = sa.create_engine(url)
    with database.begin() as connection:
        run = connection.execution_options(no_parameters=True).exec_driver_sql
        if database.dialect.name == "postgresql":
            run("CREATE TYPE mood AS ENUM ('senang', 'sedih')")
        if database.dialect.name == "mysql":
            run("SET SESSION sql_mode = ''")
            run("SET SESSION time_zone = '+00:00'")
        body = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        run(f"CREATE TABLE t (id int PRIMARY KEY, {body}, long_one {long_text}){engine}")
        number = 0
        for name, values in zip(columns, kinds.values(), strict=True):
            for literal, _ in values:
                number += 1
                run(f"INSERT INTO t (id, {name}) VALUES ({number}, {literal})")
        connection.execute(
            sa.text("INSERT INTO t (id, long_one) VALUES (0, :long)"), {"long": MEGABYTE}
        )
    return {name: {} for name in ("id", *columns, "long_one")}


def expected(kinds: dict) -> list[tuple]:
    rows = [("0", *(None for _ in kinds), MEGABYTE)]
    for place, values in enumerate(kinds.values()):
        for _, text in values:
            cells = [None] * len(kinds)
            cells[place] = text
            rows.append((str(len(rows)), *cells, None))
    return sorted(rows, key=lambda row: row[0])


@pytest.fixture(params=["fast", "general"])
def route(request, monkeypatch):
    """The route a real sync takes, and SQLAlchemy's own as the oracle."""
    if request.param == "general":
        monkeypatch.setattr(sql, "route_of", Route)
    return request.param


def test_postgresql(postgres_server, route, tmp_path):
    url = postgres_server.create_database(f"types_{route}")
    columns = fill(url, POSTGRES)
    assert rows_of(pull_of(url, source_of("t", columns), tmp_path)) == expected(POSTGRES)


@pytest.mark.parametrize("engine", ["InnoDB", "MyISAM", "Aria"])
def test_mariadb(mariadb_server, route, engine, tmp_path):
    url = mariadb_server.create_database(f"types_{engine}_{route}".lower())
    columns = fill(url, MARIADB, f" ENGINE {engine}", "mediumtext character set utf8mb4")
    assert rows_of(pull_of(url, source_of("t", columns), tmp_path)) == expected(MARIADB)


def test_sqlite(tmp_path):
    url = f"sqlite:///{tmp_path}/t.db"
    columns = fill(url, SQLITE)
    assert rows_of(pull_of(url, source_of("t", columns), tmp_path)) == expected(SQLITE)


def test_the_fast_routes_are_taken(postgres_server, mariadb_server):
    for server, kind in ((postgres_server, PostgresScanner), (mariadb_server, Connectorx)):
        engine = sa.create_engine(server.url(server.maintenance_database))
        with engine.connect() as connection:
            assert type(sql.route_of(connection, sql.dialect_of(connection.dialect), 10)) is kind


def test_views_and_partitions(postgres_server, mariadb_server, tmp_path):
    for server in (postgres_server, mariadb_server):
        url = server.create_database("parts")
        parts = (
            " PARTITION BY RANGE (id)"
            if server is postgres_server
            else " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10), "
            "PARTITION high VALUES LESS THAN (100))"
        )
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE p (id int PRIMARY KEY, a varchar(5)){parts}")
            if server is postgres_server:
                for name, low, high in (("low", 0, 10), ("high", 10, 100)):
                    connection.exec_driver_sql(
                        f"CREATE TABLE p_{name} PARTITION OF p FOR VALUES FROM ({low}) TO ({high})"
                    )
            connection.exec_driver_sql("CREATE VIEW v AS SELECT id, a FROM p WHERE a <> 'x'")
            connection.exec_driver_sql("INSERT INTO p VALUES (1, 'a'), (11, 'b'), (12, 'x')")
        found = {
            name: rows_of(pull_of(url, source_of(name, {"id": {}, "a": {}}), tmp_path))
            for name in ("p", "v")
        }
        assert found == {
            "p": [("1", "a"), ("11", "b"), ("12", "x")],
            "v": [("1", "a"), ("11", "b")],
        }


texts = st.text(
    st.one_of(st.sampled_from(string.printable), st.characters(exclude_categories=("Cs",))),
    max_size=40,
).map(lambda text: text.replace("\0", ""))
row = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15),
                max_value=10**15),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    texts,
    st.dates(date(1000, 1, 1), date(9999, 12, 31)),
    st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)),
    st.binary(max_size=20),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(postgres_server, mariadb_server):
    """Per database: its URL, with an empty table `r`."""
    kinds = {
        "postgresql": "bigint, numeric(30,4), double precision, text, date, timestamp, bytea",
        "mysql": "bigint, decimal(30,4), double, text character set utf8mb4, date, datetime(6), "
        "blob",
    }
    urls = {}
    for server in (postgres_server, mariadb_server):
        url = server.create_database("random_rows")
        typed = kinds[server.backend].split(", ")
        body = ", ".join(f"c{place} {kind}" for place, kind in enumerate(typed))
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE r (id int PRIMARY KEY, {body})")
        urls[server.backend] = url
    return urls


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(row, min_size=1, max_size=20))
@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_random_rows_arrive_exactly(made, backend, tmp_path, rows):
    url = made[backend]
    names = [f"c{place}" for place in range(7)]
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM r")
        connection.execute(
            sa.text(f"INSERT INTO r VALUES (:id, {', '.join(f':{name}' for name in names)})"),
            [{"id": place, **dict(zip(names, one, strict=True))} for place, one in enumerate(rows)],
        )
    engine.dispose()
    source = source_of("r", {"id": {}, **{name: {} for name in names}})
    arrived = sorted(rows_of(pull_of(url, source, tmp_path)), key=lambda one: int(one[0]))
    for sent, (_, *texts) in zip(rows, arrived, strict=True):
        integer, number, double, text, day, moment, binary = texts
        assert int(integer) == sent[0]
        assert Decimal(number) == sent[1]
        assert float(double) == sent[2]
        assert text == sent[3]
        assert date.fromisoformat(day) == sent[4]
        assert datetime.fromisoformat(moment) == sent[5]
        assert bytes.fromhex(binary) == sent[6]

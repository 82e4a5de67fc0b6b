"""Every way in which a database refuses, on real servers: each with its own kind of error; and what
the right to SELECT alone must suffice for."""

import secrets
import sqlite3

import pytest
import sqlalchemy as sa

from common.errors import (
    SourceDenied,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from tests.tables import pull_of, rows_of, source_of

ODD_PASSWORD = "a b'\"\\%+@/:?#é;"


class Guest:
    """A database with table `t`, and the URL of a user who may read that and nothing more."""

    def __init__(self, server, password="rahasia"):
        self.server, self.name = server, f"g_{secrets.token_hex(4)}"
        self.owner = server.create_database(self.name)
        self.is_postgres = server.backend == "postgresql"
        self.login = f'"{self.name}"' if self.is_postgres else f"'{self.name}'@'127.0.0.1'"
        self.run("CREATE TABLE t (id integer PRIMARY KEY, nama varchar(40))",
                 "INSERT INTO t VALUES (1, 'Siti')")  # fmt: skip
        by = "PASSWORD" if self.is_postgres else "IDENTIFIED BY"
        spelt = password.replace("'", "''")
        spelt = spelt if self.is_postgres else spelt.replace("\\", "\\\\")
        self.run(f"CREATE USER {self.login} {by} '{spelt}'")
        self.grant("t")
        self.url = sa.make_url(self.owner).set(username=self.name, password=password)

    def grant(self, table):
        self.run(f"GRANT SELECT ON {table} TO {self.login}")

    def run(self, *statements):
        with sa.create_engine(self.owner, isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in statements:
                connection.execution_options(no_parameters=True).exec_driver_sql(statement)

    def read(self, tmp_path, table="t", url=None, columns=("id", "nama"), **settings):
        spelt = (url or self.url).render_as_string(hide_password=False)
        return rows_of(
            pull_of(spelt, source_of(table, {one: {} for one in columns}), tmp_path, **settings)
        )


@pytest.fixture(params=["postgresql", "mysql"])
def server(request):
    fixture = {"postgresql": "postgres_server", "mysql": "mariadb_server"}[request.param]
    return request.getfixturevalue(fixture)


@pytest.fixture
def guest(server):
    return Guest(server)


def wrong_password(guest):
    return {"url": guest.url.set(password="salah")}


def no_such_user(guest):
    return {"url": guest.url.set(username="tidak_ada")}


def no_right(guest):
    guest.run("CREATE TABLE u (id integer PRIMARY KEY, nama varchar(40))")
    return {"table": "u"}


def no_right_to_a_column(guest):
    guest.run("CREATE TABLE v (id integer PRIMARY KEY, nama varchar(40))",
              f"GRANT SELECT (id) ON v TO {guest.login}")  # fmt: skip
    return {"table": "v"}


def no_database(guest):
    return {"url": guest.url.set(database="tidak_ada"), "as_owner": True}


def no_table(guest):
    return {"table": "tidak_ada"}


def no_schema(guest):
    return {"table": "tidak_ada.t"}


def no_column(guest):
    return {"columns": ("id", "alamat")}


def refused(guest):
    return {"url": guest.url.set(port=1)}


def unknown_host(guest):
    return {"url": guest.url.set(host="tidak-ada.invalid")}


def slow(guest):
    wait = "pg_sleep(3)::text" if guest.is_postgres else "sleep(3)"
    guest.run(f"CREATE VIEW w AS SELECT id, {wait} AS nama FROM t")
    guest.grant("w")
    return {"table": "w", "statement_timeout_seconds": 1}


def broken_view(guest):
    if guest.is_postgres:  # it does not let a table go on which a view depends
        guest.run("CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS "
                  "$$ BEGIN RETURN (SELECT nama FROM gone LIMIT 1); END $$",
                  "CREATE VIEW b AS SELECT id, f() AS nama FROM t")  # fmt: skip
    else:
        guest.run("CREATE TABLE gone (id integer, nama varchar(9))",
                  "CREATE VIEW b AS SELECT * FROM gone", "DROP TABLE gone")  # fmt: skip
    guest.grant("b")
    return {"table": "b"}


WAYS = [
    (wrong_password, SourceDenied), (no_such_user, SourceDenied), (no_right, SourceDenied),
    (no_right_to_a_column, (SourceDenied, SourceShapeChanged)),
    (no_database, (SourceShapeChanged, SourceDenied)),
    (no_table, (SourceShapeChanged, SourceDenied)),
    (no_schema, (SourceShapeChanged, SourceDenied)), (no_column, SourceShapeChanged),
    (refused, SourceUnavailable), (unknown_host, SourceUnavailable), (slow, SourceUnavailable),
    (broken_view, SourceShapeChanged),
]  # fmt: skip
"""MariaDB says to who has no right that he has none, and no more."""


@pytest.mark.parametrize(("way", "kind"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_each_way_to_fail_is_its_own_error(guest, way, kind, tmp_path):
    asked = way(guest)
    asked.pop("as_owner", None)
    with pytest.raises(kind) as told:
        guest.read(tmp_path, **asked)
    assert "Siti" not in str(told.value)
    assert told.value.next_step


def test_no_more_connections(guest, tmp_path):
    if guest.is_postgres:
        guest.run(f"ALTER ROLE {guest.login} CONNECTION LIMIT 0")
        with pytest.raises(SourceUnavailable):
            guest.read(tmp_path)
    else:
        guest.run(f"GRANT USAGE ON *.* TO {guest.login} WITH MAX_USER_CONNECTIONS 1")
        with sa.create_engine(guest.url).connect(), pytest.raises(SourceUnavailable):
            guest.read(tmp_path)


@pytest.mark.parametrize("what", ["a table", "a view", "of another schema", "with a dot"])
def test_the_right_to_select_suffices(guest, what, tmp_path):
    table = "t"
    if what == "a view":
        guest.run("CREATE VIEW v AS SELECT id, nama FROM t")
        guest.grant(table := "v")
    elif what == "of another schema":
        schema = f"lain_{secrets.token_hex(4)}"
        guest.run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.warga AS SELECT * FROM t")
        if guest.is_postgres:
            guest.run(f"GRANT USAGE ON SCHEMA {schema} TO {guest.login}")
        guest.grant(table := f"{schema}.warga")
    elif what == "with a dot":
        mark = '"' if guest.is_postgres else "`"
        guest.run(f"CREATE TABLE {mark}a.b{mark} AS SELECT * FROM t")
        guest.grant(f"{mark}a.b{mark}")
        table = "a.b"
    assert guest.read(tmp_path, table) == [("1", "Siti")]


def test_any_password(server, tmp_path):
    assert Guest(server, ODD_PASSWORD).read(tmp_path) == [("1", "Siti")]


def test_geometry_is_well_known_text(mariadb_server, tmp_path):
    guest = Guest(mariadb_server)
    guest.run("CREATE TABLE titik (id integer, nama point)",
              "INSERT INTO titik VALUES (1, ST_GeomFromText('POINT(108.55 -6.72)'))")  # fmt: skip
    guest.grant("titik")
    assert guest.read(tmp_path, "titik") == [("1", "POINT(108.55 -6.72)")]


def test_text_in_no_encoding(postgres_server, tmp_path):
    name = f"ascii_{secrets.token_hex(4)}"
    owner = sa.make_url(postgres_server.create_database(f"of_{name}"))
    with sa.create_engine(owner, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
        )
    owner = owner.set(database=name)
    utf8 = {"client_encoding": "utf8"}
    with sa.create_engine(owner, connect_args=utf8).begin() as connection:
        connection.exec_driver_sql("SET client_encoding = 'SQL_ASCII'")
        connection.exec_driver_sql("CREATE TABLE t (id integer, nama text)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, E'caf\\351')")
    spelt = owner.render_as_string(hide_password=False)
    with pytest.raises(SourceMalformed):
        rows_of(pull_of(spelt, source_of("t", {"id": {}, "nama": {}}), tmp_path))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE TABLE t AS SELECT 1 AS id, CAST(x'636166e9' AS TEXT) AS nama", SourceMalformed),
        ("CREATE VIEW t AS SELECT id, nama FROM gone", SourceShapeChanged),
        ("CREATE TABLE other (id)", SourceShapeChanged),
    ],
)
def test_sqlite(statement, kind, tmp_path):
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(kind):
        rows_of(pull_of(f"sqlite:///{tmp_path}/t.db", source_of("t", {"id": {}, "nama": {}}),
                        tmp_path))  # fmt: skip


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "t.db").write_bytes(b"not a database" * 99)
    with pytest.raises(SourceMalformed):
        rows_of(pull_of(f"sqlite:///{tmp_path}/t.db", source_of("t", {"id": {}, "nama": {}}),
                        tmp_path))  # fmt: skip

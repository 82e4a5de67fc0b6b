"""The private servers behave like the agencies' own, and leave nothing running."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import pymysql
import pytest
import sqlalchemy as sa

from tests import servers

RaiseServer = Callable[[], AbstractContextManager[servers.Server]]

RAISE_BOTH_AND_WAIT = """
import time
from tests import servers
with servers.postgres() as one, servers.mariadb() as other:
    print(one.process.pid, other.process.pid, one.folder, other.folder, flush=True)
    time.sleep(600)
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((servers.HOST, port)) == 0


def runs(pid: str) -> bool:
    """Whether the process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> servers.Server:
    named: servers.Server = request.getfixturevalue(request.param)
    return named


def test_a_created_database_takes_and_gives_rows(server: servers.Server) -> None:
    url = server.create_database("takes_and_gives")
    ask(url, "CREATE TABLE resident (name varchar(40))")
    ask(url, "INSERT INTO resident VALUES ('Siti Fa''izah')")
    assert ask(url, "SELECT name FROM resident") == [("Siti Fa'izah",)]


def test_a_wrong_password_is_refused(server: servers.Server) -> None:
    url = server.url(server.maintenance_database).replace(server.password, "wrong")
    with pytest.raises(sa.exc.OperationalError, match=r"(?i)denied|authentication failed"):
        ask(url, "SELECT 1")


def test_the_password_is_not_printed(server: servers.Server) -> None:
    assert server.password not in repr(server)


def test_mariadb_holds_what_old_systems_hold(mariadb_server: servers.Server) -> None:
    """Two character sets in one row and a date that does not exist, as legacy MySQL allows."""
    url = sa.make_url(mariadb_server.create_database("legacy"))
    with pymysql.connect(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        database=url.database,
        charset="utf8mb4",
        autocommit=True,
        init_command="SET sql_mode = ''",
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE proposal (old varchar(40) CHARACTER SET latin1,"
            " new varchar(40) CHARACTER SET utf8mb4, entered date, changed date)"
        )
        row = ("Désa Kesepuhan", "Jalan ꦕꦶꦉꦧꦺꦴꦤ꧀ 🚧", "0000-00-00", date(2017, 2, 28))
        cursor.execute("INSERT INTO proposal VALUES (%s, %s, %s, %s)", row)
        cursor.execute("SELECT old, new, entered, changed FROM proposal")
        assert cursor.fetchall() == (row,)
        cursor.execute("SELECT hex(old) FROM proposal")
        assert bytes.fromhex(cursor.fetchone()[0]) == row[0].encode("latin1")


@pytest.mark.parametrize("raise_server", [servers.postgres, servers.mariadb])
def test_a_server_restarts_with_its_rows_and_leaves_nothing(raise_server: RaiseServer) -> None:
    with raise_server() as server:
        url = server.create_database("kept")
        ask(url, "CREATE TABLE visit AS SELECT 1 AS number")
        before = server.process
        with sa.create_engine(url).connect():  # an open session does not hold it up
            server.restart()
        assert server.process is not before
        assert ask(url, "SELECT number FROM visit") == [(1,)]
        assert answers(server.port)
    assert not answers(server.port)
    assert not server.folder.exists()


def test_servers_end_with_a_killed_test_process(request: pytest.FixtureRequest) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RAISE_BOTH_AND_WAIT],
        stdout=subprocess.PIPE,
        text=True,
        cwd=request.config.rootpath,
    ) as tests:
        assert tests.stdout is not None
        *pids, one, other = tests.stdout.readline().split()
        tests.kill()
    deadline = time.monotonic() + 15
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))
    for folder in (one, other):  # which a killed process cannot delete
        shutil.rmtree(folder)


def test_a_missing_program_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with (
        pytest.raises(servers.ServerMissing, match=r"sh tests/install-servers\.sh"),
        servers.postgres(),
    ):
        pass

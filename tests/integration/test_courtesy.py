"""A guest in an agency's database: reads only, in its hours, at its pace, over TLS if asked to."""

from datetime import datetime, time, timedelta

import pytest
import sqlalchemy as sa

from common.definition import Window
from common.errors import SourceDenied, SourceResting
from connectors.readers import sql
from connectors.readers.sql.routes import PostgresScanner, Route
from tests import servers
from tests.tables import pull_of, rows_of, source_of
from tests.world import Cameras, monitor


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        (("20:00", "05:00"), ["20:00", "23:59", "00:00", "04:59"], ["05:00", "12:00", "19:59"]),
        (("01:00", "05:00"), ["01:00", "04:59"], ["00:59", "05:00", "23:00"]),
    ],
)
def test_hours(window, inside, outside):
    hours = Window.model_validate({"from": window[0], "to": window[1]})
    assert all(hours.holds(time.fromisoformat(one)) for one in inside)
    assert not any(hours.holds(time.fromisoformat(one)) for one in outside)


def test_outside_its_hours_a_source_is_left_alone_and_that_is_recorded(tmp_path):
    cameras = Cameras(tmp_path)
    now = datetime.now(cameras.settings.zone)
    hours = {name: (now + timedelta(hours=h)).time() for name, h in (("from", 2), ("to", 3))}
    window = Window.model_validate(hours)
    cameras.source = cameras.source.model_copy(update={"window": window})
    cameras.url = None  # nobody asks where it is
    with pytest.raises(SourceResting, match="may be read from"):
        cameras.sync()
    assert cameras.rows("SELECT outcome, error_code FROM lake.ops.ledger") == [
        ("failed", "SourceResting")
    ]


def test_no_faster_than_allowed(tmp_path, monkeypatch):
    cameras = Cameras(tmp_path, batch_rows=10)
    cameras.source = cameras.source.model_copy(update={"rows_per_second": 1000})
    cameras.hold(*(monitor(number) for number in range(1, 101)))
    clock = [0.0]
    monkeypatch.setattr(sql.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sql.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    cameras.sync()
    assert clock[0] == pytest.approx(0.1), "100 rows at 1,000 a second"


@pytest.fixture
def url(request, postgres_server, mariadb_server):
    server = {"postgresql": postgres_server, "mysql": mariadb_server}[request.param]
    name = "courtesy"
    engine = sa.create_engine(server.url(server.maintenance_database), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
    url = server.create_database(name)
    _fill(url)
    return url


def _fill(url):
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id int PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1), (2)")


@pytest.mark.parametrize("url", ["postgresql", "mysql"], indirect=True)
def test_a_guest_cannot_write(url, tmp_path):
    with sql.session(pull_of(url, source_of("t", {"id": {}}), tmp_path)) as table:
        with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.only"):
            table.connection.exec_driver_sql("DELETE FROM t")


@pytest.mark.parametrize(
    ("raise_server", "options", "route"),
    [
        (servers.postgres, "sslmode=verify-full&sslrootcert={}", PostgresScanner),
        (servers.mariadb, "ssl_ca={}", Route),
    ],
)
def test_tls(raise_server, options, route, tmp_path):
    """The certificate is checked, and every connection of the reader is encrypted."""
    with raise_server(encrypted=True) as server:
        url = server.create_database("courtesy")
        _fill(url)
        sealed = f"{url}?{options.format(server.folder / 'certificate')}"
        pull = pull_of(sealed, source_of("t", {"id": {}}), tmp_path)
        assert rows_of(pull) == [("1",), ("2",)]
        with sql.session(pull) as table:
            assert type(table.route) is route
            assert _is_encrypted(table.connection)
        other = tmp_path / "other"
        other.write_text((server.folder / "certificate").read_text().replace("A", "B"))
        with pytest.raises(SourceDenied, match="TLS"):
            rows_of(pull_of(f"{url}?{options.format(other)}", pull.source, tmp_path))


def _is_encrypted(connection):
    if connection.dialect.name == "postgresql":
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        return connection.exec_driver_sql(query).scalar_one()
    return bool(connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()[1])

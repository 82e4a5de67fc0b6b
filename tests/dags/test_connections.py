"""Airflow's connections, however they were entered, as the URLs our readers expect."""

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from common.errors import DefinitionError
from common.settings import Settings
from dags.connections import resolver, url_of

AS_URL = [
    ("postgres://u:p%40ss@db:5433/siak", "postgresql+psycopg://u:p%40ss@db:5433/siak"),
    ("postgresql://u@db/siak", "postgresql+psycopg://u@db/siak"),
    ("postgresql+psycopg://u:p@db:5432/siak", "postgresql+psycopg://u:p@db:5432/siak"),
    ("postgres://u:p@db/siak?sslmode=require", "postgresql+psycopg://u:p@db/siak?sslmode=require"),
    ("mysql://u:p@db:3306/simreda", "mysql+pymysql://u:p@db:3306/simreda"),
    ("mariadb://u:p@db/simreda?charset=latin1", "mysql+pymysql://u:p@db/simreda?charset=latin1"),
    ("mysql+pymysql://u:p@db/simreda", "mysql+pymysql://u:p@db/simreda"),
    ("sqlite:////srv/city/brojol.db", "sqlite:////srv/city/brojol.db"),
    ("http://inbox:8311", "http://inbox:8311"),
    ("https://u:p%2Fq@inbox/api/v2", "https://u:p%2Fq@inbox/api/v2"),
    ("file:///srv/drops/rs%20gunung", "file:///srv/drops/rs%20gunung"),
    ("maildir:///srv/mail/lapor", "maildir:///srv/mail/lapor"),
    (
        "imaps://u:p%40ss@mail:993/INBOX?ssl_ca=%2Fetc%2Fca.pem",
        "imaps://u:p%40ss@mail:993/INBOX?ssl_ca=%2Fetc%2Fca.pem",
    ),
]

AS_FORM = [
    ({"conn_type": "postgres", "host": "db", "schema": "siak"}, "postgresql+psycopg://db/siak"),
    ({"conn_type": "mysql", "host": "db", "login": "u", "password": "a:b/c", "schema": "s"},
     "mysql+pymysql://u:a%3Ab%2Fc@db/s"),
    ({"conn_type": "sqlite", "host": "/srv/city.db"}, "sqlite:////srv/city.db"),
    ({"conn_type": "http", "host": "inbox", "port": 8311, "schema": "https"}, "https://inbox:8311"),
    ({"conn_type": "http", "host": "https://inbox/api"}, "https://inbox/api"),
    ({"conn_type": "fs", "extra": '{"path": "/srv/drops"}'}, "file:///srv/drops"),
]  # fmt: skip


@pytest.mark.parametrize(("entered", "wanted"), AS_URL)
def test_entered_as_url(entered, wanted):
    assert url_of(Connection.from_uri(entered, conn_id="any")) == wanted


@pytest.mark.parametrize(("entered", "wanted"), AS_FORM)
def test_entered_in_the_form(entered, wanted):
    assert url_of(Connection(conn_id="any", **entered)) == wanted


@pytest.fixture
def resolve(tmp_path):
    return resolver(Settings(home=tmp_path))


def test_airflow_is_asked_first(resolve, tmp_path, monkeypatch):
    (tmp_path / "connections.toml").write_text('[connections]\ncctv = "sqlite:////ours.db"\n')
    known = Connection.from_uri("mysql://db/zm", conn_id="cctv")
    monkeypatch.setattr(BaseHook, "get_connection", {"cctv": known}.__getitem__)
    assert resolve("cctv") == "mysql+pymysql://db/zm"


def test_ours_where_airflow_knows_none(resolve, tmp_path, monkeypatch):
    (tmp_path / "connections.toml").write_text('[connections]\ncctv = "sqlite:////ours.db"\n')

    def unknown(name):
        raise AirflowNotFoundException(name)

    monkeypatch.setattr(BaseHook, "get_connection", unknown)
    assert resolve("cctv") == "sqlite:////ours.db"
    with pytest.raises(DefinitionError, match="connection simreda is not known"):
        resolve("simreda")


@pytest.mark.parametrize(
    "entered", ["mysql://u:geheim@db:port/zm", "a://u:geheim@b://c://d", "geheim"]
)
def test_what_cannot_be_understood_is_not_repeated(resolve, monkeypatch, entered):
    monkeypatch.setattr(BaseHook, "get_connection",
                        lambda name: Connection.from_uri(entered, conn_id=name))  # fmt: skip
    with pytest.raises(DefinitionError, match="connection cctv cannot be understood") as raised:
        resolve("cctv")
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None

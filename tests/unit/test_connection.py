"""Where a connection id leads, and that an unknown one says what to do."""

import pytest

from common.connection import resolver
from common.errors import DefinitionError
from common.settings import Settings


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("mysql+pymysql://a:b@h:3306/db", "mysql+pymysql://a:b@h:3306/db"),
        (
            '{"conn_type": "postgresql+psycopg", "login": "a", "password": "p@s/s", "host": "h", '
            '"port": 5432, "schema": "db"}',
            "postgresql+psycopg://a:p%40s%2Fs@h:5432/db",
        ),
    ],
)
def test_the_environment_in_both_forms(tmp_path, monkeypatch, text, url):
    monkeypatch.setenv("AIRFLOW_CONN_SIMREDA", text)
    assert resolver(Settings(home=tmp_path))("simreda") == url


def test_the_file_of_the_sample_city(tmp_path, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_CCTV", raising=False)
    (tmp_path / "connections.toml").write_text('[connections]\ncctv = "sqlite:////x.db"\n')
    assert resolver(Settings(home=tmp_path))("cctv") == "sqlite:////x.db"
    with pytest.raises(DefinitionError, match="set AIRFLOW_CONN_LAIN"):
        resolver(Settings(home=tmp_path))("lain")

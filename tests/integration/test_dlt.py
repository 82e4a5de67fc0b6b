"""dlt's own sources and resources of every kind of row, read as streams of ours."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import dlt
import pandas as pd
import pyarrow as pa
import pytest
from dlt.sources.filesystem import filesystem, read_csv

from common.definition import Source, load_sources
from common.errors import (
    DefinitionError,
    SourceDenied,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from common.settings import ROOT, Settings
from connectors.readers import Pull, look
from pipeline.sync import prepare, sync
from tests.services import Reply, serving
from tests.tables import rows_of
from tests.world import counts
from warehouse.catalog import reading

CANARY = "Siti Rahayu Canary"


def source_of(function, resource="warga", columns=("nik", "nama"), **arguments):
    stream = {
        "name": "resident", "title": "x", "connection": "made", "key": [columns[0]],
        "read": {"reader": "dlt", "source": function, "resource": resource,
                 "arguments": arguments},
        "strategy": "snapshot", "columns": {name: {"name": name} for name in columns},
    }  # fmt: skip
    return Source.model_validate(
        {"name": "made", "title": "x", "agency": "dkis", "streams": [stream],
         "contact": {"unit": "-", "email": "x@y.example"}}
    )  # fmt: skip


def pulling(tmp_path, source, url="file:///nowhere", **settings):
    return Pull(source, source.streams[0], url, Settings(home=tmp_path, **settings))


# dlt's bundled sources, against real servers and files


def test_rest_api(tmp_path):
    rows = [{"nik": 3274016001900000 + number, "nama": f"W{number}"} for number in range(7)]

    def answer(asked):
        if asked.headers.get("authorization") != "Bearer rahasia":
            return Reply({"error": CANARY}, 401)
        at = int(asked.query["offset"])
        return Reply({"data": rows[at : at + 3], "total": 7})

    client = {"base_url": "$address", "auth": {"type": "bearer", "token": "$password"},
              "paginator": {"type": "offset", "limit": 3, "total_path": "total"}}  # fmt: skip
    endpoint = {"path": "warga", "data_selector": "data"}
    source = source_of("dlt.sources.rest_api:rest_api_source",
                       config={"client": client, "resources": [{"name": "warga", "endpoint":
                                                                endpoint}]})  # fmt: skip
    with serving(answer) as url:
        pull = pulling(tmp_path, source, url.replace("//", "//:rahasia@"))
        assert rows_of(pull) == [(str(row["nik"]), row["nama"]) for row in rows]
        assert pull.extracted == 7
        with pytest.raises(SourceDenied, match="HTTP 401") as caught:
            rows_of(pulling(tmp_path, source, url.replace("//", "//:hunter2@")))
    assert "hunter2" not in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("backend", ["sqlalchemy", "pyarrow"])
def test_sql_database(tmp_path, postgres_server, backend):
    import sqlalchemy as sa

    url = postgres_server.create_database(f"dlt_{backend}")
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE warga (nik numeric(16,0), nama text, lahir date, pagu numeric(20,2))"
        )
        connection.exec_driver_sql(
            "INSERT INTO warga VALUES (3274016001900001, 'A', '1990-01-20', 12345678901234567.10),"
            " (3274016001900002, NULL, NULL, NULL)"
        )
    source = source_of(
        "dlt.sources.sql_database:sql_database",
        columns=("nik", "nama", "lahir", "pagu"),
        credentials="$url", backend=backend, table_names=["warga"],
    )  # fmt: skip
    assert rows_of(pulling(tmp_path, source, url)) == [
        ("3274016001900001", "A", "1990-01-20", "12345678901234567.10"),
        ("3274016001900002", None, None, None),
    ]
    wrong = url.replace(postgres_server.password, "hunter2")
    with pytest.raises(SourceUnavailable) as caught:
        rows_of(pulling(tmp_path, source, wrong))
    assert "hunter2" not in str(caught.value)


def csv_files(bucket_url):
    return (filesystem(bucket_url=bucket_url, file_glob="*.csv") | read_csv(dtype=str)).with_name(
        "warga"
    )


def test_filesystem(tmp_path):
    folder = tmp_path / "drops"
    folder.mkdir()
    (folder / "a.csv").write_text("nik,nama\n3274016001900001,A\n")
    (folder / "b.csv").write_text("nik,nama\n0074016001900002,\n")
    source = source_of("tests.integration.test_dlt:csv_files", bucket_url="$address")
    assert rows_of(pulling(tmp_path, source, folder.as_uri())) == [
        ("0074016001900002", None), ("3274016001900001", "A"),
    ]  # fmt: skip


# Rows of every kind


@dlt.source
def made(kind):
    rows = {
        "dicts": [{"nik": 3274016001900001, "nama": {"b": Decimal("1.10"), "a": [None, True]}},
                  {"nik": "2", "nama": None}],
        "arrow": pa.table({"nik": pa.array([3274016001900001, 2], pa.int64()),
                           "nama": pa.array([{"b": 2, "a": [None]}, None])}),
        "batch": pa.RecordBatch.from_pydict({"nik": ["3274016001900001", "2"],
                                             "nama": pa.array([Decimal("1.10"), None])}),
        "pandas": pd.DataFrame({"nik": ["3274016001900001", "2"],
                                "nama": [datetime(2026, 11, 1, 8, tzinfo=UTC), None]}),
        "floats": pa.table({"nik": [1, 2], "nama": [0.1, float("nan")]}),
        "moments": [{"nik": date(2026, 11, 1), "nama": datetime(2026, 11, 1, 8, tzinfo=UTC)}],
        "odd": [{"nik": "1", "nama": "a\ud800\0b"}],
        "strings": [CANARY],
        "empty": [],
    }  # fmt: skip

    @dlt.resource(name="warga")
    def residents():
        yield rows[kind]

    @dlt.resource(name="other")
    def other():
        raise AssertionError("what is not asked for is not read")
        yield

    return residents, other


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("dicts", [("2", None), ("3274016001900001", '{"a":[null,true],"b":1.10}')]),
        ("arrow", [("2", None), ("3274016001900001", '{"a":[null],"b":2}')]),
        ("batch", [("2", None), ("3274016001900001", "1.10")]),
        ("pandas", [("2", None), ("3274016001900001", "2026-11-01 08:00:00.000000Z")]),
        ("floats", [("1", "0.1"), ("2", None)]),
        ("moments", [("2026-11-01", "2026-11-01T08:00:00+00:00")]),
        ("odd", [("1", "a\\ud800\0b")]),
        ("empty", []),
    ],
)
def test_every_kind_of_row(tmp_path, kind, rows):
    source = source_of("tests.integration.test_dlt:made", kind=kind)
    pull = pulling(tmp_path, source)
    assert rows_of(pull) == rows
    assert pull.extracted == len(rows)


def test_what_is_no_row_is_refused(tmp_path):
    source = source_of("tests.integration.test_dlt:made", kind="strings")
    with pytest.raises(SourceMalformed, match="row 1 is not an object") as caught:
        rows_of(pulling(tmp_path, source))
    assert CANARY not in str(caught.value)


@dlt.resource(name="warga")
def many(rows):
    for number in range(rows):
        yield {"nik": number, "nama": CANARY}
        if number == 2_999:
            raise ValueError(CANARY)


def test_rows_come_in_bounded_batches(tmp_path):
    from connectors.readers import read

    source = source_of("tests.integration.test_dlt:many", rows=2_500)
    pull = pulling(tmp_path, source, batch_rows=1_000)
    assert [piece.rows.num_rows for piece in read(pull)] == [1000, 1000, 500]
    look(look_pull := pulling(tmp_path, source))
    assert look_pull.shape == {"nik": "", "nama": ""}


def test_a_source_that_breaks_off_names_nobody(tmp_path, caplog):
    caplog.set_level("DEBUG")
    source = source_of("tests.integration.test_dlt:many", rows=4_000)
    with pytest.raises(SourceMalformed, match="dlt: ValueError") as caught:
        rows_of(pulling(tmp_path, source))
    assert CANARY not in str(caught.value)
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("function", "resource", "error", "match"),
    [
        ("tests.integration.test_dlt:nothing", "warga", DefinitionError, "cannot be imported"),
        ("no_such_module:f", "warga", DefinitionError, "cannot be imported"),
        ("tests.integration.test_dlt:made", "gone", SourceShapeChanged, "no resource gone"),
    ],
)
def test_what_is_not_there(tmp_path, function, resource, error, match):
    with pytest.raises(error, match=match):
        rows_of(pulling(tmp_path, source_of(function, resource, kind="dicts")))


def test_without_dlt_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlt", None)
    with pytest.raises(DefinitionError, match=r"not installed.*requirements/dlt\.txt"):
        rows_of(pulling(tmp_path, source_of("tests.integration.test_dlt:made", kind="dicts")))


def test_dlt_writes_nothing_and_calls_nobody(tmp_path):
    """In a process of its own: no file below the home, no connection is asked for."""
    program = """
import socket, sys
from pathlib import Path
asked = []
class Watched(socket.socket):
    def connect(self, address): asked.append(address); raise OSError
    connect_ex = connect
socket.socket = Watched
socket.getaddrinfo = lambda *a, **k: asked.append(a) or []
from tests.integration.test_dlt import *
assert len(rows_of(pulling(Path(sys.argv[1]), source_of("tests.integration.test_dlt:made",
                                                        kind="dicts")))) == 2
import time; time.sleep(1)
print(asked)
"""
    home = tmp_path / "home"
    home.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "var")], cwd=ROOT, capture_output=True,
        text=True, check=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin",
                                    "AIRFLOW_HOME": str(tmp_path / "airflow")},
    )  # fmt: skip
    assert told.stdout.strip() == "[]"
    assert list(home.rglob("*")) == []


def test_through_the_warehouse(tmp_path):
    """Ledger, quarantine and expectations as for any source, two nights."""
    folder = tmp_path / "connectors" / "made"
    folder.mkdir(parents=True)
    (folder / "source.yml").write_text(
        """
name: made
title: Made
agency: dkis
contact: {unit: X, email: x@y.example}
streams:
  - name: resident
    title: Residents
    connection: made
    read: {reader: dlt, source: "tests.integration.test_dlt:many", resource: warga,
           arguments: {rows: 20}}
    strategy: snapshot
    key: [number]
    columns: {nik: {name: number, type: integer}, nama: {name: name}}
"""
    )
    rules = tmp_path / "expectations"
    rules.mkdir()
    (rules / "made.yml").write_text(
        """
streams:
  resident:
    - rule: too_large
      expect_column_values_to_be_between: {column: number, max_value: 16}
      severity: critical
      reason: "x"
      origin: "x"
      plain: "x"
      remedy: "x"
"""
    )
    settings = Settings(home=tmp_path / "var", connectors=tmp_path / "connectors",
                        expectations=rules)  # fmt: skip
    source = load_sources(settings)["made"]
    prepare(settings, {"made": source})

    def night():
        return counts(sync(settings, source, source.streams[0], lambda _: "file:///"))

    assert night() == {"extracted": 20, "inserted": 17, "quarantined": 3}
    assert night() == {"extracted": 20, "unchanged": 17, "quarantined": 3}
    with reading(settings) as connection:
        found = connection.execute("SELECT count(*) FROM lake.landing.made__resident").fetchone()
    assert found == (17,)

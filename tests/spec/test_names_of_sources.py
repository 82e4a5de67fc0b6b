"""Tables and columns are called what their source likes: SQL, quotation marks, our own names. They
are read exactly, and nothing else happens."""

import csv
import json
import shutil
import sqlite3

import dbf
import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from common.access import INSTEAD, printable
from common.definition import Source, load_sources
from common.errors import MuaraError
from common.settings import Settings
from muara.cli import app
from pipeline.sync import prepare, sync
from tests import tables
from tests.drops import Drops
from tests.services import Reply, serving
from tests.world import NIGHT, empty_warehouse
from warehouse.catalog import reading

TABLE = 't" ; DROP TABLE "x'
NAMES = [
    'Id" AS x, (COPY', 'a"b', "a'b", "a`b", "a]b", "a\\b", "a%b", "%s", "%(x)s", ":x", "?", "$1",
    "{x}", "{{x}}", "a;b", "--", "/* */", "a.b", " a", '"', '""', "'", "''", "*", "COLUMNS(*)",
    "select", "_row", "_origin", "_record_id", "Nama", "ñ", "中", "👍", "[red]x[/]", "[/]", "$.a",
    "0", "a,b", "a|b", "<b>", "=1+1", "-1", "@x", "#1", "null", "true", "no", "~", "~0", "a/b",
    "&x", "rowid", "x" * 60, 'Id" AS y COPY (SELECT 1) TO \'{made}\' --',
    "'); COPY (SELECT 1) TO '{made}'; --", '"; DROP SCHEMA lake.landing CASCADE; --',
]  # fmt: skip
ALSO_CASE = ["nama", "NAMA", "ROWID", "Select"]
ROWS = 2


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "o'clock"
    place.mkdir()
    return place


def named(folder, names):
    """Column → entry, and the rows by column."""
    names = [name.replace("{made}", str(folder / "made")) for name in names]
    columns = {name: {"name": f"c{place}"} for place, name in enumerate(names)}
    rows = [
        {"kunci": str(row)} | {name: f"{row} {place}" for place, name in enumerate(names)}
        for row in range(ROWS)
    ]
    return {"kunci": {"name": "number"}} | columns, rows


def dropped(folder, names, write, read):
    columns, rows = named(folder, names)
    (folder / "drops").mkdir()
    write(folder / "drops", columns, rows)
    drops = Drops(folder, (folder / "drops").as_uri(), read, columns)
    assert drops.sync().inserted == ROWS
    ours = [column["name"] for column in columns.values()]
    assert drops.rows(*ours) == [tuple(row.values()) for row in rows]
    assert not (folder / "made").exists()


def as_csv(place, columns, rows):
    with (place / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *(row.values() for row in rows)])


def as_lines(place, columns, rows):
    (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_workbook(place, columns, rows):
    book = openpyxl.Workbook()
    book.active.append(list(columns))
    for cell in book.active[1]:
        cell.data_type = "s"
    for row in rows:
        book.active.append(list(row.values()))
    book.save(place / "a.xlsx")


def as_dbf(place, columns, rows):
    fields = "; ".join(f"f{number} C(9)" for number in range(len(columns)))
    path = place / "a.dbf"
    with dbf.Table(str(path), fields, dbf_type="db3", codepage="cp1252").open(
        dbf.READ_WRITE
    ) as table:
        for row in rows:
            table.append(tuple(row.values()))
    content = bytearray(path.read_bytes())
    for number, name in enumerate(columns):
        start = 32 * (number + 1)
        content[start : start + 11] = name.encode().ljust(11, b"\0")
    path.write_bytes(content)


SHORT = [name for name in NAMES if name.isascii() and len(name) <= 10 and name == name.strip()]


def test_headings_of_a_text_file(folder):
    dropped(folder, NAMES + ALSO_CASE, as_csv, {"pattern": "*.csv"})


def test_keys_of_json_lines(folder):
    dropped(folder, NAMES + ALSO_CASE, as_lines,
            {"pattern": "*.jsonl", "format": {"kind": "json_lines"}})  # fmt: skip


def test_fields_of_dbf(folder):
    dropped(folder, SHORT, as_dbf, {"pattern": "*.dbf", "format": {"kind": "dbf"}})


def test_headings_of_a_workbook(folder):
    columns, _ = named(folder, NAMES)
    layout = {"columns": {name: name for name in columns}}
    dropped(folder, NAMES, as_workbook, {"pattern": "*.xlsx", "format": {
        "kind": "workbook", "layouts": {"one": layout}, "person": ["kunci"]}})  # fmt: skip


class Made:
    """A source by its definition, and a warehouse beside it."""

    def __init__(self, folder, read, names, monkeypatch):
        self.columns, self.rows = named(folder, names)
        stream = {
            "name": "rows", "title": "Rows", "connection": "made", "strategy": "snapshot",
            "read": read, "key": ["number"], "max_deleted_share": 1, "columns": self.columns,
        }  # fmt: skip
        source = {
            "name": "made", "title": "Made", "agency": "dkis",
            "contact": {"unit": "x", "email": "x@y.example"}, "streams": [stream],
        }  # fmt: skip
        rule = dict.fromkeys(("reason", "origin", "plain", "remedy"), "x")
        rule |= {"rule": "bad", "severity": "critical"}
        rule["expect_rows_to_satisfy"] = {"condition": "c1 <> '1 1'"}
        self.path = folder / "connectors" / "made" / "source.yml"
        rules = folder / "expectations" / "made.yml"
        for path, text in ((self.path, source), (rules, {"streams": {"rows": [rule]}})):
            path.parent.mkdir(parents=True)
            path.write_text(yaml.safe_dump(text, allow_unicode=True, sort_keys=False))
        self.settings = Settings(
            home=folder / "var", connectors=folder / "connectors", today=NIGHT,
            expectations=folder / "expectations", retry_delay_seconds=0,
        )  # fmt: skip
        shutil.copytree(empty_warehouse(), self.settings.home)
        for name in ("home", "connectors", "expectations", "today"):
            monkeypatch.setenv(f"MUARA_{name.upper()}", str(getattr(self.settings, name)))

    def sync(self, url):
        sources = load_sources(self.settings)
        prepare(self.settings, sources)
        source = sources["made"]
        return sync(self.settings, source, source.streams[0], lambda _: url)

    def landed(self):
        ours = ", ".join(column["name"] for column in self.columns.values())
        with reading(self.settings) as connection:
            return connection.execute(f"SELECT {ours} FROM lake.landing.made__rows").fetchall()


def says(*command):
    outcome = CliRunner().invoke(app, list(command))
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit | MuaraError), (
        command,
        outcome.exception,
    )
    return outcome


def test_keys_of_an_answer(folder, monkeypatch):
    names = [name for name in NAMES if name != "$.a" and not name.startswith("a.")]
    made = Made(folder, {"reader": "rest", "path": "/x"}, names, monkeypatch)
    with serving(lambda asked: Reply(made.rows if asked.query["page"] == "1" else [])) as url:
        assert made.sync(url).extracted == ROWS
    assert made.landed() == [tuple(made.rows[0].values())]


def test_a_table_from_proposal_to_rejection(folder, monkeypatch):
    """Read, quarantined, returned, compared, drifted, proposed, and read again."""
    made = Made(folder, {"reader": "sql", "table": TABLE}, NAMES, monkeypatch)
    database = folder / "made.db"
    url = f"sqlite:///{database}"
    monkeypatch.setenv("AIRFLOW_CONN_MADE", url)
    columns = ", ".join(f"{marked(name)} TEXT" for name in made.columns)
    marks = ", ".join("?" * len(made.columns))
    with sqlite3.connect(database) as connection:
        connection.execute(f"CREATE TABLE {marked(TABLE)} ({columns})")
        connection.executemany(
            f"INSERT INTO {marked(TABLE)} VALUES ({marks})",
            [list(row.values()) for row in made.rows],
        )
    account = made.sync(url)
    assert (account.inserted, account.quarantined) == (1, 1)
    assert made.landed() == [tuple(made.rows[0].values())]
    assert says("check", "made", "--propose").exit_code == 0
    assert says("reconcile", "made", "rows").exit_code == 0
    assert says("rejections").exit_code == 0
    (book,) = made.settings.home.rglob("penolakan*.xlsx")
    kinds = {cell.data_type for page in openpyxl.load_workbook(book) for row in page.iter_rows()
             for cell in row}  # fmt: skip
    assert "f" not in kinds

    with sqlite3.connect(database) as connection:
        for name in ("new: {a}, b # c", '{x" AS z, (COPY', "two\nlines", "\x1b[31mred"):
            connection.execute(f"ALTER TABLE {marked(TABLE)} ADD COLUMN {marked(name)} TEXT")
        connection.execute(f"""ALTER TABLE {marked(TABLE)} DROP COLUMN "a'b" """)
    assert "gone" in str(says("sync", "made").exception)
    told = says("check", "made", "--propose")
    assert told.exit_code == 0
    assert "\x1b" not in told.output + says("status").output
    shutil.copy(made.settings.home / "proposals" / "made" / "source.yml", made.path)
    assert says("check", "made").exit_code == 0
    read = load_sources(made.settings)["made"].streams[0].columns
    assert {"new: {a}, b # c", '{x" AS z, (COPY'} < read.keys()
    assert not any(INSTEAD in name for name in read)
    assert says("sync", "made").exception is None
    assert not (folder / "made").exists()


def marked(name):
    return '"' + name.replace('"', '""') + '"'


ANY = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1,
              max_size=20)  # fmt: skip


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(table=ANY, names=st.lists(ANY, min_size=1, max_size=4, unique_by=str.lower))
def test_any_name_is_read_exactly_or_refused_as_a_definition(tmp_path, table, names):
    names = [name for name in names if name.lower() != "id"]
    database = tmp_path / "any.db"
    database.unlink(missing_ok=True)
    if table.lower().startswith("sqlite_"):
        return
    with sqlite3.connect(database) as connection:
        parts = ", ".join(f"{marked(name)} TEXT" for name in names)
        connection.execute(f"CREATE TABLE {marked(table)} (id INTEGER{parts and ', '}{parts})")
        marks = ", ".join("?" * (len(names) + 1))
        connection.execute(f"INSERT INTO {marked(table)} VALUES ({marks})", [1, *names])
    sayable = all(printable(name) == name for name in (table, *names))
    entries = {name: {"name": f"c{place}"} for place, name in enumerate(names)}
    if not sayable:
        with pytest.raises(ValidationError, match="control character"):
            tables.source_of(table, {"id": {}} | entries)
        return
    source = tables.source_of(table, {"id": {}} | entries)
    pull = tables.pull_of(f"sqlite:///{database}", source, tmp_path)
    assert tables.rows_of(pull) == [("1", *names)]


@pytest.mark.parametrize("where", ["columns", "ignore", "table", "cursor"])
def test_a_definition_refuses_control_characters(where):
    more = {"columns": {"a\nb": {"name": "b"}}, "ignore": {"a\x1bb": "x"}}.get(where, {})
    stream = {
        "name": "rows", "title": "x", "connection": "made", "key": ["id"], "strategy": "snapshot",
        "read": {"reader": "sql", "table": "a\u2028b" if where == "table" else "t"},
        "columns": {"id": {"name": "id"}} | (more if where == "columns" else {}),
    }  # fmt: skip
    if where == "ignore":
        stream["ignore"] = more
    if where == "cursor":
        stream |= {"strategy": "cursor", "cursor": {"column": "a\tb"}}
    with pytest.raises(ValidationError, match="control character"):
        Source.model_validate({"name": "made", "title": "x", "agency": "dkis", "streams": [stream],
                               "contact": {"unit": "-", "email": "x@y.example"}})  # fmt: skip

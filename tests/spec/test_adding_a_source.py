"""docs/adding-a-source.md, followed to the letter: its own blocks are the files and commands."""

import json
import re
import runpy
import shlex
import sqlite3
import sys

import pytest

from common.definition import load_sources
from common.settings import ROOT, Settings
from expectations.suite import load_rules
from transforms.conform import conform_of, landing_only

PAGE = (ROOT / "docs" / "adding-a-source.md").read_text()
STEPS = PAGE.split("## From nothing to landed rows\n")[1].split("\n## ")[0]
FILES = dict(re.findall(r"`([\w/]+\.yml)`:\n\n```yaml\n(.*?)```", STEPS, re.DOTALL))
COMMANDS = re.findall(r"^\.venv/bin/muara (.*)$", STEPS, re.MULTILINE)


class Reader:
    """Someone with nothing but the page: its table, its two files, its commands."""

    def __init__(self, folder, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(text)
        (sql,) = re.findall(r"```sql\n(.*?)```", STEPS, re.DOTALL)
        with sqlite3.connect(folder / "parks.db") as connection:
            connection.executescript(sql)
        for name in ("connectors", "expectations"):
            monkeypatch.setenv(f"MUARA_{name.upper()}", str(folder / name))
        monkeypatch.setenv("MUARA_HOME", str(folder / "var"))
        monkeypatch.setenv("AIRFLOW_CONN_PARKS", f"sqlite:///{folder / 'parks.db'}")

    def types(self, command):
        """What `python -m muara` answers, in this process: a new one imports for seconds."""
        self.monkeypatch.setattr(sys, "argv", ["muara", *shlex.split(command), "--json"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("muara", run_name="__main__")
        answer = self.capsys.readouterr().out
        assert ended.value.code == 0, answer
        return json.loads(answer)


def test_the_steps_lead_to_landed_rows_without_a_line_of_python(tmp_path, monkeypatch, capsys):
    assert list(FILES) == ["connectors/parks/source.yml", "expectations/parks.yml"]
    reader = Reader(tmp_path, monkeypatch, capsys)
    check, sync, rows, refused, again = COMMANDS

    assert reader.types(check)["landing_only"] == ["parks.park"]
    (account,) = reader.types(sync)
    names = ("extracted", "inserted", "flagged", "quarantined")
    assert [account[name] for name in names] == [4, 3, 1, 1]
    assert reader.types(rows) == [
        {"park_number": 1, "park_name": "Taman Melati", "area_m2": "1250.50",
         "opened_date": "1995-08-17", "condition": "good"},
        {"park_number": 2, "park_name": "Taman Kenanga", "area_m2": "830.00",
         "opened_date": None, "condition": "worn"},
        {"park_number": 3, "park_name": "Taman Cempaka", "area_m2": None,
         "opened_date": "2012-03-01", "condition": "broken"},
    ]  # fmt: skip
    ((entry),) = reader.types(refused)
    assert entry["rules"] == ["opened_date_unreadable"]
    assert json.loads(entry["row_as_sent"])["opened_date"] == "30/02/2015"
    (account,) = reader.types(again)
    assert [account[name] for name in ("extracted", "unchanged", "quarantined")] == [4, 3, 1]


@pytest.mark.parametrize("example", sorted((ROOT / "docs" / "examples").iterdir()))
def test_every_example_is_a_definition_and_rules_and_nothing_else(example):
    code = example.name
    files = {path.relative_to(example).as_posix() for path in example.rglob("*") if path.is_file()}
    assert files == {f"connectors/{code}/source.yml", f"expectations/{code}.yml"}
    settings = Settings(home=example, connectors=example / "connectors",
                        expectations=example / "expectations")  # fmt: skip
    source = load_sources(settings)[code]
    for stream, rules in load_rules(settings, source).items():
        assert rules
        assert conform_of(source, stream) is landing_only
    assert source.agency in (ROOT / "profiles/kota_cirebon/agency.csv").read_text()

"""A source that changes its shape: what is reported, what loads, what stops, and the way back."""

import json
import runpy
import shutil
import sqlite3
import sys

import pytest

from common.definition import load_sources
from common.errors import SourceShapeChanged, TooManyDeletions
from common.settings import ROOT
from common.shape import Drift
from pipeline import proposal
from pipeline.drift import downstream
from pipeline.lineage import graph
from pipeline.sync import prepare
from tests.world import NOTED_EVERY_NIGHT, Cameras, counts, monitor
from warehouse.catalog import changed_since, disagreements, reading
from warehouse.drift import accept

TYPED = """
    Id INTEGER, Name VARCHAR(64), Function VARCHAR(16), Enabled INTEGER, Latitude DECIMAL(10,8),
    Longitude DECIMAL(11,8), Host VARCHAR(64), Path VARCHAR(255), Owner VARCHAR(20), Installed DATE
"""
SECRET = "rahasia-canary"
FORTY = [monitor(number) for number in range(1, 41)]
LOADED = {"extracted": 40, "inserted": 40}
SAME = {"extracted": 40, "unchanged": 40}


class Drifting(Cameras):
    """Forty cameras in a typed table, read once; their definition in a folder of its own."""

    def __init__(self, folder):
        super().__init__(folder, connectors=folder / "connectors")
        self.alter("DROP TABLE Monitors", f"CREATE TABLE Monitors ({TYPED})")
        self.hold(*FORTY)
        assert counts(self.sync()) == LOADED

    def alter(self, *statements):
        with sqlite3.connect(self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def tomorrow(self):
        self.next_night()
        return counts(self.sync())

    def drifts(self):
        return self.rows(
            "SELECT kind, column_name, likely_column, rows_touched, default_applied, state "
            "FROM lake.ops.drift ORDER BY ALL"
        )

    def written_tonight(self):
        before = self.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")[0][0]
        account = self.tomorrow()
        with reading(self.settings) as connection:
            return account, changed_since(connection, before)

    def propose(self):
        return proposal.propose(self.settings, self.source, self.url)

    def adopt(self, path):
        """Copy a definition over the one in use, as an engineer does after the review."""
        shutil.copy(path, self.settings.connectors / "cctv" / "source.yml")
        self.sources = load_sources(self.settings)
        self.source = self.sources["cctv"]
        self.stream = self.source.stream("monitor")
        prepare(self.settings, self.sources)


@pytest.fixture
def cameras(tmp_path):
    shutil.copytree(ROOT / "connectors", tmp_path / "connectors",
                    ignore=shutil.ignore_patterns("readers", "*.py", "__pycache__"))  # fmt: skip
    return Drifting(tmp_path)


def test_the_shape_is_recorded_once(cameras):
    shape = "SELECT column_name, declared_type FROM lake.ops.source_column ORDER BY place"
    first = cameras.rows(shape)
    assert first[:2] == [("Id", "integer"), ("Name", "varchar(64)")]
    assert ("Host", "varchar(64)") in first, "names of ignored columns, never their values"
    assert cameras.written_tonight() == (SAME, NOTED_EVERY_NIGHT)
    assert cameras.rows(shape) == first
    assert cameras.drifts() == []
    assert cameras.propose().path is None


def test_a_new_column_is_reported_and_not_read(cameras):
    cameras.alter(f"ALTER TABLE Monitors ADD COLUMN Password VARCHAR(40) DEFAULT '{SECRET}'")
    assert cameras.tomorrow() == SAME
    seen = [("new", "Password", None, None, "not_read", "open")]
    assert cameras.drifts() == seen
    assert cameras.written_tonight() == (SAME, NOTED_EVERY_NIGHT), "told once, not every night"
    assert cameras.drifts() == seen
    landed = [name for name, *_ in cameras.rows("DESCRIBE lake.landing.cctv__monitor")]
    assert "Password" not in landed
    assert SECRET not in (cameras.settings.home / "logs" / "muara.log").read_text()

    cameras.alter("ALTER TABLE Monitors DROP COLUMN Password")
    assert cameras.tomorrow() == SAME
    assert [state for *_, state in cameras.drifts()] == ["gone"]


def test_a_missing_column_stops_the_stream_and_says_what_it_feeds(cameras):
    cameras.alter("ALTER TABLE Monitors DROP COLUMN Owner")
    for _ in range(2):
        with pytest.raises(SourceShapeChanged, match=r"gone: Owner\. Next: .*--propose"):
            cameras.tomorrow()
    assert cameras.drifts() == [("missing", "Owner", None, None, "stopped", "open")]
    ((touched,),) = cameras.rows("SELECT downstream FROM lake.ops.drift")
    assert touched == ["core.camera.owner_agency_code"]
    assert len(cameras.core()) == 40, "as it last was"


def test_a_renamed_column_is_found_by_its_type_and_place_and_the_proposal_loads(cameras):
    cameras.alter("ALTER TABLE Monitors RENAME COLUMN Owner TO Pemilik")
    with pytest.raises(SourceShapeChanged, match=r"gone: Owner \(likely now Pemilik\)"):
        cameras.tomorrow()
    assert cameras.drifts() == [("renamed", "Owner", "Pemilik", None, "stopped", "open")]

    proposed = cameras.propose()
    changed = [line for line in proposed.diff.splitlines() if line[:2] in ("- ", "+ ")]
    assert changed == [
        "+      # renamed, likely: Owner is Pemilik (the same type, the same place), "
        "used by core.camera.owner_agency_code",
        "-      Owner: {name: owner_agency_code}",
        "+      Pemilik: {name: owner_agency_code}",
    ]
    cameras.adopt(proposed.path)
    assert cameras.tomorrow() == SAME, "ours is called as before"
    assert [state for *_, state in cameras.drifts()] == ["gone"]


def test_names_that_yaml_takes_for_something_else_are_quoted(cameras):
    cameras.alter("ALTER TABLE Monitors ADD COLUMN no TEXT",
                  'ALTER TABLE Monitors ADD COLUMN "2026" TEXT',
                  'ALTER TABLE Monitors ADD COLUMN "Camera-Name" TEXT')  # fmt: skip
    cameras.adopt(cameras.propose().path)
    assert list(cameras.stream.columns)[-3:] == ["no", "2026", "Camera-Name"]
    assert cameras.stream.names[-3:] == ["no", "column_2026", "camera_name_2"]
    assert cameras.tomorrow() == {"extracted": 40, "updated": 40}


def test_an_accepted_column_changes_landing_and_core_can_still_be_rebuilt(cameras):
    cameras.alter("ALTER TABLE Monitors ADD COLUMN Merek VARCHAR(20) DEFAULT 'Hikvision'")
    cameras.tomorrow()
    proposed = cameras.propose()
    assert "+      Merek: {name: merek, note: proposed}" in proposed.diff.splitlines()
    cameras.adopt(proposed.path)
    assert cameras.tomorrow() == {"extracted": 40, "updated": 40}, "once, for they gained a column"
    assert cameras.written_tonight() == (SAME, NOTED_EVERY_NIGHT)
    versions = "SELECT _op, merek, count(*) FROM lake.landing.cctv__monitor GROUP BY ALL ORDER BY 1"
    assert cameras.rows(versions) == [("insert", None, 40), ("update", "Hikvision", 40)]
    assert cameras.rows("SELECT DISTINCT merek FROM lake.landing.cctv__monitor_now") == [
        ("Hikvision",)
    ]
    assert cameras.drifts()[0][-1] == "gone"
    assert cameras.rebuild_differences() == {}
    with reading(cameras.settings) as connection:
        assert disagreements(connection, cameras.sources) == {}


def test_landing_keeps_what_a_definition_drops_and_does_not_mind_the_order(cameras, tmp_path):
    path = cameras.settings.connectors / "cctv" / "source.yml"
    lines = path.read_text().splitlines(keepends=True)
    place = lines.index("      Owner: {name: owner_agency_code}\n")
    name = lines.index("      Name: {name: camera_name, required: true}\n")
    lines[name], lines[place - 1] = lines[place - 1], lines[name]
    installed = lines.index("      Installed: {name: installed_date, type: date}\n")
    lines[installed] = "      Installed: {name: since_date, type: date}\n"
    changed = tmp_path / "changed.yml"
    changed.write_text("".join(lines))
    cameras.adopt(changed)
    landed = [one for one, *_ in cameras.rows("DESCRIBE lake.landing.cctv__monitor")]
    assert landed[-2:] == ["installed_date", "since_date"]
    with reading(cameras.settings) as connection:
        assert disagreements(connection, cameras.sources) == {}


def test_a_retyped_column_lands_when_its_values_still_read(cameras):
    wider = TYPED.replace("Enabled INTEGER", "Enabled BIGINT")
    cameras.alter("DROP TABLE Monitors", f"CREATE TABLE Monitors ({wider})")
    cameras.hold(*FORTY)
    assert cameras.tomorrow() == SAME
    assert cameras.drifts() == [("retyped", "Enabled", None, 0, "landed", "open")]
    assert cameras.written_tonight() == (SAME, NOTED_EVERY_NIGHT)
    assert accept(cameras.settings, source="cctv") == 1
    assert accept(cameras.settings, source="cctv") == 0
    assert cameras.tomorrow() == SAME
    assert [state for *_, state in cameras.drifts()] == ["accepted"]


def test_a_retyped_column_that_no_longer_reads_stops_the_stream(cameras):
    other = TYPED.replace("Installed DATE", "Installed VARCHAR(10)")
    cameras.alter("DROP TABLE Monitors", f"CREATE TABLE Monitors ({other})")
    cameras.hold(*((*row[:-1], "02/01/2024") for row in FORTY))
    with pytest.raises(SourceShapeChanged, match=r"Installed was date and is varchar\(10\); 40 of"):
        cameras.tomorrow()
    assert cameras.drifts() == [("retyped", "Installed", None, 40, "stopped", "open")]
    assert "+      Installed: {name: installed_date, type: text}" in cameras.propose().diff
    path = cameras.settings.connectors / "cctv" / "source.yml"
    path.write_text(path.read_text().replace(
        "{name: installed_date, type: date}",
        '{name: installed_date, type: date, formats: ["%d/%m/%Y"]}'))  # fmt: skip
    cameras.adopt(shutil.copy(path, path.with_name("corrected.yml")))
    assert cameras.tomorrow() == {"extracted": 40, "updated": 40}
    assert [state for *_, state in cameras.drifts()] == ["gone"]


def test_a_key_that_was_retyped_explains_why_all_rows_seem_to_vanish(cameras):
    texts = TYPED.replace("Id INTEGER", "Id VARCHAR(4)")
    cameras.alter("DROP TABLE Monitors", f"CREATE TABLE Monitors ({texts})")
    cameras.hold(*((f"{number + 4000}", *rest) for number, *rest in FORTY))
    with pytest.raises(TooManyDeletions):
        cameras.tomorrow()
    assert cameras.drifts() == [("retyped", "Id", None, 0, "stopped", "open")]


def test_a_key_that_is_padded_from_now_on_is_the_same_key(cameras):
    texts = TYPED.replace("Id INTEGER", "Id VARCHAR(4)")
    cameras.alter("DROP TABLE Monitors", f"CREATE TABLE Monitors ({texts})")
    cameras.hold(*((f"{number:04}", *rest) for number, *rest in FORTY))
    assert cameras.tomorrow() == {"extracted": 40, "updated": 40}


def test_a_code_never_seen_is_counted_and_told_only_when_short_and_frequent(cameras):
    def with_function(code, start, end):
        return [monitor(number, function=code) for number in range(start, end)]

    cameras.hold(*with_function("Rec", 1, 7), *with_function(SECRET, 7, 13),
                 *with_function("Odd", 13, 15), *FORTY[14:])  # fmt: skip
    assert cameras.tomorrow() == {"extracted": 40, "unchanged": 26, "quarantined": 14}
    seen = [("unseen_code", "Function", None, 14, "quarantined", "open")]
    assert cameras.drifts() == seen
    assert cameras.written_tonight()[1] == NOTED_EVERY_NIGHT
    assert cameras.drifts() == seen

    proposed = cameras.propose()
    (remark,) = [line for line in proposed.diff.splitlines() if "decide:" in line]
    assert remark.strip("+ ") == (
        '# decide: unseen codes of Function in 14 rows: "Rec" in 6 rows, '
        "used by core.camera.function"
    )
    for place in (proposed.path, cameras.settings.home / "logs" / "muara.log"):
        assert SECRET not in place.read_text()
        assert "Odd" not in place.read_text()
    cameras.hold(*FORTY)
    assert cameras.tomorrow() == {"extracted": 40, "updated": 14, "unchanged": 26}
    assert [state for *_, state in cameras.drifts()] == ["gone"]


def test_the_command_line_shows_what_drifted_and_where_the_proposal_lies(
    cameras, monkeypatch, capsys
):
    cameras.alter("ALTER TABLE Monitors ADD COLUMN Merek VARCHAR(20)")
    cameras.tomorrow()
    monkeypatch.setenv("MUARA_HOME", str(cameras.settings.home))
    monkeypatch.setenv("MUARA_CONNECTORS", str(cameras.settings.connectors))
    monkeypatch.setenv("AIRFLOW_CONN_CCTV", cameras.url("cctv"))

    def muara(*words):
        monkeypatch.setattr(sys, "argv", ["muara", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("muara", run_name="__main__")
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert "cctv.monitor drifted: new Merek. Next: `muara check cctv --propose`" in muara("status")
    answer = json.loads(muara("check", "cctv", "--propose", "--json"))
    assert [(one["kind"], one["column"], one["now"]) for one in answer["differences"]] == [
        ("new", "Merek", "varchar(20)")
    ]
    assert answer["proposal"] == str(cameras.settings.home / "proposals" / "cctv" / "source.yml")
    assert "+      Merek: {name: merek, note: proposed}" in muara("check", "cctv", "--propose")
    assert "1 drift(s) accepted" in muara("check", "cctv", "--accept")
    assert "drifted" not in muara("status")


def test_a_drift_names_the_core_columns_and_the_contracts_it_touches(cameras):
    source = cameras.sources["brojol"]
    stream = source.stream("birth_report")
    (sent,) = [sent for sent, column in stream.columns.items() if column.name == "sex"]
    touched = downstream(graph(cameras.settings), source, stream, Drift("missing", sent))
    persons = {
        f"core.{name}"
        for name in ("birth_case", "person_history", "person_mention", "golden_origin",
                     "golden_record", "golden_record_identity")
    }  # fmt: skip
    core = {one for one in touched if one.startswith("core.")}
    assert core == {"core.birth_report.sex"} | persons
    assert [one for one in touched if one not in core] == [
        "disdukcapil: birth_case",
        "disdukcapil: birth_case_identity",
        "disdukcapil: birth_to_register",
    ]

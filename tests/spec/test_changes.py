"""Why two nights differ: one thing is changed at a time, and the difference names it with the true
counts; then two at once."""

import shutil
from datetime import date, timedelta

import pytest
import yaml

from common.definition import load_sources
from common.errors import DefinitionError
from common.settings import ROOT
from pipeline.sync import prepare
from tests.world import Cameras, monitor
from warehouse.catalog import reading, writing
from warehouse.changes import changes, reasons
from warehouse.quarantine import waive

QUARANTINE, CORE = "quarantine.row", "core.camera"


class Night(Cameras):
    """The cameras with definition, rules and agencies that a test may edit."""

    edited = False

    def __init__(self, folder):
        for name in ("connectors", "expectations"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.py*"))
        shutil.copytree(ROOT / "profiles" / "kota_cirebon", folder / "profile")
        super().__init__(
            folder,
            connectors=folder / "connectors",
            expectations=folder / "expectations",
            profile=folder / "profile",
        )

    def edit(self, path, change):
        """Load the YAML file, let `change` alter it, write it back."""
        self.edited = True
        file = self.settings.connectors.parent / path
        content = yaml.safe_load(file.read_text())
        change(content)
        file.write_text(yaml.safe_dump(content))

    def rule(self, name, condition, severity="critical"):
        words = {"reason": "test", "origin": "test", "plain": "Uji.", "remedy": "Uji."}
        one = {"rule": name, "severity": severity, **words}
        one["expect_rows_to_satisfy"] = {"condition": condition}
        self.edit("expectations/cctv.yml", lambda file: file["streams"]["monitor"].append(one))

    def column(self, theirs, **facts):
        def change(file):
            columns = file["streams"][0]["columns"]
            columns[theirs] = columns.get(theirs, {}) | facts
            file["streams"][0]["ignore"].pop(theirs, None)

        self.edit("connectors/cctv/source.yml", change)

    def forget_agency(self, code):
        self.edited = True
        file = self.settings.profile / "agency.csv"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith(f"{code},")))

    def forget_fingerprints(self):
        with writing(self.settings) as connection:
            connection.execute("DELETE FROM lake.ops.fingerprint")

    def tonight(self, *rows):
        """The night after: everything read again by what is now written."""
        self.next_night()
        self.sources = load_sources(self.settings)
        self.source = self.sources["cctv"]
        self.stream = self.source.stream("monitor")
        if self.edited:
            prepare(self.settings, self.sources)
            self.edited = False
        self.hold(*rows)
        self.sync(accept_deletions=True)

    def why(self, nights=1):
        """{table: {cause: (opened, closed)}} of the newest nights."""
        until = self.settings.today
        found: dict = {}
        with reading(self.settings) as connection:
            for one in changes(connection, self.sources, until - timedelta(days=nights), until):
                assert (one.source, one.stream) == ("cctv", "monitor")
                found.setdefault(one.table, {})[one.cause] = (one.opened, one.closed)
        return found

    def reasons(self):
        until = self.settings.today
        with reading(self.settings) as connection:
            found = reasons(connection, until - timedelta(days=1), until)
        return {(one.kind, one.name) for one in found}


BAD = [monitor(90, name=None), monitor(91, function="?")]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Ten sound cameras, two refused."""
    found = Night(tmp_path_factory.mktemp("first"))
    found.tonight(*(monitor(n) for n in range(1, 11)), *BAD)
    return found


@pytest.fixture
def night(first, tmp_path):
    """A copy of it to change."""
    found = Night(tmp_path)
    shutil.rmtree(found.settings.home)
    shutil.copytree(first.settings.home, found.settings.home)
    found.settings.today = first.settings.today
    return found


SOUND = [monitor(n) for n in range(1, 11)]


def test_a_quiet_night_changed_nothing_whatever_a_rule_is_called_in_words(night):
    night.edit(
        "expectations/cctv.yml",
        lambda file: file["streams"]["monitor"][0].update(plain="Lain.", reason="other"),
    )
    parts = "SELECT count(*) FROM lake.ops.fingerprint WHERE kind <> 'night'"
    recorded = night.rows(parts)
    night.tonight(*SOUND, *BAD)
    assert (night.why(), night.reasons()) == ({}, set())
    assert night.rows(parts) == recorded


def test_source(night):
    """One updated, one deleted, one new, one turned bad, one new and bad, one corrected."""
    night.tonight(
        monitor(1, name="baru"), *SOUND[2:9], monitor(10, function="?"), monitor(11),
        monitor(12, name=None), BAD[0], monitor(91),
    )  # fmt: skip
    assert night.why() == {QUARANTINE: {"source": (2, 1)}, CORE: {"source": (4, 3)}}
    assert night.reasons() == set()
    night.tonight(
        monitor(1, name="baru"), *SOUND[2:10], monitor(11), monitor(12, name=None), BAD[0],
        monitor(91),
    )  # fmt: skip
    went_back = {QUARANTINE: {"source": (0, 1)}, CORE: {"source": (1, 1)}}
    assert night.why() == went_back, "a row that is again what it was before it turned bad"


def test_rule(night):
    """Added, then dropped; beside it, another night's change of a row."""
    night.rule("number_small", "camera_number > 3")
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"rule": (3, 0)}, CORE: {"rule": (3, 3)}}
    assert night.reasons() == {("rule", "number_small")}
    night.edit("expectations/cctv.yml", lambda file: file["streams"]["monitor"].pop())
    night.tonight(*SOUND[:9], monitor(10, name="baru"), *BAD)
    assert night.why() == {
        QUARANTINE: {"rule": (0, 3)},
        CORE: {"rule": (3, 3), "source": (1, 1)},
    }
    assert night.why(2) == {
        QUARANTINE: {"rule": (3, 3)},
        CORE: {"rule": (6, 6), "source": (1, 1)},
    }


def test_definition(night):
    """One column need no longer be filled, another knows one code more."""
    night.column("Name", required=False)
    night.column("Function", values={"Monitor": "live", "?": "off"})
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"definition": (0, 2)}, CORE: {"definition": (2, 0)}}
    assert night.reasons() == {("column", "camera_name"), ("column", "function")}


def test_a_column_more_is_the_definition_also_where_a_row_was_refused(night):
    night.column("Host", name="host")
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"definition": (2, 2)}}
    assert night.reasons() == {("column", "host")}


def test_code_table(night):
    """The agency list loses the owner of all cameras: each is flagged."""
    night.forget_agency("dishub")
    night.tonight(*SOUND, *BAD)
    assert night.why() == {CORE: {"code": (10, 10)}}
    assert night.reasons() == {("code", "ref.agency")}


def test_calendar(night):
    night.rule("not_yet", "(SELECT today FROM night) < DATE '2026-11-26'")
    night.tonight(*SOUND, *BAD)
    night.tonight(*SOUND, *BAD)
    assert night.why()[QUARANTINE] == {"calendar": (12, 2)}
    assert night.reasons() == set(), "that the day changed is nobody's doing"


def test_another_row_with_the_same_key_is_the_source(night):
    night.tonight(*SOUND, monitor(1, name="other"), *BAD)
    assert night.why() == {QUARANTINE: {"source": (2, 0)}, CORE: {"source": (1, 1)}}


def test_a_waiver_is_a_decision(night):
    (entry,) = night.rows(
        "SELECT quarantine_id FROM lake.quarantine.row WHERE rules = ['camera_name_missing']"
    )
    night_now = night.settings.today
    waive(
        night.settings, str(entry[0]), by="A", why="test", until=night_now + timedelta(days=1),
        night=night_now,
    )  # fmt: skip
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"decision": (0, 1)}, CORE: {"decision": (1, 0)}}
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"decision": (1, 0)}, CORE: {"decision": (1, 1)}}


def test_two_at_once_on_different_rows_are_told_apart(night):
    night.rule("number_small", "camera_number > 3")
    night.forget_agency("dlh")
    night.tonight(
        *SOUND[:8], monitor(9, name="baru"), monitor(10, owner="dlh"), *BAD,
        monitor(92, function="!"),
    )  # fmt: skip
    assert night.why() == {
        QUARANTINE: {"rule": (3, 0), "source": (1, 0)},
        CORE: {"rule": (3, 3), "source": (2, 2)},
    }
    assert night.reasons() == {("rule", "number_small"), ("code", "ref.agency")}


def test_two_at_once_on_one_row_are_both(night):
    """The row changed, and what it became is refused by a rule of the same night."""
    night.rule("called_baru", "camera_name <> 'baru'")
    night.tonight(monitor(1, name="baru"), *SOUND[1:], *BAD)
    assert night.why() == {QUARANTINE: {"rule+source": (1, 0)}, CORE: {"rule+source": (1, 1)}}


def test_a_rule_that_changed_and_looks_at_a_code_table_that_changed_is_both(night):
    def stricter(file):
        (rule,) = (one for one in file["streams"]["monitor"] if one["rule"] == "owner_unknown")
        condition = rule["expect_rows_to_satisfy"]["condition"]
        rule["expect_rows_to_satisfy"]["condition"] = f"({condition}) AND camera_number > 0"

    night.edit("expectations/cctv.yml", stricter)
    night.forget_agency("dishub")
    night.tonight(*SOUND, *BAD)
    assert night.why() == {CORE: {"code+rule": (10, 10)}}


def test_a_column_more_and_other_values_are_told_apart(night):
    night.column("Path", name="path")
    night.tonight(monitor(1, name="baru"), *SOUND[1:], BAD[0], monitor(91, function="!"))
    assert night.why() == {
        QUARANTINE: {"definition": (1, 1), "definition+source": (1, 1)},
        CORE: {"definition+source": (1, 1)},
    }


def test_what_was_not_recorded_is_not_explained(night):
    """A warehouse from before fingerprints."""
    night.forget_fingerprints()
    night.rule("number_small", "camera_number > 3")
    night.tonight(*SOUND, *BAD)
    assert night.why() == {QUARANTINE: {"unexplained": (3, 0)}, CORE: {"unexplained": (3, 3)}}


def test_the_earlier_night_comes_first(night):
    with reading(night.settings) as connection, pytest.raises(DefinitionError, match="not later"):
        changes(connection, night.sources, date(2026, 11, 24), date(2026, 11, 24))

"""A service that tells what changed: the map of what is covered, gaps, backfill, comparison."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from typer.testing import CliRunner

from common.definition import load_sources
from common.errors import DefinitionError, SourceUnavailable
from common.settings import Settings
from muara.cli import app
from pipeline.backfill import backfill, estimate, steps
from pipeline.gaps import gaps
from pipeline.reconcile import reconcile
from pipeline.sync import prepare, sync
from tests.services import Reply, serving
from tests.world import counts
from warehouse.catalog import reading

DEFINITION = """
name: letters
title: Letters
agency: dkis
contact: {unit: X, email: x@y.example}
streams:
  - name: letter
    title: Letters
    connection: letters
    read: {reader: rest, path: /surat, changed: {since: sejak, until: sampai}}
    strategy: cursor
    cursor: {column: diubah, overlap_minutes: 60}
    key: [number]
    columns: {nomor: {name: number}, perihal: {name: subject}, diubah: {name: changed_at}}
"""
RULES = """
streams:
  letter:
    - rule: subject_missing
      expect_column_values_to_not_be_null: {column: subject}
      severity: critical
      reason: "x"
      origin: "x"
      plain: "x"
      remedy: "x"
"""


class Letters:
    """A register of letters that answers what changed, and a warehouse beside it."""

    def __init__(self, folder):
        (folder / "connectors" / "letters").mkdir(parents=True)
        (folder / "connectors" / "letters" / "source.yml").write_text(DEFINITION)
        (folder / "expectations").mkdir()
        (folder / "expectations" / "letters.yml").write_text(RULES)
        self.settings = Settings(
            home=folder / "var", connectors=folder / "connectors", retry_delay_seconds=0,
            expectations=folder / "expectations", retries=0,
        )  # fmt: skip
        self.source = load_sources(self.settings)["letters"]
        self.rows, self.sent, self.is_down, self.url = {}, [], False, ""
        prepare(self.settings, {"letters": self.source})

    def __call__(self, asked):
        if self.is_down:
            return Reply(b"", 503)
        low, high = asked.query.get("sejak", ""), asked.query.get("sampai", "9")
        chosen = [
            row for row in self.rows.values()
            if low <= (row["diubah"] or "") < high or len(asked.query) == 2
        ]  # fmt: skip
        page = int(asked.query["page"])
        rows = chosen[(page - 1) * 2 : page * 2]
        self.sent += [row["nomor"] for row in rows]
        return Reply(rows)

    def write(self, number, subject, at):
        self.rows[number] = {"nomor": number, "perihal": subject,
                             "diubah": at.isoformat(timespec="seconds")}  # fmt: skip

    def sync(self, **more):
        self.sent = []
        return counts(
            sync(self.settings, self.source, self.source.streams[0], lambda _: self.url, **more)
        )


@pytest.fixture
def letters(tmp_path):
    made = Letters(tmp_path)
    with serving(made) as made.url:
        yield made


def ago(**how):
    return datetime.now(UTC) - timedelta(**how)


def test_a_night_asks_only_for_what_changed_and_a_failed_one_leaves_no_gap(letters):
    for number in range(1, 6):
        letters.write(str(number), "x", ago(days=3))
    assert letters.sync() == {"extracted": 5, "inserted": 5}
    letters.write("2", "y", ago(seconds=5))
    letters.write("6", None, ago(seconds=5))
    assert letters.sync() == {"extracted": 2, "updated": 1, "quarantined": 1}
    assert letters.sent == ["2", "6"]

    letters.is_down = True
    with pytest.raises(SourceUnavailable):
        letters.sync()
    letters.is_down = False
    letters.write("7", "z", ago(minutes=50))
    assert letters.sync() == {"extracted": 3, "inserted": 1, "unchanged": 1, "quarantined": 1}
    assert gaps(letters.settings, {"letters": letters.source}) == []
    with reading(letters.settings) as connection:
        found = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE low_at IS NULL) FROM lake.ops.interval "
            "WHERE outcome = 'loaded'"
        ).fetchone()
    assert found == (3, 1)


def test_a_backfill_reads_one_stretch(letters):
    letters.write("1", "x", ago(days=3))
    letters.sync()
    letters.write("9", "late", datetime(2026, 3, 1, 12, tzinfo=UTC))
    letters.write("8", "other", datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert letters.sync() == {}
    stream = letters.source.streams[0]
    chosen = steps(letters.settings, letters.source, stream, datetime(2026, 3, 1),
                   datetime(2026, 3, 2), timedelta(days=1))  # fmt: skip

    def resolve(_):
        return letters.url

    assert estimate(letters.settings, letters.source, stream, resolve, chosen) == chosen
    letters.sent = []
    accounts = list(backfill(letters.settings, letters.source, stream, resolve, chosen))
    assert [counts(one) for one in accounts] == [{"extracted": 1, "inserted": 1}]
    assert letters.sent == ["9"]
    again = steps(letters.settings, letters.source, stream, datetime(2026, 3, 1),
                  datetime(2026, 3, 2), timedelta(days=1))  # fmt: skip
    assert [one.is_loaded for one in again] == [True]


def test_a_dry_run_says_that_a_service_cannot_count(letters, monkeypatch):
    letters.sync()
    for name in ("home", "connectors", "expectations"):
        monkeypatch.setenv(f"MUARA_{name.upper()}", str(getattr(letters.settings, name)))
    monkeypatch.setenv("AIRFLOW_CONN_LETTERS", letters.url)
    asked = ["backfill", "letters", "letter", "--from", "2026-03-01", "--to", "2026-03-03",
             "--dry-run"]  # fmt: skip
    told = CliRunner().invoke(app, asked)
    assert "2 steps, unknown rows, unknown seconds" in told.output
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert [one["rows"] for one in found] == [None, None]


def test_a_comparison_reads_all_and_finds_what_the_cursor_missed(letters):
    letters.write("1", "x", ago(days=3))
    letters.sync()
    letters.write("2", "behind", ago(days=9))
    letters.rows["3"] = {"nomor": "3", "perihal": "unstamped", "diubah": None}
    letters.sync()
    assert letters.sent == []
    letters.write("4", "now", ago(seconds=1))
    east = timezone(timedelta(hours=7))
    letters.write("5", "three hours ago, east of here", ago(hours=3).astimezone(east))
    found = reconcile(letters.settings, letters.source, letters.source.streams[0],
                      lambda _: letters.url)  # fmt: skip
    assert sorted((one.kind, one.is_explained) for one in found.differences) == [
        ("missing", False), ("missing", False), ("missing", False), ("missing", True),
    ]  # fmt: skip
    assert letters.sent == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("strategy: cursor\n", "strategy: snapshot\n", "`cursor`, and only with it"),
        ("changed: {since: sejak, until: sampai}", "parameters: {a: b}",
         "`changed` goes with strategy `cursor`"),
        ("until: sampai", "timezone: WIB", "no time zone is named WIB"),
        ("/surat,", "/surat, body: {a: 1},", "`body` goes with method POST"),
        ("strategy: cursor\n", "strategy: checksum\n", "goes with reader `sql` only"),
    ],
)  # fmt: skip
def test_a_definition_that_cannot_be(letters, old, new, match):
    path = letters.settings.connectors / "letters" / "source.yml"
    path.write_text(DEFINITION.replace(old, new))
    with pytest.raises(DefinitionError, match=match):
        load_sources(letters.settings)

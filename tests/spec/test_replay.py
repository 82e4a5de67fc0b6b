"""What is held is judged again when a rule, a code, another table or a waiver changed."""

import json
from datetime import timedelta

import pytest

from common.errors import DefinitionError, Imbalance
from pipeline import replay as replays
from pipeline.replay import replay_due
from tests.judged import Judged
from tests.world import counts, monitor
from warehouse import quarantine, staging
from warehouse.catalog import changed_since, reading, set_up


@pytest.fixture
def cameras(tmp_path):
    return Judged(tmp_path)


def many(start=1, end=21, **changes):
    return [monitor(number, **changes) for number in range(start, end)]


def test_a_replay_of_what_did_not_change_writes_only_its_ledger_row(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak"), monitor(31, owner="pemilik_x"))
    cameras.sync()
    assert not cameras.is_due
    ((snapshot,),) = cameras.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    account = cameras.replay()
    assert counts(account) == {"extracted": 22, "unchanged": 21, "quarantined": 1, "flagged": 1}
    assert account.strategy == "replay"
    with reading(cameras.settings) as connection:
        assert changed_since(connection, snapshot) == {"ops.ledger"}
    assert cameras.entries() == [(["function_unknown"], "open")]


def test_a_code_that_became_known_lets_its_rows_in(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak", name="Baru"))
    cameras.sync()
    cameras.next_night()
    cameras.define(Function={"values": {"Monitor": "live", "Rusak": "broken"}})
    assert cameras.is_due
    account = cameras.replay()
    assert counts(account) == {"extracted": 21, "inserted": 1, "unchanged": 20}
    assert (30, "Baru", []) in cameras.core()
    assert cameras.entries("state, closed_batch_id, closed_night") == [
        ("replayed", account.batch_id, cameras.settings.today)
    ]
    landed = "SELECT _row, _origin FROM lake.landing.cctv__monitor WHERE camera_number = '30'"
    assert cameras.rows(landed) == [(21, None)], "with the place it first came with"
    assert not cameras.is_due
    assert cameras.rebuild_differences() == {}
    assert counts(cameras.sync()) == {"extracted": 21, "unchanged": 21}


def test_a_rule_that_came_holds_landed_rows_and_lets_them_go_when_it_goes(cameras):
    cameras.hold(*many(), monitor(30, name="Pasar"))
    cameras.sync()
    cameras.rule("no_markets", "camera_name <> 'Pasar'")
    assert cameras.is_due
    cameras.next_night()
    assert counts(cameras.replay()) == {"extracted": 21, "unchanged": 20, "quarantined": 1}
    assert (30, "Pasar", ["held_in_quarantine"]) in cameras.core()
    assert counts(cameras.replay()) == {"extracted": 21, "unchanged": 20, "quarantined": 1}
    assert cameras.entries("rules, row_number, state") == [(["no_markets"], 21, "open")]
    cameras.rule("no_markets", None)
    cameras.next_night()
    assert counts(cameras.replay()) == {"extracted": 21, "updated": 1, "unchanged": 20}
    assert (30, "Pasar", []) in cameras.core()
    assert cameras.entries() == [(["no_markets"], "replayed")]
    assert cameras.rebuild_differences() == {}


def test_a_rule_in_other_words_is_the_same_rule(cameras):
    cameras.hold(*many())
    cameras.sync()
    path = cameras.settings.expectations / "cctv.yml"
    path.write_text(path.read_text().replace("swapped, or zero", "swapped"))
    assert not cameras.is_due


def test_another_verdict_on_a_broken_row_supersedes_its_entry(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak", name="Pasar"))
    cameras.sync()
    cameras.rule("no_markets", "camera_name <> 'Pasar'")
    cameras.replay()
    assert cameras.entries() == [
        (["function_unknown"], "superseded"),
        (["function_unknown", "no_markets"], "open"),
    ]


def test_how_a_sync_closes_entries(cameras):
    cameras.hold(*many(), *(monitor(number, function="Rusak") for number in range(30, 34)))
    cameras.sync()
    cameras.hold(*many(), monitor(30), monitor(31, function="Rusak", name="Baru"),
                 monitor(33, function="Rusak"))  # fmt: skip
    cameras.next_night()
    assert counts(cameras.sync()) == {
        "extracted": 23, "inserted": 1, "unchanged": 20, "quarantined": 2,
    }  # fmt: skip
    states = cameras.entries("json_extract_string(row_as_sent, '$.camera_number'), state")
    assert sorted(states) == [
        ("30", "fixed_at_source"), ("31", "open"), ("31", "superseded"), ("32", "withdrawn"),
        ("33", "open"),
    ]  # fmt: skip
    cameras.define(Function={"values": {"Monitor": "live", "Rusak": "broken"}})
    assert counts(cameras.sync())["inserted"] == 2
    assert sorted(state for (state,) in cameras.entries("state")) == [
        "fixed_at_source", "replayed", "replayed", "superseded", "withdrawn",
    ]  # fmt: skip


def test_another_stream_that_changed_lets_rows_be_judged_again(cameras):
    status = cameras.source.stream("monitor_status")
    cameras.rule("camera_unknown", "camera_number IN (SELECT TRY_CAST(camera_number AS BIGINT) "
                 "FROM current_monitor)", stream="monitor_status")  # fmt: skip
    cameras.stream, inventory = status, cameras.stream
    cameras.execute("INSERT INTO Monitor_Status VALUES (1, 'Running', 1, 1, 1, '2026-11-23')")
    assert counts(cameras.sync()) == {"extracted": 1, "quarantined": 1}
    assert not cameras.is_due
    cameras.stream = inventory
    cameras.hold(*many())
    cameras.sync()
    cameras.stream = status
    accounts, failures = replay_due(cameras.settings, cameras.source)
    assert [(one.stream, counts(one)) for one in accounts] == [
        ("monitor_status", {"extracted": 1, "inserted": 1})
    ]
    assert failures == []
    assert replay_due(cameras.settings, cameras.source) == ([], [])
    assert cameras.rows("SELECT state FROM lake.quarantine.row") == [("replayed",)]


def test_a_cursor_or_checksum_that_reads_little_is_judged_again_whole(tmp_path):
    cameras = Judged(tmp_path, "checksum")
    cameras.hold(*many(1, 201), monitor(300, function="Rusak"))
    cameras.sync()
    cameras.rule("no_markets", "camera_name <> 'Pasar'")
    cameras.rule("even", "camera_number % 2 = 0", "warning")
    cameras.next_night()
    cameras.hold(*many(1, 201), monitor(300, function="Rusak"), monitor(301, name="Pasar"))
    assert counts(cameras.sync())["extracted"] < 20
    assert cameras.is_due, "most rows are as the old rules left them"
    account = cameras.replay()
    assert account.extracted == 202
    assert account.quarantined == 2
    assert cameras.rows("SELECT count(*) FROM lake.core.camera WHERE valid_to IS NULL "
                        "AND flags = ['even']") == [(100,)]  # fmt: skip
    assert not cameras.is_due
    assert cameras.rebuild_differences() == {}


def between(monkeypatch, what):
    """Run `what` between the replay's reading and its writing."""
    original = replays.FromWarehouse.bring

    def bring(self, area):
        original(self, area)
        what()

    monkeypatch.setattr(replays.FromWarehouse, "bring", bring)


def test_what_a_sync_brought_meanwhile_is_never_overwritten(cameras, monkeypatch):
    cameras.hold(*many(), *(monitor(number, function="Rusak") for number in (30, 31, 32, 33)),
                 monitor(40, name="Lama"), monitor(41))  # fmt: skip
    cameras.sync()
    cameras.next_night()

    def meanwhile():
        cameras.hold(*many(), monitor(30, name="Baru"), monitor(32, function="Rusak", name="Lain"),
                     monitor(33, function="Rusak"), monitor(40, name="Baru"))  # fmt: skip
        cameras.sync(accept_deletions=True)
        cameras.define(Function={"values": {"Monitor": "live", "Rusak": "broken"}})

    between(monkeypatch, meanwhile)
    account = cameras.replay()
    assert counts(account) == {
        "extracted": 26, "unchanged": 20, "quarantined": 1, "excluded": 5,
    }  # fmt: skip
    assert account.excluded_reasons == {"superseded": 5}
    names = {number: name for number, name, _ in cameras.core() if number >= 30}
    assert names == {30: "Baru", 40: "Baru"}
    monkeypatch.undo()
    assert counts(cameras.replay()) == {"extracted": 24, "inserted": 2, "unchanged": 22}
    names = {number: name for number, name, _ in cameras.core() if number >= 30}
    assert names == {30: "Baru", 32: "Lain", 33: "Simpang", 40: "Baru"}
    assert cameras.rebuild_differences() == {}


def test_an_entry_whose_key_became_readable_does_not_overwrite_newer_data(cameras):
    """Its record was unknown while the key was; newer rows of that record landed since."""
    cameras.hold(*many(), monitor(None, name="Lama"))
    cameras.sync()
    cameras.hold(*many(), monitor(30, name="Baru"))
    cameras.next_night()
    cameras.sync()
    cameras.execute_lake(
        "UPDATE lake.quarantine.row SET state = 'open', closed_batch_id = NULL, "
        'row_as_sent = replace(row_as_sent, \'"camera_number":null\', \'"camera_number":"30"\')'
    )
    assert counts(cameras.replay()) == {"extracted": 22, "unchanged": 21, "excluded": 1}
    assert cameras.entries("state") == [("superseded",)]
    assert (30, "Baru", []) in cameras.core()


def test_a_definition_that_gained_or_renamed_a_column_still_replays(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak", name="Pasar"))
    cameras.sync()
    columns = {**cameras.stream.columns}
    columns["Host"] = columns["Name"].model_copy(update={"name": "host", "required": False})
    cameras.stream = cameras.stream.model_copy(update={"columns": columns})
    cameras.define(Function={"values": {"Monitor": "live", "Rusak": "broken"}})
    set_up(cameras.settings, cameras.sources)
    cameras.next_night()
    assert counts(cameras.replay()) == {"extracted": 1, "inserted": 1}, "landed rows lack a column"
    assert cameras.entries("state") == [("replayed",)]
    assert counts(cameras.sync()) == {"extracted": 21, "updated": 21}


def test_a_replay_that_loses_a_row_is_refused(cameras, monkeypatch):
    cameras.hold(*many(), monitor(30, function="Rusak"))
    cameras.sync()

    def bring(self, area):
        self.extracted = staging.stage_own(area) + 1

    monkeypatch.setattr(replays.FromWarehouse, "bring", bring)
    with pytest.raises(Imbalance, match="the reader counted 22 rows, 21 were staged"):
        cameras.replay()
    newest = "SELECT strategy, outcome FROM lake.ops.ledger ORDER BY batch_id DESC LIMIT 1"
    assert cameras.rows(newest) == [("replay", "stopped")]


def waive(cameras, number=0, days=2):
    entry = cameras.entries("CAST(quarantine_id AS VARCHAR)")[number][0]
    today = cameras.settings.today
    quarantine.waive(cameras.settings, entry, by="Kepala bidang", why="diperiksa di lapangan",
                     until=today + timedelta(days=days), night=today)  # fmt: skip
    return entry


@pytest.mark.parametrize("way", ["sync", "replay"])
def test_a_waived_row_loads_flagged_until_the_date_has_passed(cameras, way):
    cameras.hold(*many(), monitor(30, function="Rusak", owner="pemilik_x"))
    cameras.sync()
    waive(cameras)
    assert cameras.is_due
    loaded = getattr(cameras, way)()
    assert counts(loaded) == {"extracted": 21, "inserted": 1, "unchanged": 20, "flagged": 1}
    assert cameras.core()[-1] == (30, "Simpang", ["function_unknown", "owner_unknown", "waived"])
    assert cameras.entries("state, closed_batch_id") == [("waived", loaded.batch_id)]
    assert not cameras.is_due
    for _ in range(2):
        cameras.next_night()
        assert not cameras.is_due
    assert counts(getattr(cameras, way)())["unchanged"] == 21
    cameras.next_night()
    assert cameras.is_due
    assert counts(getattr(cameras, way)()) == {"extracted": 21, "unchanged": 20, "quarantined": 1}
    assert cameras.core()[-1][2][-1] == "held_in_quarantine"
    assert cameras.entries() == [(["function_unknown"], "waived"), (["function_unknown"], "open")]
    assert cameras.rebuild_differences() == {}


def test_a_waiver_holds_for_that_version_and_those_rules_only(cameras):
    cameras.hold(
        *many(), monitor(30, function="Rusak"), monitor(31, function="Rusak", name="Pasar")
    )
    cameras.sync()
    waive(cameras, 0)
    waive(cameras, 1)
    cameras.hold(*many(), monitor(30, function="Rusak", name="Baru"),
                 monitor(31, function="Rusak", name="Pasar"))  # fmt: skip
    cameras.rule("no_markets", "camera_name <> 'Pasar'")
    assert counts(cameras.sync()) == {"extracted": 22, "unchanged": 20, "quarantined": 2}


def test_a_waiver_can_be_taken_back(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak"))
    cameras.sync()
    entry = waive(cameras)
    cameras.replay()
    with pytest.raises(DefinitionError, match=r"it is closed \(waived\)"):
        waive(cameras)
    quarantine.undo_waiver(cameras.settings, entry, night=cameras.settings.today)
    assert cameras.is_due
    assert counts(cameras.replay())["quarantined"] == 1
    with pytest.raises(DefinitionError, match="no waiver is in force"):
        quarantine.undo_waiver(cameras.settings, entry, night=cameras.settings.today)


def test_what_cannot_be_waived(cameras):
    cameras.hold(*many(), monitor(None))
    cameras.sync()
    with pytest.raises(DefinitionError, match="key_missing cannot be waived"):
        waive(cameras)
    cameras.hold(*many(), monitor(30, function="Rusak"))
    cameras.sync()
    with pytest.raises(DefinitionError, match="has passed"):
        waive(cameras, 1, days=-1)
    waive(cameras, 1)
    with pytest.raises(DefinitionError, match="waived already"):
        waive(cameras, 1)


def test_an_entry_tells_everything_but_values(cameras):
    cameras.hold(*many(), monitor(30, function="Rusak", name="Rahasia"))
    cameras.sync()
    cameras.next_night()
    cameras.sync()
    entry = waive(cameras)
    with reading(cameras.settings) as connection:
        found = quarantine.entry_of(connection, entry)
        sent = quarantine.values_of(connection, entry)
        (count,) = quarantine.counts(connection, "cctv")
    assert (found.rules, found.state, found.row_number) == (["function_unknown"], "open", 21)
    assert found.last_seen - found.first_night == timedelta(days=1)
    assert found.waivers[0].waived_by == "Kepala bidang"
    assert "Rahasia" not in json.dumps(vars(found), default=str)
    assert sent["camera_name"] == "Rahasia"
    assert (count.rule, count.state, count.entries) == ("function_unknown", "open", 1)

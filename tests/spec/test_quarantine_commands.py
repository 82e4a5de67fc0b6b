"""`muara quarantine` and `muara replay`: what an engineer types, and that values stay hidden."""

import json

import pytest

from muara.cli import quarantine as commands
from tests.archive import command_line
from tests.judged import Judged
from tests.world import monitor


@pytest.fixture
def cameras(tmp_path):
    cameras = Judged(tmp_path)
    cameras.hold(monitor(1), monitor(2, function="Rusak", name="Rahasia"))
    cameras.sync()
    return cameras


@pytest.fixture
def muara(cameras, monkeypatch, capsys):
    return command_line(cameras, monkeypatch, capsys)


def test_from_the_list_to_a_waiver_and_back(cameras, muara):
    code, told = muara("quarantine", "--json")
    assert code == 0
    assert [one["entries"] for one in json.loads(told)["counts"]] == [1]
    code, told = muara("quarantine", "cctv", "monitor", "--json")
    (entry,) = (one["quarantine_id"] for one in json.loads(told)["entries"])
    code, told = muara("quarantine", "cctv", "monitor")
    assert "function_unknown" in told
    assert entry in told
    decision = ("--by", "Dishub", "--why", "benar rusak", "--until", "2026-12-31")
    code, told = muara("quarantine", "waive", entry, *decision)
    assert (code, "by Dishub until 2026-12-31: benar rusak" in told) == (0, True)
    code, told = muara("replay", "cctv", "monitor", "--json")
    assert (code, json.loads(told)[0]["inserted"]) == (0, 1)
    assert muara("quarantine", "undo", entry)[0] == 0
    code, told = muara("replay", "cctv")
    assert code == 0
    assert "cctv.monitor" in told
    code, told = muara("quarantine", "--entry", entry)
    assert "taken back 2026-11-23" in told
    assert "Rahasia" not in told
    assert cameras.core()[1] == (2, "Rahasia", ["function_unknown", "waived", "held_in_quarantine"])


def test_values_are_for_a_terminal_only(cameras, muara, monkeypatch):
    (entry,) = (one for (one,) in cameras.entries("CAST(quarantine_id AS VARCHAR)"))
    show = ("quarantine", "--entry", entry, "--show-values")
    for refused in (show, (*show, "--json"), ("quarantine", "cctv", "--show-values")):
        code, told = muara(*refused)
        assert (code, "Rahasia" in told) == (3, False)
    monkeypatch.setattr(commands.sys.stdout, "isatty", lambda: True, raising=False)
    code, told = muara(*show)
    assert (code, "Rahasia" in told) == (0, True)
    log = (cameras.settings.home / "logs" / "muara.log").read_text()
    assert "Rahasia" not in log


def test_what_does_not_exist_is_said(muara):
    code, told = muara("quarantine", "--entry", "no-id")
    assert (code, "no entry of quarantine has this id" in told) == (3, True)
    assert muara("quarantine", "cctv", "roof")[0] == 3
    assert muara("replay", "cctv", "roof")[0] == 3

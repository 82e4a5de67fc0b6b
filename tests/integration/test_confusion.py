"""The confusion table: every rule against the truth of several cities."""

import os

import pytest

import city
from common.settings import ROOT
from expectations.suite import load_rules
from pipeline.sync import prepare, sync
from tests.confusion import confusion, declared, page
from tests.integration.conftest import Town
from tests.truth import verdicts

PAGE = ROOT / "docs" / "reference" / "confusion.md"


def assert_rules_are_right(lines):
    critical = [line for line in lines if line.severity == "critical"]
    assert [(line.stream, line.rule) for line in critical if line.found < line.planted] == []
    assert [(line.stream, line.rule) for line in lines if line.sound] == []
    assert all(line.planted for line in lines)


def test_critical_rules_find_every_planted_fault_and_reject_no_sound_row(first_night):
    lines = confusion(first_night.settings, first_night.sources)
    assert_rules_are_right(lines)
    text = page(lines, "a city of 5,000 residents, seed 1")
    if os.environ.get("MUARA_WRITE_GOLDEN") == "1":
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.soak)
                                       for seed in (3, 4, 5))])  # fmt: skip
def test_rules_are_right_in_other_cities(seed, tmp_path):
    city.build(tmp_path / "var" / "city", 2000, seed)
    town = Town(tmp_path / "var")
    prepare(town.settings, town.sources)
    with town.resolver() as resolve:
        for source in town.sources.values():
            for stream in source.streams:
                sync(town.settings, source, stream, resolve)
    assert_rules_are_right(confusion(town.settings, town.sources))


def test_every_rule_and_every_fault_has_its_place_in_the_table(small_city):
    sorted_out = declared()
    rules = {
        f"{source.name}.{name}.{rule.rule}"
        for source in small_city.sources.values()
        for name, rules in load_rules(small_city.settings, source).items()
        for rule in rules
        if rule.origin != "source.yml"
    }
    named = {f"{stream}.{rule}" for stream, some in sorted_out["rules"].items() for rule in some}
    assert rules - named == set(sorted_out["unplanted"])
    faults = {
        fault for some in sorted_out["rules"].values() for them in some.values() for fault in them
    }
    by_verdict = verdicts()
    assert faults == {fault for fault, what in by_verdict.items() if what in ("reject", "flag")}
    undecidable = {fault for fault, what in by_verdict.items() if what == "undecidable"}
    assert set(sorted_out["undecidable"]) == undecidable

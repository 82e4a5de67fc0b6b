"""What a stream's past suggests, on a very small world."""

import pytest
import yaml

from common.errors import DefinitionError
from expectations.suite import Rules
from pipeline.suggestion import suggest
from tests.world import Cameras, monitor


def night_of(cameras: Cameras, count: int) -> None:
    owners = ("dkis", "dishub")
    cameras.hold(
        *(
            monitor(number, f"Simpang {number % 7}", latitude=-6.72 - number / 10_000,
                    owner=owners[number % 2])
            for number in range(count)
        )
    )  # fmt: skip
    cameras.sync()
    cameras.next_night()


def suggested(cameras: Cameras) -> dict[str, dict]:
    found = suggest(cameras.settings, cameras.source, cameras.stream)
    text = found.as_yaml("monitor")
    Rules.model_validate(yaml.safe_load(text))
    (entries,) = yaml.safe_load(text)["streams"].values()
    return {entry["rule"]: entry for entry in entries}


def test_three_nights_suggest_ranges_shapes_and_what_is_never_empty(tmp_path):
    cameras = Cameras(tmp_path)
    for count in (100, 104, 102):
        night_of(cameras, count)
    rules = suggested(cameras)
    assert rules["row_count_unusual"]["expect_table_row_count_to_be_between"] == {
        "min_value": 90, "max_value": 115,
    }  # fmt: skip
    reason = rules["row_count_unusual"]["reason"]
    assert reason.startswith("seen in 3 night(s), 104 row versions; rows by weekday:")
    assert "Tuesday 104 to 104" in reason
    assert rules["latitude_unusual"]["expect_column_values_to_be_between"] == {
        "column": "latitude", "min_value": -6.8, "max_value": -6.7,
    }  # fmt: skip
    shape = rules["camera_name_malformed"]["expect_column_values_to_match_regex"]
    assert shape == {"column": "camera_name", "regex": r"^([A-Z][a-z]{6}\ [0-9])$"}
    assert rules["installed_date_too_early"]["expect_rows_to_satisfy"] == {
        "condition": "installed_date >= DATE '2020-01-01'"
    }
    assert {entry["severity"] for entry in rules.values()} == {"info"}


def test_values_are_told_only_of_short_codes_that_many_rows_share(tmp_path):
    cameras = Cameras(tmp_path)
    night_of(cameras, 100)
    told = [
        name
        for name, entry in suggested(cameras).items()
        if "expect_column_values_to_be_in_set" in entry
    ]
    assert told == []  # `dishub` is longer than a code
    assert "Simpang" not in str(suggested(cameras))


def test_a_suggestion_that_is_taken_is_not_made_again(tmp_path):
    cameras = Cameras(tmp_path)
    night_of(cameras, 100)
    before = suggested(cameras)
    known = yaml.safe_load((cameras.settings.expectations / "cctv.yml").read_text())
    known["streams"]["monitor"].append(before["latitude_unusual"])
    mine = tmp_path / "expectations"
    mine.mkdir()
    (mine / "cctv.yml").write_text(yaml.safe_dump(known))
    cameras.settings.expectations = mine
    assert set(before) - set(suggested(cameras)) == {"latitude_unusual"}


def test_without_a_past_there_is_nothing_to_suggest(tmp_path):
    with pytest.raises(DefinitionError, match="nothing was loaded yet"):
        suggested(Cameras(tmp_path))

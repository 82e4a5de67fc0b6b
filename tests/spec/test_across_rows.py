"""A rule across rows when only what changed is read: rows that were not read again are known."""

import pytest
import yaml

from tests.world import Cameras, counts, monitor

RULE = {
    "rule": "name_shared",
    "expect_rows_to_satisfy": {
        "condition": "camera_name NOT IN (SELECT camera_name FROM known GROUP BY ALL "
        "HAVING count(*) > 1)"
    },
    "implicates": {"among": ["camera_name"], "spare": "first", "by": "installed_date"},
    "severity": "critical",
    "reason": "a name is given to one camera",
    "origin": "this test",
    "plain": "Nama dipakai dua kali",
    "remedy": "Beri nama lain",
}


def camera(number, name=None, installed="2024-01-02", **changes):
    return (*monitor(number, name=name or f"Simpang {number}", **changes)[:-1], installed)


def many(start=1, end=401):
    return [camera(number) for number in range(start, end)]


@pytest.fixture(params=["checksum", "snapshot"])
def cameras(request, tmp_path):
    cameras = Cameras(tmp_path, strategy=request.param)
    (tmp_path / "expectations").mkdir()
    (tmp_path / "expectations" / "cctv.yml").write_text(
        yaml.safe_dump({"streams": {"monitor": [RULE]}})
    )
    cameras.settings.expectations = tmp_path / "expectations"
    cameras.hold(*many())
    cameras.sync()
    cameras.next_night()
    return cameras


def rejected(cameras):
    return [number for (number,) in cameras.rows(
        "SELECT json_extract_string(row_as_sent, '$.camera_number') FROM lake.quarantine.row "
        "WHERE state = 'open' ORDER BY 1"
    )]  # fmt: skip


def test_who_came_later_is_rejected_though_the_first_is_not_read_again(cameras):
    cameras.hold(*many(), camera(500, "Simpang 1", "2025-01-01"))
    assert counts(cameras.sync())["quarantined"] == 1
    assert rejected(cameras) == ["500"]


def test_the_first_stays_when_it_is_read_again_and_the_later_one_is_not(cameras):
    later = camera(500, "Simpang 1", "2025-01-01")
    cameras.hold(*many(), later)
    cameras.sync()
    cameras.next_night()
    cameras.hold(camera(1, latitude=-6.73), *many(2), later)
    assert counts(cameras.sync())["updated"] == 1
    assert rejected(cameras) == ["500"]


def test_who_takes_the_name_of_a_camera_that_is_gone_is_sound(cameras):
    cameras.hold(*many(2), camera(500, "Simpang 1", "2025-01-01"))
    assert counts(cameras.sync())["inserted"] == 1
    assert rejected(cameras) == []

"""Random nights: whatever rows come, turn bad, are mended or vanish, the law holds and core is a
function of landing."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import Cameras, counts, monitor

row = st.builds(
    monitor,
    st.one_of(st.integers(1, 6), st.none()),
    name=st.sampled_from(["Simpang", "Alun-alun", "'; DROP TABLE x", "nama\u00a0aneh", None]),
    function=st.sampled_from(["Monitor", "Modect", "Rusak", None]),
    latitude=st.sampled_from([-6.72, 108.55, 0, None]),
    owner=st.sampled_from(["dishub", "pemilik_x"]),
)
nights = st.lists(st.lists(row, max_size=8), min_size=2, max_size=4)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(nights)
def test_random_nights_keep_the_law(nights):
    with tempfile.TemporaryDirectory() as folder:
        cameras = Cameras(Path(folder))
        for rows in nights:
            cameras.hold(*rows)
            account = cameras.sync(accept_deletions=True)
            assert account.extracted == len(rows) == account.homes
            again = counts(cameras.sync(accept_deletions=True))
            assert not {"inserted", "updated", "deleted"} & set(again), "the same again is quiet"
            cameras.next_night()
        assert cameras.rebuild_differences() == {}
        keys = [number for number, _, _ in cameras.core()]
        assert len(keys) == len(set(keys))

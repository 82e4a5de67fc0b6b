"""The whole sample city compared with its warehouse: dirt is explained, nothing is unexplained."""

from pipeline.reconcile import reconcile


def compare(town):
    with town.resolver() as resolve:
        return {
            f"{source.name}.{stream.name}": reconcile(town.settings, source, stream, resolve)
            for source in town.sources.values()
            for stream in source.streams
        }


def test_a_night_and_the_day_after(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    for name, report in compare(town).items():
        assert report.outcome.unexplained_kinds == {}, name
        assert report.differences == [], name
    town.tomorrow()
    reports = compare(town)
    for name, report in reports.items():
        print(name, report.outcome)
    assert {k: r.outcome.unexplained_kinds for k,r in reports.items() if r.outcome.unexplained} == {}

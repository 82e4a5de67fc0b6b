"""The whole sample city compared with its warehouse: dirt, change and erasure are explained."""

from pipeline.erasure import erase
from pipeline.reconcile import reconcile
from warehouse.catalog import reading

SINCE = {"changed_since", "new_since", "deleted_since"}
STANDING = {"in_quarantine", "exact_duplicate"}


def compare(town):
    """Stream → reasons of what differs, after every stream was compared."""
    with town.resolver() as resolve:
        reports = {
            f"{source.name}.{stream.name}": reconcile(town.settings, source, stream, resolve)
            for source in town.sources.values()
            for stream in source.streams
        }
    assert {name for name, one in reports.items() if one.outcome.unexplained} == set()
    return reports


def reasons(reports):
    return {reason for one in reports.values() for reason in one.outcome.explained}


def test_a_night_an_erasure_and_the_day_after(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    reports = compare(town)
    assert reasons(reports) == STANDING
    assert [one for report in reports.values() for one in report.differences] == []

    erase(town.settings, town.sources, [mother(town)], reference="470/1")
    town.tomorrow()
    reports = compare(town)
    assert reasons(reports) == STANDING | SINCE | {"erased_on_request"}
    assert reports["civil_registry.resident"].outcome.explained["erased_on_request"] == 1
    keys = {name: {one.key for one in report.differences} for name, report in reports.items()}
    assert keys["civil_registry.resident"] == {None}, "a NIK is never shown"


def mother(town):
    """The record of somebody whom other rows name, and a family as its head."""
    with reading(town.settings) as connection:
        return connection.execute(
            "SELECT CAST(min(_record_id) AS VARCHAR) FROM lake.landing.civil_registry__resident "
            "WHERE family_role_code = '1' "
            "AND nik IN (SELECT mother_nik FROM lake.landing.civil_registry__resident)"
        ).fetchone()[0]

"""Data Docs after a night: every table is told of, no value of a person is in any byte."""

import re

from pipeline.data_docs import write_data_docs
from pipeline.night import checks
from warehouse.catalog import reading


def people(connection):
    """Every NIK of the registry, and 500 names long enough not to be ordinary words."""
    niks = connection.execute("SELECT DISTINCT nik FROM lake.core.person_identity").fetchall()
    names = connection.execute(
        "SELECT DISTINCT person_name FROM lake.core.person_identity "
        "WHERE length(person_name) >= 14 ORDER BY hash(person_name) LIMIT 500"
    ).fetchall()
    return {nik for (nik,) in niks}, [name for (name,) in names]


def pages(town):
    return sorted((town.home / "data_docs" / "current").iterdir())


def test_every_stream_and_core_table_has_its_page(first_night):
    names = {page.stem for page in pages(first_night)}
    streams = {f"{source.name}.{stream.name}" for source in first_night.sources.values()
               for stream in source.streams}  # fmt: skip
    assert streams | {"index", "core.person", "core.proposal"} <= names
    resident = (first_night.home / "data_docs/current/civil_registry.resident.html").read_text()
    assert "nik_malformed (critical): a NIK has 16 digits" in resident


def test_nobody_is_in_the_data_docs_and_nothing_is_fetched_from_elsewhere(first_night):
    with reading(first_night.settings) as connection:
        niks, names = people(connection)
        values = connection.execute(
            "SELECT DISTINCT v FROM (SELECT unnest(json_extract_string(row_as_sent, '$.*')) AS v "
            "FROM lake.quarantine.row) WHERE length(v) > 12 AND v SIMILAR TO '.*[A-Z0-9].*'"
        ).fetchall()
    assert len(niks) > 4900
    assert (len(names), len(values) > 300) == (500, True)
    for page in pages(first_night):
        content = page.read_text()
        assert not set(re.findall(r"(?<!\d)\d{15,16}(?!\d)", content)) & niks, page.name
        assert [name for name in (*names, *(value for (value,) in values)) if name in content] == []
        assert not re.search(r'\b(?:src|href)="https?:', content), page.name


def test_a_value_in_the_data_docs_fails_the_night(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    with reading(town.settings) as connection:
        niks, _ = people(connection)
    (town.home / "data_docs" / "current" / "index.html").write_text(f"<p>{min(niks)}</p>")
    (leak,) = [one for one in checks(town.settings, town.sources, 0)
               if one.name == "no person in logs or metadata"]  # fmt: skip
    assert not leak.holds
    assert "data_docs" in leak.detail


def test_the_pages_are_swapped_in_whole(first_night, tmp_path):
    town = first_night.copy(tmp_path / "var")
    (town.home / "data_docs" / "current" / "leftover.html").write_text("")
    count = write_data_docs(town.settings)
    assert len(pages(town)) == count + 2
    assert len(list((town.home / "data_docs").glob("[!.]*"))) == 2


def test_core_keeps_its_own_rules_until_it_does_not(first_night, tmp_path):
    from pipeline.core_rules import judge_core
    from warehouse.catalog import attach, open_duckdb

    town = first_night.copy(tmp_path / "var")
    with open_duckdb(town.settings) as connection:
        attach(connection, town.settings)
        connection.execute(
            "UPDATE lake.core.person SET status = 'ghost' WHERE source_record_id = "
            "(SELECT min(source_record_id) FROM lake.core.person WHERE valid_to IS NULL)"
        )
    judge_core(town.settings)
    (told,) = [one for one in checks(town.settings, town.sources, 0)
               if one.name == "core keeps its own rules"]  # fmt: skip
    assert (told.holds, told.detail) == (False, "core.person.status_unknown")

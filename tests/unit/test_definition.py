"""Definitions, rules and contracts are complete and agree with each other."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from common.definition import load_sources
from common.settings import ROOT, Settings
from expectations.suite import load_rules
from transforms.conform import conform_of, landing_only
from warehouse.shares import load_contracts
from warehouse.tables import Column, Table, tables

SETTINGS = Settings(home=Path("/nonexistent/muara"))
SOURCES = load_sources(SETTINGS)
STREAMS = [(source, stream) for source in SOURCES.values() for stream in source.streams]


@pytest.mark.parametrize(("source", "stream"), STREAMS, ids=lambda one: one.name)
def test_every_stream_has_rules_a_conform_and_a_reason_for_what_it_ignores(source, stream):
    assert load_rules(SETTINGS, source)[stream.name]
    assert conform_of(source, stream.name) is not landing_only
    assert all(len(reason) > 10 for reason in stream.ignore.values())


def test_every_rule_says_why_and_where_from():
    for source in SOURCES.values():
        for rules in load_rules(SETTINGS, source).values():
            assert len({rule.rule for rule in rules}) == len(rules)
            assert all(len(rule.reason) > 5 and rule.origin for rule in rules)


def test_every_owner_is_an_agency_of_the_profile():
    agencies = {
        line.split(",")[0]
        for line in (SETTINGS.profile / "agency.csv").read_text().splitlines()[1:]
    }
    assert {source.agency for source in SOURCES.values()} <= agencies
    assert {table.owner for table in tables().values()} <= agencies
    assert set(load_contracts(SETTINGS)) <= agencies


def test_every_column_is_described_in_both_languages():
    for table in tables().values():
        assert table.title_id
        assert table.definition
        for name, column in table.all_columns.items():
            assert column.en, f"{table.name}.{name}"
            assert column.id, f"{table.name}.{name}"


def test_direct_identifiers_stand_in_narrow_tables_only_and_never_leave_unasked():
    for table in tables().values():
        for name, column in table.columns.items():
            if column.disclosure == "direct":
                assert column.mask == "drop", f"{table.name}.{name}"
                assert table.identity or table.name == "quarantine.row", f"{table.name}.{name}"


def test_no_column_is_without_a_disclosure_class():
    with pytest.raises(ValidationError, match="disclosure"):
        Column(type="VARCHAR", en="Shoe size", id="Nomor sepatu")


def test_what_leaves_follows_from_the_class():
    for table in tables().values():
        for name, column in table.all_columns.items():
            if column.disclosure in ("direct", "specific"):
                assert column.mask == "drop", f"{table.name}.{name}"
            if column.disclosure == "moment":
                assert column.mask in ("month", "drop"), f"{table.name}.{name}"
            if column.disclosure == "surrogate":
                assert column.mask == "pseudonym", f"{table.name}.{name}"


def test_of_a_table_about_people_no_column_is_neutral_but_what_stays_inside():
    for table in tables().values():
        if table.is_about_people and table.keeps:
            neutral = {
                name
                for name, column in table.all_columns.items()
                if column.disclosure == "neutral" and column.mask != "drop"
            }
            assert neutral == set(), table.name


def test_a_published_table_says_of_every_column_when_it_is_kept():
    given = tables()["core.person"].model_dump()
    with pytest.raises(ValidationError, match=r"keeps differs in \['religion_code'\]"):
        Table.model_validate(
            {**given, "keeps": [one for one in given["keeps"] if one != "religion_code"]}
        )


def test_every_code_list_a_definition_names_is_packaged():
    from warehouse.reference import CODE_LISTS, REFERENCE

    named = {column.codes for _, stream in STREAMS for column in stream.columns.values()} - {None}
    assert named <= set(CODE_LISTS)
    for file in CODE_LISTS.values():
        assert (REFERENCE / "civil_registry_codes" / f"{file}.tsv").exists()


def test_no_contract_grants_what_it_may_not(tmp_path):
    from common.errors import DefinitionError

    text = (SETTINGS.contracts / "disdukcapil.odcs.yaml").read_text()
    (tmp_path / "disdukcapil.odcs.yaml").write_text(
        text.replace("        customProperties: [{property: grant, value: clear}]\n", "")
    )
    settings = Settings(home=tmp_path, contracts=tmp_path)
    with pytest.raises(DefinitionError, match="row_as_sent: personal, needs `grant: clear`"):
        load_contracts(settings)


TWICE = {
    "calendar.yml": "country: ID\ncountry: MY\n",
    "connectors/x/source.yml": "name: x\nname: y\n",
    "expectations/cctv.yml": "streams:\n  monitor: []\n  monitor: []\n",
}


@pytest.mark.parametrize("file", TWICE)
def test_a_key_that_stands_twice_is_a_fault_at_every_depth(tmp_path, file):
    from common.calendar import load_calendar
    from common.errors import DefinitionError

    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(TWICE[file])
    settings = Settings(home=tmp_path, profile=tmp_path, connectors=tmp_path / "connectors",
                        expectations=tmp_path / "expectations")  # fmt: skip
    read = {
        "calendar.yml": lambda: load_calendar(settings),
        "connectors/x/source.yml": lambda: load_sources(settings),
        "expectations/cctv.yml": lambda: load_rules(settings, SOURCES["cctv"]),
    }
    with pytest.raises(DefinitionError, match="stands twice"):
        read[file]()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("agency.csv", "agency_code,agency_nam,agency_name_short,kind,region_code\n", "columns"),
        ("region.csv", "kode_kemendagri\n", "columns"),
        ("same_report.csv", "days,common_words\n7,0.8,1\n", "line 2"),
        ("same_report.csv", "days,common_words,more\n7,0.8,1\n", "columns"),
        ("same_report.csv", None, "there is none"),
    ],
)
def test_the_profiles_lists_hold_what_they_must_and_nothing_else(tmp_path, file, text, said):
    import shutil

    from common.errors import DefinitionError
    from warehouse.reference import load_reference

    shutil.copytree(SETTINGS.profile, tmp_path / "profile")
    (tmp_path / "profile" / file).unlink()
    if text is not None:
        (tmp_path / "profile" / file).write_text(text)
    with pytest.raises(DefinitionError, match=said) as raised:
        load_reference(Settings(home=tmp_path / "var", profile=tmp_path / "profile"))
    assert file in str(raised.value)


def test_nothing_of_the_city_is_in_code():
    words = ("cirebon", "3274", "32.74")
    for folder in ("common", "connectors/readers", "transforms", "warehouse", "pipeline", "dags"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text().lower()
            assert not any(word in text for word in words if "profiles" not in text), path

"""A contract grants what it says and nothing else: what we do not hold to may not stand in it."""

import copy

import pytest
import yaml

from common.errors import DefinitionError
from common.settings import Settings
from pipeline import leave
from pipeline.doctor import contracts_check
from warehouse import shares
from warehouse.shares import load_contracts, read_contracts

SOUND = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "x",
    "version": "1.0.0",
    "status": "active",
    "description": {"purpose": "to plan with"},
    "customProperties": [
        {"property": "agency", "value": "bp4d"},
        {"property": "legalBasis", "value": "PKS 1"},
    ],
    "schema": [
        {
            "name": "usulan",
            "physicalName": "core.proposal",
            "physicalType": "table",
            "customProperties": [{"property": "rowFilter", "value": "state = 'sah'"}],
            "properties": [{"name": "source_record_id"}, {"name": "title"}],
        }
    ],
}


def settings_with(folder, **contracts):
    for agency, content in contracts.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / f"{agency}.odcs.yaml").write_text(text)
    return Settings(home=folder / "var", contracts=folder)


def changed(*path, to):
    """The sound contract with one place changed: a value set, or a key added."""
    made = copy.deepcopy(SOUND)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return made


def row_filter(value, **more):
    said = [{"property": "rowFilter", "value": value, **more}]
    return changed("schema", 0, "customProperties", to=said)


def test_a_sound_contract_grants_what_it_says(tmp_path):
    ((agency, contract),) = load_contracts(settings_with(tmp_path, bp4d=SOUND)).items()
    (dataset,) = contract.datasets
    assert (agency, dataset.name, dataset.row_filter) == ("bp4d", "usulan", "state = 'sah'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # Every depth: what is misspelt or not held to.
        (changed("rowFilter", to="state = 'sah'"), "`rowFilter` is not held to"),
        (changed("quality", to=[{"type": "sql"}]), "`quality`"),
        (changed("roles", to=[{"role": "baca"}]), "`roles`"),
        (changed("slaProperties", to=[{"property": "retention", "value": 1}]), "`slaProperties`"),
        (changed("description", "limitations", to="not for others"), "`limitations`"),
        (changed("schema", 0, "rowFilter", to="state = 'sah'"), "`rowFilter` is not held to"),
        (changed("schema", 0, "quality", to=[]), "`quality`"),
        (changed("schema", 0, "customProperty", to=[]), "is `customProperties` meant"),
        (changed("schema", 0, "properties", 0, "classification", to="secret"), "classification"),
        (changed("schema", 0, "properties", 0, "transformLogic", to="NULL"), "`transformLogic`"),
        (changed("schema", 0, "customProperties", to=[{"property": "rowfilter", "value": "x"}]),
         "is `rowFilter` meant"),
        (changed("schema", 0, "customProperties", to=[{"property": "filter", "value": "x"}]),
         "`filter`"),
        (changed("schema", 0, "customProperties", to=[{"property": "rowFilter", "valu": "x"}]),
         "is `value` meant"),
        (changed("schema", 0, "customProperties", to=[
            {"property": "rowFilter", "value": "state = 'sah'"},
            {"property": "rowFilter", "value": "state = 'usul'"}]), "stands twice"),
        (changed("customProperties", 1, to={"property": "legalbasis", "value": "PKS 1"}),
         "is `legalBasis` meant"),
        (changed("schema", 0, "properties", 1, "customProperties",
                 to=[{"property": "mask", "value": "year"}]), "`mask`"),
        (changed("schema", 0, "properties", 1, "customProperties",
                 to=[{"property": "grant", "value": "clean"}]), "grant"),
        # A key that stands twice: YAML would take the last.
        (yaml.safe_dump(SOUND) + "status: active\n", "stands twice"),
        # Row filters.
        (changed("schema", 0, "customProperties", to=[]), "says no rowFilter"),
        (row_filter(None), "rowFilter must be SQL"),
        (row_filter(""), "rowFilter must be SQL"),
        (row_filter(["state = 'sah'"]), "rowFilter must be SQL"),
        (row_filter("all"), "needs a `description`"),
        (row_filter("current", description=" "), "needs a `description`"),
        (row_filter("TRUE"), "asks for no column"),
        (row_filter("1 = 1"), "asks for no column"),
        (row_filter("NULL"), "is no condition"),
        (row_filter("NULL::BOOLEAN"), "asks for no column"),
        (row_filter("valid_to IS NULL OR TRUE"), "the same for every row"),
        (row_filter("statee = 'sah'"), "cannot be run on core.proposal (BinderException)"),
        (row_filter("state"), "is no condition: it gives VARCHAR"),
        (row_filter("state = 'sah') --"), "rowFilter is refused"),
        (row_filter("state = 'sah'; DROP TABLE x"), "rowFilter is refused"),
        (row_filter("state IN (SELECT x FROM read_csv('/etc/passwd'))"), "rowFilter is refused"),
        # What would be in two places, or in none.
        (changed("schema", to=SOUND["schema"] * 2), "two datasets are called usulan"),
        (changed("schema", 0, "properties", to=[{"name": "title"}] * 2), "are called title"),
        (changed("schema", 0, "properties", to=[]), "properties"),
        (changed("schema", 0, "name", to="../../x"), "name"),
        (changed("schema", to=[]), "schema"),
        (changed("status", to="live"), "status"),
        (changed("version", to=None), "version"),
        (changed("customProperties", 0, "value", to="dishub"), "equal the file's name"),
        ("", "the file"),
        ("[1, 2", "not readable as YAML"),
    ],
)  # fmt: skip
def test_what_a_contract_may_not_say(tmp_path, content, said):
    settings = settings_with(tmp_path, bp4d=content)
    assert read_contracts(settings).in_force == {}
    with pytest.raises(DefinitionError) as raised:
        load_contracts(settings)
    assert said in str(raised.value)
    assert "bp4d.odcs.yaml" in str(raised.value)


@pytest.mark.parametrize("name", ["bp4d.odcs.yml", "bp4d.yaml", "notes.txt"])
def test_no_file_of_the_folder_is_passed_over(tmp_path, name):
    (tmp_path / name).write_text(yaml.safe_dump(SOUND))
    assert list(read_contracts(Settings(home=tmp_path / "var", contracts=tmp_path)).faults) == [
        name
    ]


def test_a_folder_that_is_not_there_is_no_city_without_contracts(tmp_path):
    with pytest.raises(DefinitionError, match="MUARA_CONTRACTS"):
        read_contracts(Settings(home=tmp_path, contracts=tmp_path / "contract"))


@pytest.mark.parametrize(("value", "sql"), [("all", "TRUE"), ("current", "valid_to IS NULL")])
def test_every_row_is_granted_where_that_is_said_with_a_reason(tmp_path, value, sql):
    made = row_filter(value, description="a public list")
    contract = load_contracts(settings_with(tmp_path, bp4d=made))["bp4d"]
    assert contract.datasets[0].row_filter == sql


@pytest.mark.parametrize("status", ["proposed", "draft", "deprecated", "retired"])
def test_only_an_active_contract_is_in_force(tmp_path, status):
    contracts = read_contracts(settings_with(tmp_path, bp4d=changed("status", to=status)))
    assert (contracts.in_force, contracts.faults) == ({}, {})
    assert contracts.resting == {"bp4d.odcs.yaml": status}


def test_a_fault_stops_its_own_agency_only_and_is_named(tmp_path, monkeypatch):
    """In the night's delivery, in the night's checks and in the doctor's."""
    other = changed("customProperties", 0, "value", to="dishub")
    wrong = changed("schema", 0, "customProperties", 0, "property", to="rowfilter")
    settings = settings_with(tmp_path, bp4d=wrong, dishub=other)
    given = []

    def note(_, contract, __):
        given.append(contract.agency)
        return {}

    monkeypatch.setattr(shares, "deliver", note)
    with pytest.raises(DefinitionError, match=r"bp4d\.odcs\.yaml.*rowfilter"):
        leave.deliver(settings)
    assert given == ["dishub"]
    with pytest.raises(DefinitionError, match="rowfilter"):
        leave.deliver(settings, "bp4d")
    assert leave.deliver(settings, "dishub") == {"dishub": {}}
    check = contracts_check(settings)
    assert not check.holds
    assert "bp4d.odcs.yaml" in check.detail

"""Whose identifiers a row holds is declared, for every stream and table, and declared right."""

import pytest
from pydantic import ValidationError

from common.definition import load_sources
from common.people import Person, Speaking
from common.settings import Settings
from pipeline.lineage import undeclared
from warehouse.tables import tables

SOURCES = load_sources(Settings())


@pytest.mark.parametrize(
    ("source", "stream"), [(one, part) for one in SOURCES.values() for part in one.streams]
)
def test_every_identifier_that_core_takes_is_declared(source, stream):
    assert undeclared(source, stream) == []


def test_an_identifier_that_is_not_declared_is_found():
    source = SOURCES["brojol"]
    stream = source.stream("birth_report")
    people = {role: one for role, one in stream.speaks.people.items() if role != "reporter"}
    silent = stream.model_copy(
        update={"speaks": stream.speaks.model_copy(update={"people": people})}
    )
    assert undeclared(source, silent) == ["reporter_name", "reporter_nik", "reporter_phone"]
    everything = undeclared(source, stream.model_copy(update={"speaks": None}))
    assert set(everything) == stream.speaks.columns - {"birth_date"}


def test_a_table_that_does_not_say_whose_identifiers_it_holds_is_refused():
    table = tables()["core.report_identity"].model_dump()
    table["speaks"]["people"]["reporter"]["phone"] = ["reporter_phone"]
    with pytest.raises(ValidationError, match="sender_phone"):
        type(tables()["core.report_identity"]).model_validate(table)


def test_a_declaration_names_columns_that_are_there_and_no_part_of_the_key():
    speaks = Speaking(
        people={"sender": Person(phone="number", name="extra.name")}, texts=("number", "text")
    )
    assert list(speaks.faults({"number", "extra", "text"}, set())) == []
    assert list(speaks.faults({"number", "text"}, {"number"})) == [
        "speaks of people in no column of its own: extra",
        "a part of the key cannot be emptied: number",
    ]

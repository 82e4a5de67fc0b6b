"""SQL: where a table names one sought person, by what its definition says of people.

The sought person's values are lists in variables of the connection, `sought_<kind>`, each in the
spelling of SPELT. A role in a row is the person by the NIK or by a mention that is linked to them;
and, unless another whole NIK stands there, by an e-mail address, by a phone where no name stands,
or by a name together with a birth date, household or phone.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import duckdb

from common.people import SELF, Person, Speaking, column_of
from common.quoting import identifier, json_key, literal
from warehouse.tables import tables

WHOLE_NIK = "^[0-9]{16}$"
NEWBORN = "^(BAYI|BY) "
"""A newborn without a name is written by the mother's."""


def nik_of(text: str) -> str:
    return f"regexp_replace(translate(upper({text}), 'OIL', '011'), '[ .-]', '', 'g')"


def name_of(text: str) -> str:
    return f"trim(regexp_replace(upper(strip_accents({text})), '[^A-Z0-9]+', ' ', 'g'))"


def phone_of(text: str) -> str:
    """The subscriber's digits, without trunk and country code."""
    digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
    return f"regexp_replace({digits}, '^(00|0)?(62)?0*', '')"


def email_of(text: str) -> str:
    return f"lower(trim({text}))"


def born_of(text: str) -> str:
    other = f"TRY_CAST(try_strptime({text}, ['%d-%m-%Y', '%d/%m/%Y']) AS DATE)"
    return f"CAST(coalesce(TRY_CAST({text} AS DATE), {other}) AS VARCHAR)"


def household_of(text: str) -> str:
    return f"regexp_replace({text}, '[^0-9]', '', 'g')"


SPELT: dict[str, tuple[Callable[[str], str], str]] = {
    "nik": (nik_of, WHOLE_NIK),
    "name": (name_of, "[A-Z]{3}"),
    "phone": (phone_of, "^[0-9]{7,14}$"),
    "email": (email_of, "^[^@ ]+@[^@ ]+$"),
    "born": (born_of, "^(19|20)"),
    "household": (household_of, "^[1-9][0-9]{15}$"),
    "also": (lambda text: text, "^([^0-9]*[0-9]){10}"),
}
"""Kind → its spelling, and what a value must look like to tell anybody apart."""


@dataclass(frozen=True)
class Place:
    """A table, or rows in its shape, as `relation`; `record` is its column of surrogates and
    `columns` are its text columns, in order."""

    relation: str
    record: str
    columns: tuple[str, ...]
    speaks: Speaking

    @property
    def people(self) -> dict[str, Person]:
        """What it says of people in columns that it really has."""
        return {
            role: person.model_copy(
                update={kind: tuple(cell for cell in getattr(person, kind)
                                    if column_of(cell) in self.columns)
                        for kind in SPELT}
            )
            for role, person in self.speaks.people.items()
        }  # fmt: skip

    def matched(self, role: str) -> str:
        """Whether the person in this role is the sought one."""
        person = self.people[role]
        named = any_of(f"{cell_of(cell)} IS NOT NULL" for cell in person.name)
        name, phone, email = (_hit(person, kind) for kind in ("name", "phone", "email"))
        beside = any_of([_hit(person, "born"), _hit(person, "household"), phone])
        mentioned = (
            f"list_contains(getvariable('sought_mention'), "
            f"{literal(role)} || ':' || {identifier(self.record)})"
        )
        return (
            f"coalesce({_hit(person, 'nik')} OR {mentioned} OR (NOT {self.stranger(role)} AND "
            f"({email} OR ({phone} AND NOT {named}) OR ({name} AND {beside}))), false)"
        )

    def stranger(self, role: str) -> str:
        """Whether a whole NIK stands there that is another's."""
        return any_of(
            f"({has_whole_nik(cell)} AND NOT {_sought('nik', cell)})"
            for cell in self.people[role].nik
        )

    def goes(self) -> str:
        """Whether the row is the person's own and goes."""
        return self.matched(SELF) if SELF in self.people else "false"

    def is_of_the_person(self) -> str:
        """Whether any role is the sought person."""
        return any_of(self.matched(role) for role in self.people)

    def emptied_cells(self) -> dict[str, str]:
        """Cell → whether it is to be emptied."""
        when: dict[str, list[str]] = {}
        here = self.is_of_the_person()
        for role, person in self.people.items():
            matched = self.matched(role)
            for cell in person.emptied:
                when.setdefault(cell, []).append(matched)
            for kind in ("phone", "email"):
                for cell in getattr(person, kind):
                    when[cell].append(_sought(kind, cell))
            for cell in person.name:
                spelt = name_of(cell_of(cell))
                by_parent = (
                    f"(regexp_matches({spelt}, {literal(NEWBORN)}) AND len(list_filter(getvariable("
                    f"'sought_name'), lambda one: contains({spelt}, one))) > 0)"
                )
                when[cell].append(
                    f"({here} AND NOT {self.stranger(role)} AND "
                    f"({_sought('name', cell)} OR {by_parent}))"
                )
        for cell in self.speaks.texts:
            if cell in self.columns and self.people:
                when.setdefault(cell, []).append(here)
        return {cell: f"coalesce({any_of(conditions)}, false)" for cell, conditions in when.items()}


def cell_of(cell: str) -> str:
    """SQL: the text of a cell."""
    name, _, member = cell.partition(".")
    column = identifier(name)
    if not member:
        return f"{column}::VARCHAR"
    return f"CASE WHEN json_valid({column}) THEN {column} ->> {json_key(member)} END"


def has_whole_nik(cell: str) -> str:
    """SQL: whether a cell holds a number that may be somebody's."""
    return f"coalesce(regexp_matches({nik_of(cell_of(cell))}, {literal(WHOLE_NIK)}), false)"


def without(cells: dict[str, str]) -> dict[str, str]:
    """Cells to empty, each with its condition → SQL of the columns they stand in, without them."""
    columns: dict[str, str] = {}
    for cell, condition in cells.items():
        column, _, member = cell.partition(".")
        now = columns.get(column, identifier(column))
        emptied = "NULL"
        if member:
            nothing = literal(json.dumps({member: None}))
            emptied = f"CAST(json_merge_patch({now}, {nothing}) AS VARCHAR)"
        columns[column] = f"CASE WHEN {condition} THEN {emptied} ELSE {now} END"
    return columns


def seek(connection: duckdb.DuckDBPyConnection, sought: dict[str, list[str]]) -> None:
    """Set the variables that the SQL above reads."""
    for kind in (*SPELT, "mention"):
        connection.execute(f"SET VARIABLE sought_{kind} = ?::VARCHAR[]", [sought.get(kind, [])])


def as_declared(speaks: Speaking | None, columns: Iterable[str]) -> Speaking:
    """What a landing table says of people: what its stream declares, and in columns that no
    definition names any more what the schema home declares of their names."""
    present, declared = set(columns), speaks or Speaking()
    missing = {
        role: person
        for table in tables().values()
        for role, person in table.speaks.people.items()
        if role != SELF and role not in declared.people and person.nik
        and {column_of(cell) for cell in person.cells} <= present
    }  # fmt: skip
    return declared.model_copy(update={"people": missing | declared.people})


def _hit(person: Person, kind: str) -> str:
    return any_of(_sought(kind, cell) for cell in getattr(person, kind))


def _sought(kind: str, cell: str) -> str:
    spelt, _ = SPELT[kind]
    sought = f"getvariable({literal(f'sought_{kind}')})"
    return f"coalesce(list_contains({sought}, {spelt(cell_of(cell))}), false)"


def any_of(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions) or 'false'})"

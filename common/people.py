"""Whom a row speaks of, and by what: declared beside the columns of a source's stream and of a
table in the schema home. An erasure follows it: what is not declared, it must search as free text.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator

from common.access import Name, Strict

SELF = "self"
"""The role of a person who is the row's own subject: the row goes with the person."""


def _some(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Cells = Annotated[tuple[str, ...], BeforeValidator(_some)]
"""One column or several; `column.key` is a member of a JSON object."""


class Person(Strict):
    """The columns that name one person of a row.

    `nik`, `name`, `phone`, `email` and what is `also` the person's own are emptied when the person
    is erased; `born` and `household` only tell whether a name is theirs. A row that is `whole` says
    nothing that is not of this person: it is not read again.
    """

    nik: Cells = ()
    name: Cells = ()
    phone: Cells = ()
    email: Cells = ()
    born: Cells = ()
    household: Cells = ()
    also: Cells = ()
    whole: bool = False

    @property
    def emptied(self) -> tuple[str, ...]:
        return (*self.nik, *self.name, *self.phone, *self.email, *self.also)

    @property
    def cells(self) -> tuple[str, ...]:
        return (*self.emptied, *self.born, *self.household)


class Speaking(Strict):
    """What a stream or a table says of people.

    `people`: role → the columns that name the person in it. `texts` may name anybody. `shared`
    identify what several people have in common, such as a household, and stay with the others.
    """

    people: dict[Name, Person] = {}
    texts: tuple[Name, ...] = ()
    shared: tuple[Name, ...] = ()

    @property
    def columns(self) -> set[str]:
        named = {column_of(cell) for person in self.people.values() for cell in person.cells}
        return named | set(self.texts) | set(self.shared)

    def faults(self, present: set[str], kept: set[str]) -> Iterator[str]:
        """What is wrong with it beside these columns, of which `kept` may never be emptied."""
        if unknown := sorted(self.columns - present):
            yield f"speaks of people in no column of its own: {', '.join(unknown)}"
        emptied = {
            column_of(cell)
            for role, person in self.people.items()
            if role != SELF
            for cell in person.emptied
        } | set(self.texts)
        if held := sorted(emptied & kept):
            yield f"a part of the key cannot be emptied: {', '.join(held)}"


def column_of(cell: str) -> str:
    """The column of a cell."""
    return cell.partition(".")[0]

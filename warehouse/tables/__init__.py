"""The schema home: every table of the warehouse is one YAML file below this folder.

Definitions feed DDL, checks, masks, the dictionary and the published copies. Landing tables are
the exception: they follow from the source definitions (`landing_table`).
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from common.definition import Source, Stream
from common.definition_files import read_model, read_yaml
from common.people import Speaking
from common.quoting import identifier

HOME = Path(__file__).parent
Disclosure = Literal[
    "direct", "specific", "quasi", "moment", "night", "surrogate", "cell", "neutral"
]
Mask = Literal["keep", "drop", "pseudonym", "month", "five_years", "decade", "district", "coarse"]
LEAVES: dict[str, Mask] = {
    "direct": "drop",
    "specific": "drop",
    "surrogate": "pseudonym",
    "moment": "month",
}
"""Class → what leaves of such a column when it does not say; of all others, what it holds."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """One column: DuckDB type, unit, what it means in both languages, what it discloses.

    `disclosure`: what the column tells of a person.
        direct     identifies alone: names, numbers, free text that may hold them
        specific   UU 27/2022 Ps 4(2): health, children, finance
        quasi      identifies together with others
        moment     when something happened to a person or was done by one
        night      from or until which night a row holds
        surrogate  keyed id of a record
        cell       number of people or of what people did; `of`: the number it is a part of
        neutral    nothing of a person
    `mask` is what leaves without a special grant; where it is not given, it follows from the class.
    """

    type: str
    en: str
    id: str
    unit: str | None = None
    disclosure: Disclosure
    mask: Mask
    of: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _masked_by_class(cls, given: Any) -> Any:
        return {"mask": LEAVES.get(given.get("disclosure"), "keep"), **given}


Step = dict[str, Mask]
"""Columns and how they are masked: what a row keeps or loses at once."""
MONTHS: Step = {"valid_from": "month", "valid_to": "month"}
NIGHTS: Step = {"valid_from": "keep", "valid_to": "keep"}


class Table(Strict):
    """One table. `concept`, `definition`, `classification` are the Satu Data fields (Perpres
    39/2019); a table with `history` gets the columns of `history.yml` and keeps every version.

    `keeps`: what a published row keeps when few share it, in this order; see `steps`. A table about
    people that does not say is not published.
    """

    name: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z_]+$")]
    title: str
    title_id: str
    concept: str
    definition: str
    classification: Literal["public", "internal", "restricted"]
    owner: str = "dkis"
    history: bool = False
    identity: bool = Field(False, description="narrow table of direct identifiers")
    remade: bool = Field(False, description="made from core again; in another shape it is dropped")
    grows: bool = Field(
        False, description="gains columns declared behind its own, empty in older rows"
    )
    key: tuple[str, ...]
    keeps: tuple[str | list[str] | Step, ...] = ()
    columns: dict[str, Column]
    speaks: Speaking = Speaking()

    @model_validator(mode="after")
    def _says_whose(self) -> "Table":
        direct = {name for name, column in self.columns.items() if column.disclosure == "direct"}
        faults = list(self.speaks.faults(set(self.columns), set(self.key)))
        if silent := sorted(direct - self.speaks.columns) if not self.remade else []:
            faults.append(f"`speaks` must say whose identifiers these are: {', '.join(silent)}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _keeps_all_or_nothing(self) -> "Table":
        named = {name for step in self.steps for name in step}
        leaving = {
            name
            for name, column in self.all_columns.items()
            if column.mask not in ("drop", "pseudonym")
        }
        if self.keeps and named != leaving:
            raise ValueError(f"{self.name}: keeps differs in {sorted(named ^ leaving)}")
        return self

    @property
    def schema_name(self) -> str:
        return self.name.split(".")[0]

    @property
    def short_name(self) -> str:
        return self.name.split(".")[1]

    @property
    def is_about_people(self) -> bool:
        """Whether a row tells of one person or of what one did."""
        return any(
            column.disclosure in ("direct", "specific", "surrogate")
            for column in self.columns.values()
        )

    @property
    def steps(self) -> list[Step]:
        """What a row keeps or loses, first things first: columns, or a finer form of some.

        With history the months of its nights, why it ended and its stream come first, and flags
        last; `nights` says where the nights themselves stand.
        """
        own = [self._step(one) for one in self.keeps]
        if not (self.history and own):
            return own
        return [
            MONTHS,
            {"closed_reason": "keep"},
            {"source": "keep", "stream": "keep"},
            *own,
            {"flags": "keep"},
        ]

    def _step(self, kept: str | list[str] | Step) -> Step:
        if kept == "nights":
            return NIGHTS
        if isinstance(kept, dict):
            return kept
        names = [kept] if isinstance(kept, str) else kept
        return {name: self.columns[name].mask for name in names}

    @property
    def is_of_landing(self) -> bool:
        """A core table that is a function of landing; the others hold what we gave: persons."""
        return self.schema_name == "core" and self.history

    @property
    def own_columns(self) -> list[str]:
        """The columns a transform fills (without those of the history)."""
        return list(self.columns)

    @property
    def all_columns(self) -> dict[str, Column]:
        return {**self.columns, **(_history() if self.history else {})}

    def ddl(self, catalog: str) -> str:
        body = ", ".join(
            f"{identifier(name)} {column.type}" for name, column in self.all_columns.items()
        )
        return f"CREATE TABLE IF NOT EXISTS {catalog}.{self.name} ({body})"


@cache
def _history() -> dict[str, Column]:
    return TypeAdapter(dict[str, Column]).validate_python(read_yaml(HOME / "history.yml"))


@cache
def tables() -> dict[str, Table]:
    """Every table by its full name, such as `core.person`."""
    found = {}
    for path in sorted(HOME.glob("*/*.yml")):
        table = read_model(path, Table)
        if table.name != f"{path.parent.name}.{path.stem}":
            raise ValueError(f"{path.name}: table {table.name} belongs in another file")
        found[table.name] = table
    return found


def landing_name(source: Source, stream: Stream) -> str:
    """`landing.<source>__<stream>`: the append-only log of a stream's rows as sent."""
    return f"landing.{source.name}__{stream.name}"


LANDING_COLUMNS = {
    "_batch_id": "BIGINT",
    "_record_id": "UUID",
    "_op": "VARCHAR",
    "_row_hash": "UUID",
    "_flags": "VARCHAR[]",
    "_row": "BIGINT",
    "_origin": "VARCHAR",
}


def landing_ddl(catalog: str, source: Source, stream: Stream) -> str:
    """Text as sent, one column per declared column, after `LANDING_COLUMNS`."""
    columns = [*LANDING_COLUMNS.items(), *((name, "VARCHAR") for name in stream.names)]
    body = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)
    return f"CREATE TABLE IF NOT EXISTS {catalog}.{landing_name(source, stream)} ({body})"

"""The schema home: every table of the warehouse is one YAML file below this folder.

Definitions feed DDL, checks, masks, the dictionary and the published copies. Landing tables are
the exception: they follow from the source definitions (`landing_table`).
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from common.definition import Source, Stream
from common.definition_files import read_model, read_yaml
from common.people import Speaking
from common.quoting import identifier

HOME = Path(__file__).parent
Personal = Literal["none", "quasi", "direct", "specific"]
Mask = Literal["keep", "drop", "pseudonym", "year", "month", "coarse"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """One column: DuckDB type, unit, what it means in both languages, how personal it is.

    `personal` follows UU 27/2022: none, quasi (identifies with others), direct (identifies alone),
    specific (Ps 4(2): health, children, finance). `mask` is what leaves for analysts.
    """

    type: str
    en: str
    id: str
    unit: str | None = None
    personal: Personal = "none"
    mask: Mask = "keep"


class Table(Strict):
    """One table. `concept`, `definition`, `classification` are the Satu Data fields (Perpres
    39/2019); a table with `history` gets the columns of `history.yml` and keeps every version."""

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
    columns: dict[str, Column]
    speaks: Speaking = Speaking()

    @model_validator(mode="after")
    def _says_whose(self) -> "Table":
        direct = {name for name, column in self.columns.items() if column.personal == "direct"}
        faults = list(self.speaks.faults(set(self.columns), set(self.key)))
        if silent := sorted(direct - self.speaks.columns) if not self.remade else []:
            faults.append(f"`speaks` must say whose identifiers these are: {', '.join(silent)}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def schema_name(self) -> str:
        return self.name.split(".")[0]

    @property
    def short_name(self) -> str:
        return self.name.split(".")[1]

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

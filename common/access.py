"""How a stream is read: the part of a source definition that names a reader and what it needs.

Files are described by where they lie (the connection's URL), which of them are meant (`pattern`)
and how they are written (`format`).
"""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SqlAccess(Strict):
    reader: Literal["sql"]
    table: str


class RestAccess(Strict):
    """Open311 GeoReport v2: `path` answers a JSON array; pages until an empty one."""

    reader: Literal["rest"]
    path: str
    page_size: int = Field(500, ge=1, le=5000)
    parameters: dict[str, str] = {}


class Delimited(Strict):
    """Text with a header, its fields apart by one character."""

    kind: Literal["delimited"] = "delimited"
    encoding: str = "utf-8"
    separator: str = Field(",", min_length=1, max_length=1)


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {error.msg}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_regular)]


class Layout(Strict):
    """One way in which offices lay out a table of people on a sheet.

    `columns`: heading → the stream's source column. Headings are compared without regard to case,
    blanks (also U+00A0) and line breaks. Of a header of several `header_rows` a heading is the
    texts above each other, `top > below`; a text above several columns counts for each.
    `family`: a line between people, its named groups are source columns of the people below it.
    `left_out`: kinds of rows that are nobody. `end`: the first row after the table. Patterns see
    the texts of a row's cells, one blank between them.
    """

    assumed: str | None = None
    sheet: Pattern = ""
    header_rows: int = Field(1, ge=1, le=3)
    columns: dict[str, str] = Field(min_length=1)
    family: Pattern | None = None
    left_out: dict[Name, Pattern] = {}
    end: Pattern | None = None

    @property
    def fills(self) -> set[str]:
        """The source columns that it has values for."""
        groups = re.compile(self.family).groupindex if self.family else ()
        return {*self.columns.values(), *groups}


class Workbook(Strict):
    """Sheets of people, .xlsx or .xls. The layout whose header is found is taken.

    A row is a person where one of the source columns `person` is filled. `identity`: source columns
    whose numbers are exact only as text or below 15 digits (Excel keeps no more). `memory_mb`: what
    reading one file may take, and the size to which it may unpack.
    """

    kind: Literal["workbook"]
    layouts: dict[Name, Layout] = Field(min_length=1)
    person: tuple[str, ...] = Field(min_length=1)
    identity: tuple[str, ...] = ()
    memory_mb: int = Field(1024, ge=128, le=16_384)

    def faults(self, known: Collection[str]) -> list[str]:
        """What it says of columns that the stream does not have."""
        said = {
            "person": set(self.person),
            "identity": set(self.identity),
            **{f"layout {name}": layout.fills for name, layout in self.layouts.items()},
        }
        return [
            f"{where} names no column: {', '.join(sorted(unknown))}"
            for where, names in said.items()
            if (unknown := names - set(known))
        ]


def _kind(value: Any) -> str:
    return value.get("kind", "delimited") if isinstance(value, dict) else value.kind


Format = Annotated[
    Annotated[Delimited, Tag("delimited")] | Annotated[Workbook, Tag("workbook")],
    Discriminator(_kind),
]


class FilesAccess(Strict):
    """Files at a place; `pattern` is a glob of their paths below it. The named groups of `path`, a
    regular expression, are source columns that a file's path fills."""

    reader: Literal["files"]
    pattern: str
    path: Pattern | None = None
    format: Format = Delimited()

    @model_validator(mode="after")
    def _named(self) -> "FilesAccess":
        if self.path is not None and not self.path_columns:
            raise ValueError("path has no named group")
        return self

    @property
    def path_columns(self) -> list[str]:
        return list(re.compile(self.path).groupindex) if self.path else []


Access = Annotated[SqlAccess | RestAccess | FilesAccess, Field(discriminator="reader")]

"""How a stream is read: the part of a source definition that names a reader and what it needs.

Files are described by where they lie (the connection's URL), which of them are meant (`pattern`)
and how they are written (`format`).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Mail(Strict):
    """One message (RFC 5322) a file. `max_bytes`: of a larger one only the headers are read."""

    kind: Literal["mail"]
    max_bytes: int = Field(10 << 20, ge=1 << 10, le=100 << 20)


Format = Annotated[Delimited | Mail, Field(discriminator="kind")]


class FilesAccess(Strict):
    """Files at a place; `pattern` is a glob of their paths below it."""

    reader: Literal["files"]
    pattern: str
    format: Format = Delimited()


Access = Annotated[SqlAccess | RestAccess | FilesAccess, Field(discriminator="reader")]

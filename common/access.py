"""How a stream is read: the part of a source definition that names a reader and what it needs.

Files are described by where they lie (the connection's URL), which of them are meant (`pattern`)
and how they are written (`format`).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Position = Annotated[int, Field(ge=1)]


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


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        raise ValueError(f"{name} is no text encoding") from None
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]


class Delimited(Strict):
    """Text with a header, its fields apart by one character.

    A quote inside a quoted field is doubled, or follows `escape`. Without `quote` a quotation mark
    is a character like any other.
    """

    kind: Literal["delimited"]
    encoding: Encoding = "utf-8"
    separator: str = Field(",", min_length=1, max_length=1)
    quote: str | None = Field('"', min_length=1, max_length=1)
    escape: str | None = Field(None, min_length=1, max_length=1)
    max_header_bytes: int = Field(65_536, ge=1)
    max_row_bytes: int = Field(1 << 20, ge=1 << 10, le=1 << 28)


class FixedWidth(Strict):
    """Text without a header. `fields`: name → its first and last character in a line, from 1.

    Blanks around a value are padding; a field of blanks is empty (NULL). `skip_lines` stand before
    the first row.
    """

    kind: Literal["fixed_width"]
    encoding: Encoding = "utf-8"
    fields: dict[str, tuple[Position, Position]] = Field(min_length=1)
    skip_lines: int = Field(0, ge=0)
    max_row_bytes: int = Field(1 << 16, ge=1, le=1 << 28)

    @model_validator(mode="after")
    def _forward(self) -> "FixedWidth":
        if wrong := [name for name, (first, last) in self.fields.items() if last < first]:
            raise ValueError(f"fields end before they begin: {', '.join(wrong)}")
        return self


class Dbf(Strict):
    """dBase III to IV, FoxPro and Visual FoxPro tables, with the memo file that lies beside.

    `encoding` stands in for the code page that the file names itself.
    """

    kind: Literal["dbf"]
    encoding: Encoding | None = None
    max_memo_bytes: int = Field(1 << 20, ge=1)


class JsonLines(Strict):
    """One JSON object per line, in UTF-8. Numbers are kept as the digits that were sent."""

    kind: Literal["json_lines"]
    max_row_bytes: int = Field(1 << 20, ge=1, le=1 << 28)


Format = Annotated[Delimited | FixedWidth | Dbf | JsonLines, Field(discriminator="kind")]


class Archive(Strict):
    """Zip archives: the files of interest are their `members` (a glob).

    A member that is itself an archive, or encrypted, refuses the whole of it.
    """

    members: str = "**/*"
    max_members: int = Field(1_000, ge=1)
    max_unpacked_bytes: int = Field(8 << 30, ge=1)
    max_ratio: int = Field(200, ge=1, description="unpacked bytes per packed byte, per member")


class FilesAccess(Strict):
    """Files at a place; `pattern` is a glob of their paths below it.

    A file that changed in the last `settle_seconds` is still being written: it waits for the next
    run. Original bytes are kept for `keep_originals_days`, else as long as the setting says.
    """

    reader: Literal["files"]
    pattern: str
    format: Format = Delimited(kind="delimited")
    archive: Archive | None = None
    settle_seconds: int = Field(0, ge=0, le=86_400)
    max_bytes: int = Field(8 << 30, ge=1)
    max_files: int = Field(100_000, ge=1)
    keep_originals_days: int | None = Field(None, ge=0)


Access = Annotated[SqlAccess | RestAccess | FilesAccess, Field(discriminator="reader")]

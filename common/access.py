"""How a stream is read: the part of a source definition that names a reader and what it needs.

Files are described by where they lie (the connection's URL), which of them are meant (`pattern`)
and how they are written (`format`); a service by how its answers are paged, where in them the rows
are and how it knows us. Secrets are the connection's.
"""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal
from unicodedata import category
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Position = Annotated[int, Field(ge=1)]


UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, halves of characters and line ends."""
INSTEAD = "\N{REPLACEMENT CHARACTER}"


def printable(name: str) -> str:
    """The name with a mark in place of what cannot be printed; no definition can have it."""
    return "".join(INSTEAD if category(sign) in UNPRINTABLE else sign for sign in name)


def _is_printable(name: str) -> str:
    if INSTEAD in printable(name):
        raise ValueError("a name of the source has a control character")
    return name


SourceName = Annotated[str, Field(min_length=1), AfterValidator(_is_printable)]
"""What the source calls a table or a column: anything that can be printed."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SqlAccess(Strict):
    reader: Literal["sql"]
    table: SourceName


JsonPath = Annotated[str, Field(min_length=1, description="keys of nested objects, by dots")]


class ByPage(Strict):
    """Page after page until an empty one, numbered from `first`."""

    kind: Literal["page"] = "page"
    page: str = "page"
    size: str | None = "page_size"
    page_size: int = Field(500, ge=1, le=50_000)
    first: int = Field(1, ge=0)


class ByOffset(Strict):
    """From row to row until an empty page; the offset grows by the rows that came."""

    kind: Literal["offset"]
    offset: str = "offset"
    size: str | None = "limit"
    page_size: int = Field(500, ge=1, le=50_000)


class ByCursor(Strict):
    """Each answer holds at `next` what parameter `cursor` is to be next; the last holds none."""

    kind: Literal["cursor"]
    cursor: str
    next: JsonPath
    size: str | None = None
    page_size: int = Field(500, ge=1, le=50_000)


class ByLink(Strict):
    """Each answer names the next page in a header `Link: <…>; rel="next"` (RFC 8288)."""

    kind: Literal["link"]
    size: str | None = None
    page_size: int = Field(500, ge=1, le=50_000)


class OnePage(Strict):
    """One answer holds everything."""

    kind: Literal["none"]


Paging = Annotated[ByPage | ByOffset | ByCursor | ByLink | OnePage, Field(discriminator="kind")]


class HeaderKey(Strict):
    """The connection's password, after `prefix`, in the request header `header`."""

    kind: Literal["header"]
    header: str
    prefix: str = ""


class ParameterKey(Strict):
    """The connection's password, and its login where that is named, as parameters."""

    kind: Literal["parameter"]
    password: str
    login: str | None = None


class ClientCredentials(Strict):
    """OAuth 2.0 client credentials (RFC 6749, 4.4): login and password of the connection are the
    client's id and secret, sent to `token` (a path of the service or a URL)."""

    kind: Literal["client_credentials"]
    token: str
    scope: str | None = None
    secret_in: Literal["header", "body"] = "header"


Credentials = Annotated[HeaderKey | ParameterKey | ClientCredentials, Field(discriminator="kind")]


class ChangedSince(Strict):
    """Of strategy `cursor`: the parameters that ask for what changed `since` (and `until`) a time,
    written as strftime's `format` (default ISO 8601 with offset) in `timezone`: that of stamps
    without an offset; those with one are compared in UTC."""

    since: str
    until: str | None = None
    format: str | None = None
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"no time zone is named {name}")
        return name


class RestAccess(Strict):
    """JSON over HTTP: `path` answers objects, in a list at `rows` or as the whole answer.

    With POST, paging, `changed` and a key travel in the JSON `body`, else in the query.
    """

    reader: Literal["rest"]
    path: str
    method: Literal["GET", "POST"] = "GET"
    parameters: dict[str, str] = {}
    body: dict[str, Any] = {}
    rows: JsonPath | None = None
    total: JsonPath | None = None
    paging: Paging = ByPage()
    credentials: Credentials | None = None
    changed: ChangedSince | None = None
    omits_empty: bool = False
    answer_mb: int = Field(16, ge=1, le=1024)

    @model_validator(mode="after")
    def _consistent(self) -> "RestAccess":
        if self.body and self.method != "POST":
            raise ValueError("`body` goes with method POST only")
        return self


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
    fields: dict[SourceName, tuple[Position, Position]] = Field(min_length=1)
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
    columns: dict[SourceName, SourceName] = Field(min_length=1)
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
    person: tuple[SourceName, ...] = Field(min_length=1)
    identity: tuple[SourceName, ...] = ()
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


class Mail(Strict):
    """One message (RFC 5322) a file. `max_bytes`: of a larger one only the headers are read."""

    kind: Literal["mail"]
    max_bytes: int = Field(10 << 20, ge=1 << 10, le=100 << 20)


Format = Annotated[
    Delimited | FixedWidth | Dbf | JsonLines | Workbook | Mail, Field(discriminator="kind")
]


class Archive(Strict):
    """Zip archives: the files of interest are their `members` (a glob).

    A member that is itself an archive, or encrypted, refuses the whole of it.
    """

    members: str = "**/*"
    max_members: int = Field(1_000, ge=1)
    max_unpacked_bytes: int = Field(8 << 30, ge=1)
    max_ratio: int = Field(200, ge=1, description="unpacked bytes per packed byte, per member")


class FilesAccess(Strict):
    """Files at a place; `pattern` is a glob of their paths below it. The named groups of `path`, a
    regular expression, are source columns that a file's path fills.

    A file that changed in the last `settle_seconds` is still being written: it waits for the next
    run. Original bytes are kept for `keep_originals_days`, else as long as the setting says.
    """

    reader: Literal["files"]
    pattern: str
    path: Pattern | None = None
    format: Format = Delimited(kind="delimited")
    archive: Archive | None = None
    settle_seconds: int = Field(0, ge=0, le=86_400)
    max_bytes: int = Field(8 << 30, ge=1)
    max_files: int = Field(100_000, ge=1)
    keep_originals_days: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _named(self) -> "FilesAccess":
        if self.path is not None and not self.path_columns:
            raise ValueError("path has no named group")
        return self

    @property
    def path_columns(self) -> list[str]:
        return list(re.compile(self.path).groupindex) if self.path else []


class DltAccess(Strict):
    """A dlt source: `source` is `module:function`, called with `arguments`, in which `$url`,
    `$address` (without login), `$login` and `$password` stand for the connection's."""

    reader: Literal["dlt"]
    source: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    resource: str
    arguments: dict[str, Any] = {}


Access = Annotated[SqlAccess | RestAccess | FilesAccess | DltAccess, Field(discriminator="reader")]

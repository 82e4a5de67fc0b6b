"""How a stream is read: the part of a source definition that names a reader and what it needs.

Files are described by where they lie (the connection's URL), which of them are meant (`pattern`)
and how they are written (`format`); a service by how its answers are paged, where in them the rows
are and how it knows us. Secrets are the connection's.
"""

from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SqlAccess(Strict):
    reader: Literal["sql"]
    table: str


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


class Delimited(Strict):
    """Text with a header, its fields apart by one character."""

    kind: Literal["delimited"] = "delimited"
    encoding: str = "utf-8"
    separator: str = Field(",", min_length=1, max_length=1)


Format = Delimited


class FilesAccess(Strict):
    """Files at a place; `pattern` is a glob of their paths below it."""

    reader: Literal["files"]
    pattern: str
    format: Format = Delimited()


class DltAccess(Strict):
    """A dlt source: `source` is `module:function`, called with `arguments`, in which `$url`,
    `$address` (without login), `$login` and `$password` stand for the connection's."""

    reader: Literal["dlt"]
    source: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    resource: str
    arguments: dict[str, Any] = {}


Access = Annotated[SqlAccess | RestAccess | FilesAccess | DltAccess, Field(discriminator="reader")]

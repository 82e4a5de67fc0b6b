"""Source definitions: one `connectors/<source>/source.yml` per agency system.

A definition says what to read, from where, how rows are keyed and what each column is called and
means here. It is data: readers know nothing of any agency.
"""

import hashlib
import json
import re
from datetime import time
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from common import forms
from common.access import Access, FilesAccess, Name, SourceName, Strict, Workbook
from common.definition_files import Unreadable, read_model
from common.errors import DefinitionError
from common.forms import ColumnType
from common.people import Speaking
from common.settings import Settings


class Column(Strict):
    """One column of a stream.

    `values` maps every code the source may send to ours; `codes` names a list of `ref.code` whose
    codes are allowed; anything else is quarantined, never guessed. `empty` lists what this source
    writes for "nothing". `formats` are strptime formats where the source does not write ISO 8601.
    `decimal_comma` reads 1.234,56; a decimal with more than `places` digits after the point is
    quarantined. What is `protected` never stands in a workbook.
    """

    name: Name
    type: ColumnType = "text"
    required: bool = False
    values: dict[str, str] | None = None
    codes: str | None = None
    empty: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    decimal_comma: bool = False
    places: int = Field(forms.MOST_PLACES, ge=0, le=forms.MOST_PLACES)
    protected: bool = False
    note: str | None = None

    @field_validator("empty", "formats", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return tuple(map(str, value)) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _readable(self) -> "Column":
        """What nothing would read is refused, not passed over."""
        if self.formats and self.type not in ("date", "timestamp"):
            raise ValueError(f"{self.name}: formats are of dates and timestamps")
        if self.decimal_comma and self.type != "decimal":
            raise ValueError(f"{self.name}: decimal_comma is of decimals")
        if self.places != forms.MOST_PLACES and self.type != "decimal":
            raise ValueError(f"{self.name}: places are of decimals")
        for form in self.formats:
            forms.of_format(form)
            if self.type == "date" and "%z" in form:
                raise ValueError(
                    f"{self.name}: format {form}: a day with an offset is another day elsewhere; "
                    "declare a timestamp"
                )
        return self

    @property
    def form(self) -> str:
        """How a value of it is written, in words."""
        return forms.described(self.type, self.formats, self.places, comma=self.decimal_comma)


def _unique(columns: dict[str, Column]) -> dict[str, Column]:
    names = [column.name for column in columns.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two columns are both named {', '.join(twice)}")
    return columns


class Cursor(Strict):
    """Strategy `cursor`: the source's column that tells when a row last changed.

    Each batch reads again what changed in the last `overlap_minutes` before the covered end: rows
    committed late, or stamped by a clock that is behind.
    """

    column: SourceName
    overlap_minutes: int = Field(60, ge=0, le=527_040)


class Contact(Strict):
    unit: str
    email: str


class Submitter(Strict):
    """Who sends the rows of a stream, where it is not one office: each hospital, each kelurahan.

    A row's submitter is the code in `column`, or what the one group of `origin`, a regular
    expression, finds in its file's path. Only the codes of `contacts` are told apart and stored;
    any other value may be anything. `every`: each of them has promised to send on every night, or
    on every working day, if only an empty file.
    """

    column: Name | None = None
    origin: str | None = None
    every: Literal["night", "workday"] | None = None
    contacts: dict[Annotated[str, Field(pattern=r"^[\w./-]{1,40}$")], Contact] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Submitter":
        if (self.column is None) == (self.origin is None):
            raise ValueError("submitter has either a `column` or an `origin`")
        try:
            groups = re.compile(self.origin).groups if self.origin else 1
        except re.error as error:
            raise ValueError(f"submitter's origin is no regular expression: {error.msg}") from None
        if groups != 1:
            raise ValueError("submitter's origin needs exactly one group")
        return self


class Comparison(Strict):
    """Another stream that speaks of the same records, to be compared with.

    `key`, `columns`, `within`: our column → SQL over a row of the other `stream`, whose name the
    row goes by; beside it stand `<stream>_now`, the newest sound rows of any stream of its source,
    typed. `within`: only rows there that agree in these with some row here can lack here. `where`:
    the rows there that should be here.
    """

    stream: str = Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    key: dict[Name, str] = Field(min_length=1)
    columns: dict[Name, str] = Field(min_length=1)
    within: dict[Name, str] = {}
    where: str = "true"


class Parsed(Strict):
    """What senders write in a form of their own within one column, such as keywords.

    `column` (our name) is matched with `patterns` in turn, regular expressions with named groups;
    the groups of the first that matches become the columns that `gives` names with their types.
    They are empty where none matches, or where the one that does lacks the group.
    """

    column: Name
    patterns: tuple[str, ...] = Field(min_length=1)
    gives: dict[Name, ColumnType] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Parsed":
        named: set[str] = set()
        for pattern in self.patterns:
            try:
                named |= set(re.compile(pattern).groupindex)
            except re.error as error:
                raise ValueError(f"parse: no regular expression: {error.msg}") from None
        if odd := sorted(named ^ set(self.gives)):
            raise ValueError(f"parse: patterns and `gives` differ in {', '.join(odd)}")
        return self


class Stream(Strict):
    """One table, endpoint or file family of a source."""

    name: Name
    title: str
    title_id: str | None = Field(None, description="the title in Indonesian")
    connection: Name
    read: Access
    strategy: Literal["snapshot", "checksum", "cursor", "files", "mailbox"]
    cursor: Cursor | None = None
    key: tuple[Name, ...] = Field(min_length=1)
    columns: Annotated[dict[SourceName, Column], Field(min_length=1), AfterValidator(_unique)]
    parse: tuple[Parsed, ...] = ()
    ignore: dict[SourceName, str] = Field({}, description="column → why it is out of scope")
    max_deleted_share: float = Field(0.05, ge=0, le=1)
    submitter: Submitter | None = None
    stamp: Name | None = Field(None, description="column that tells when a row was last changed")
    compare: Comparison | None = None
    speaks: Speaking | None = Field(
        None, description="of whom its rows speak; undeclared, any text may name anybody"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Stream":
        faults = []
        names = {column.name for column in self.columns.values()}
        if missing := [part for part in self.key if part not in names]:
            faults.append(f"key names no column: {', '.join(missing)}")
        hidden = {column.name for column in self.columns.values() if column.protected}
        if unseen := [part for part in self.key if part in hidden]:
            faults.append(f"a part of the key cannot be protected: {', '.join(unseen)}")
        given = [name for parsed in self.parse for name in parsed.gives]
        if twice := sorted({one for one in given if one in names or given.count(one) > 1}):
            faults.append(f"parse gives a column that is there already: {', '.join(twice)}")
        if lost := [one.column for one in self.parse if one.column not in names]:
            faults.append(f"parse names no column: {', '.join(lost)}")
        if both := sorted(set(self.columns) & set(self.ignore)):
            faults.append(f"both read and ignored: {', '.join(both)}")
        if (self.strategy in ("files", "mailbox")) != (self.read.reader == "files"):
            faults.append(
                "strategies `files` and `mailbox` go with reader `files`, and only with it"
            )
        if self.strategy == "checksum" and self.read.reader != "sql":
            faults.append("strategy `checksum` goes with reader `sql` only")
        if self.strategy == "cursor" and self.read.reader not in ("sql", "rest"):
            faults.append("strategy `cursor` goes with readers `sql` and `rest` only")
        if self.read.reader == "rest" and (self.strategy == "cursor") != bool(self.read.changed):
            faults.append("read's `changed` goes with strategy `cursor`, and strategy with it")
        if (self.strategy == "cursor") != (self.cursor is not None):
            faults.append("strategy `cursor` goes with an entry `cursor`, and only with it")
        if self.cursor and self.cursor.column not in self.columns:
            faults.append(f"cursor names no column that is read: {self.cursor.column}")
        if self.submitter and self.submitter.column and self.submitter.column not in names:
            faults.append(f"submitter names no column: {self.submitter.column}")
        if self.submitter and self.submitter.origin and self.strategy != "files":
            faults.append("submitter's `origin` goes with strategy `files` only")
        if self.compare:
            asked = {*self.compare.key, *self.compare.columns, *self.compare.within}
            if unknown := sorted(asked - names):
                faults.append(f"compare names no column: {', '.join(unknown)}")
        if isinstance(self.read, FilesAccess):
            sent = set(self.columns) | set(self.ignore)
            if isinstance(self.read.format, Workbook):
                faults += self.read.format.faults(sent)
            if unknown := sorted(set(self.read.path_columns) - sent):
                faults.append(f"path names no column: {', '.join(unknown)}")
        kinds = {column.name: column.type for column in self.columns.values()}
        if self.stamp and kinds.get(self.stamp) not in ("date", "timestamp"):
            faults.append(f"stamp names no column of type date or timestamp: {self.stamp}")
        if self.speaks:
            faults += self.speaks.faults(names, set(self.key))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def names(self) -> list[str]:
        """Our column names, in the order of the definition."""
        return [column.name for column in self.columns.values()]


class Window(Strict):
    """Hours of the city's day; over midnight when `from` is later than `to`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: time = Field(alias="from")
    end: time = Field(alias="to")

    def holds(self, now: time) -> bool:
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


class Source(Strict):
    """One agency system."""

    name: Name
    title: str
    title_id: str | None = Field(None, description="the title in Indonesian")
    agency: Name = Field(description="owner, a code of the profile's agency list")
    assumed: str | None = Field(None, description="what of its shape is our assumption")
    contact: Contact
    schedule: str = Field("0 1 * * *", description="cron, in the city's time zone")
    reconcile: str | None = Field(None, description="cron of its comparison, else the setting's")
    pool_slots: int = Field(1, ge=1, le=16, description="simultaneous reads the system bears")
    window: Window | None = Field(None, description="the only hours in which it may be read")
    rows_per_second: int | None = Field(None, ge=1, description="no faster than this")
    requests_per_minute: int | None = Field(None, ge=1, description="of a service, no more often")
    statement_timeout_seconds: int | None = Field(None, ge=1, le=86_400)
    streams: tuple[Stream, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _streams_unique(self) -> "Source":
        names = [stream.name for stream in self.streams]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two streams are both named {', '.join(twice)}")
        return self

    def stream(self, name: str) -> Stream:
        """Raises DefinitionError when the source has no such stream."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        known = ", ".join(stream.name for stream in self.streams)
        raise DefinitionError(
            f"no stream named {name}", where=self.name, next_step=f"use one of: {known}"
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the resolved definition, frozen with every batch."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_sources(settings: Settings) -> dict[str, Source]:
    """All definitions by name. Raises DefinitionError naming every fault of every file at once."""
    sources, faults = {}, []
    for path in sorted(settings.connectors.glob("*/source.yml")):
        try:
            source = read_model(path, Source)
        except Unreadable as error:
            faults += [f"{path.parent.name}/source.yml {fault}" for fault in error.faults]
            continue
        if source.name != path.parent.name:
            faults.append(f"{path.parent.name}/source.yml name: must equal its folder's name")
        sources[source.name] = source
    there = {f"{source.name}.{stream.name}" for source in sources.values()
             for stream in source.streams}  # fmt: skip
    faults += [
        f"{source.name}/source.yml streams.{stream.name}.compare: no stream {stream.compare.stream}"
        for source in sources.values()
        for stream in source.streams
        if stream.compare and stream.compare.stream not in there
    ]
    if faults:
        raise DefinitionError(
            f"{len(faults)} fault(s) in source definitions:\n  - " + "\n  - ".join(faults),
            next_step="correct the lines named, then run `muara check`.",
        )
    return sources


def load_source(settings: Settings, name: str) -> Source:
    """One definition. Raises DefinitionError when it is unknown or any definition is wrong."""
    sources = load_sources(settings)
    if name not in sources:
        raise DefinitionError(
            f"no source named {name}", next_step=f"use one of: {', '.join(sources)}"
        )
    return sources[name]


def folder_of(settings: Settings, source: Source) -> Path:
    """The folder that holds this source's definition."""
    return settings.connectors / source.name

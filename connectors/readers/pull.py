"""One reading of a stream, and what it leaves behind."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from common.definition import FilesAccess, RestAccess, Source, SqlAccess, Stream
from common.errors import SourceShapeChanged
from common.settings import Settings

A = TypeVar("A", SqlAccess, RestAccess, FilesAccess)


@dataclass(frozen=True)
class Piece:
    """Some rows as the source sent them (source column names) and their file of origin."""

    rows: pa.RecordBatch
    origin: str | None = None


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file: `loaded`, `known` (same bytes seen before) or `failed`."""

    origin: str
    sha256: str
    size: int
    outcome: str
    error: str | None = None
    kept_at: Path | None = None


@dataclass
class Pull:
    """One reading of a stream: iterate `readers.read(pull)` once, then ask what was read.

    `extracted` is the reader's own count; `announced` is the source's count of its rows in the
    same read-only transaction, where it can give one.
    """

    source: Source
    stream: Stream
    url: str
    settings: Settings
    known_files: frozenset[tuple[str, str]] = frozenset()
    extracted: int = 0
    announced: int | None = None
    files: list[FileOutcome] = field(default_factory=list)

    def access(self, kind: type[A]) -> A:
        """The stream's way of access, which the reader's dispatch made sure is of this kind."""
        assert isinstance(self.stream.read, kind)
        return self.stream.read

    @property
    def where(self) -> str:
        return f"{self.source.name}.{self.stream.name}"


def require_columns(pull: Pull, present: list[str]) -> None:
    """Every declared column is there, and none is unknown. Raises SourceShapeChanged."""
    missing = [name for name in pull.stream.columns if name not in present]
    unknown = [
        name
        for name in present
        if name not in pull.stream.columns and name not in pull.stream.ignore
    ]
    if not missing and not unknown:
        return
    parts = []
    if missing:
        parts.append(f"column(s) gone: {', '.join(missing)}")
    if unknown:
        parts.append(f"column(s) never declared: {', '.join(map(repr, unknown))}")
    raise SourceShapeChanged(
        "; ".join(parts),
        where=pull.where,
        next_step="ask the owner what changed, then add the column to `columns` or, with a "
        "reason, to `ignore` in source.yml.",
    )

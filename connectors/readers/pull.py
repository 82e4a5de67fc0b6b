"""One reading of a stream: what is known beforehand, and what it leaves behind."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import pyarrow as pa

from common.access import DltAccess, FilesAccess, RestAccess, SqlAccess, printable
from common.definition import Source, Stream
from common.errors import SourceShapeChanged
from common.settings import Settings
from common.shape import STOPPING, Drift, Shape, compare

A = TypeVar("A", SqlAccess, RestAccess, FilesAccess, DltAccess)


@dataclass(frozen=True)
class Piece:
    """Some rows as the source sent them, all columns text under the source's names, and their
    file of origin."""

    rows: pa.RecordBatch
    origin: str | None = None


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    `loaded`; `known` (the bytes that were loaded before); `failed`; `waiting` (still being written,
    or replaced while it was read: the next run takes it); `gone` (taken away before it was read).
    `sha256` is empty where no bytes were taken. `version` is what the place will call the same
    bytes again; None where it cannot tell. `found` is what its format tells of it: of a workbook,
    `connectors.workbook.Finding` as a dict.
    """

    origin: str
    sha256: str
    size: int
    outcome: str
    error: str | None = None
    version: str | None = None
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A stretch of a cursor's values: from `low` (None: the beginning) up to, without, `high`."""

    low: datetime | None
    high: datetime

    def passed(self, now: datetime) -> "Interval":
        """The part that has passed, maybe empty: covered means that no row will come."""
        high = min(self.high, now)
        return Interval(min(self.low, high) if self.low else None, high)

    def __str__(self) -> str:
        return f"{self.low or 'the beginning'} to {self.high}"


@dataclass(frozen=True)
class Sums:
    """A source's row-hash sums per bucket of keys.

    `table` has bucket (int64, the leading `bits` of the key's hash), rows (int64), sum (text of an
    integer). `shape` tells which columns were summed and how: other shapes cannot be compared.
    """

    bits: int
    shape: str
    table: pa.Table


@dataclass(frozen=True)
class Progress:
    """What earlier batches of the stream covered.

    `files`: (origin, SHA-256) that were loaded; `listed`: (origin, size, version) by which their
    place called them. `covered_until`: up to where a cursor is covered without a gap.
    `asked`: the one interval to read instead (a backfill). `sums`: the source's sums when they were
    last taken.
    """

    files: frozenset[tuple[str, str]] = frozenset()
    listed: frozenset[tuple[str, int, str]] = frozenset()
    covered_until: datetime | None = None
    asked: Interval | None = None
    sums: Sums | None = None


@dataclass
class Pull:
    """One reading of a stream: iterate `readers.read(pull)` once, then ask what was read.

    `extracted` is the reader's own count; `announced` is the source's count of the same rows in the
    same snapshot, where it can give one; `present` how many rows there are, read or not, where only
    those that differ were. `scope` says of which records absence means deletion:
    `all` of the stream, those of the `files` read, those in `buckets`, or `none`. `known_shape` is
    the source's shape as last recorded, `shape` as it was found, `drifts` what differs.
    """

    source: Source
    stream: Stream
    url: str
    settings: Settings
    progress: Progress = field(default_factory=Progress)
    extracted: int = 0
    announced: int | None = None
    present: int | None = None
    files: list[FileOutcome] = field(default_factory=list)
    scope: Literal["all", "files", "buckets", "none"] = "all"
    interval: Interval | None = None
    buckets: list[int] = field(default_factory=list)
    sums: Sums | None = None
    known_shape: Shape = field(default_factory=dict)
    shape: Shape | None = None
    drifts: list[Drift] = field(default_factory=list)

    def access(self, kind: type[A]) -> A:
        """The stream's way of access, which the reader's dispatch made sure is of this kind."""
        assert isinstance(self.stream.read, kind)
        return self.stream.read

    def open_interval(self, now: datetime) -> Interval:
        """Of strategy `cursor`, what this reading is to cover: the stretch that was asked for, else
        from where it is covered, less the overlap, to the source's `now`."""
        rule = self.stream.cursor
        assert rule is not None
        self.scope = "none"
        if self.progress.asked:
            self.interval = self.progress.asked.passed(now)
        else:
            covered = self.progress.covered_until
            low = covered and covered - timedelta(minutes=rule.overlap_minutes)
            self.interval = Interval(low, now)
        return self.interval

    @property
    def failed_files(self) -> dict[str, str | None]:
        """Origin → why it could not be read."""
        return {file.origin: file.error for file in self.files if file.outcome == "failed"}

    @property
    def where(self) -> str:
        return f"{self.source.name}.{self.stream.name}"


def keep_pace(pull: Pull, started: float) -> None:
    """Sleep until as much may have been read since `started` (of time.monotonic) as was."""
    if pull.source.rows_per_second:
        due = started + pull.extracted / pull.source.rows_per_second
        time.sleep(max(0, due - time.monotonic()))


def note_shape(pull: Pull, shape: Shape) -> None:
    """Keep the shape on the pull, and how it drifted; its names as they can be printed. Raises
    SourceShapeChanged when a declared column is gone; one that was never declared is reported and
    not read."""
    shape = {printable(name): kind for name, kind in shape.items()}
    found = compare(pull.stream, shape, pull.known_shape)
    pull.drifts += [one for one in found if one not in pull.drifts]
    gone = [one for one in found if one.kind in STOPPING]
    if not gone:
        pull.shape = (pull.shape or {}) | shape
        return
    parts = [f"column(s) gone: {', '.join(map(_told, gone))}"]
    if new := [one.column for one in found if one.kind == "new"]:
        parts.append(f"column(s) never declared: {', '.join(map(repr, new))}")
    raise SourceShapeChanged(
        "; ".join(parts),
        where=pull.where,
        next_step="ask the owner what changed, and review what "
        f"`muara check {pull.source.name} --propose` writes.",
    )


def _told(gone: Drift) -> str:
    if gone.likely:
        return f"{gone.column} (likely now {gone.likely})"
    if gone.candidates:
        return f"{gone.column} (perhaps now {' or '.join(gone.candidates)})"
    return gone.column

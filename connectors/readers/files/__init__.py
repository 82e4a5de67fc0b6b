"""Files that agencies drop somewhere. Outcome per file, by the hash of its bytes.

What a place lists as it was when it was last loaded is not fetched again, where its listing tells;
what has the bytes that were loaded before is not read again. A file is read whole or not at all;
the original bytes are kept under their hash.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pyarrow as pa

from common import clock
from common.access import FilesAccess
from common.definition import Stream
from common.errors import SourceDenied, SourceMalformed, SourceShapeChanged
from connectors.readers.files.archive import members
from connectors.readers.files.formats import ASK, FOUND, companions, parse
from connectors.readers.files.originals import incoming, keep, kept_at
from connectors.readers.files.places import Entry, Place, opened
from connectors.readers.pull import FileOutcome, Piece, Pull, note_shape

SAME_TICK = timedelta(seconds=60)
"""Within this time of its last change a file may change again and be listed as before: servers'
clocks count seconds, and need not agree with ours."""


SHOWN = 200
RENAME = "ask the sender to drop the file itself, under a plain name."


@dataclass(frozen=True)
class Drop:
    """A file as listed, then the companions that belong to it."""

    parts: tuple[Entry, ...]

    @property
    def origin(self) -> str:
        return self.parts[0].origin

    @property
    def shown(self) -> str:
        """The origin as it may be written down, whatever the server calls it."""
        if self.parts[0].is_plain:
            return self.origin
        return ascii(self.origin)[1:-1][:SHOWN]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def version(self) -> str:
        return "+".join(part.version for part in self.parts)

    def changed_within(self, time: timedelta) -> bool:
        return any(
            part.changed_at and abs(clock.now() - part.changed_at) < time for part in self.parts
        )

    def now(self, place: Place) -> "Drop | None":
        """As it would be listed now; None when a part of it is gone."""
        parts = [place.now(part) for part in self.parts]
        found = tuple(part for part in parts if part)
        return Drop(found) if len(found) == len(parts) else None


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the rows of every new file under its origin, and notes every file's outcome.

    A file that turns out unreadable is noted as failed: whoever takes the pieces leaves out those
    of a failed origin, and reports it. Raises SourceUnavailable when the place is not there or
    stops answering.
    """
    pull.scope = "none" if pull.stream.strategy == "mailbox" else "files"
    with opened(pull) as place:
        for drop in _drops(pull, place):
            yield from _read_one(pull, place, drop)


def look(pull: Pull) -> None:
    """Note the columns of the newest file; loads nothing. Raises as `read` does, and for a file
    that `read` would refuse or leave for later."""
    with opened(pull) as place:
        drops = list(_drops(pull, place))
        if not drops:
            return
        newest = max(drops, key=lambda one: (one.parts[0].changed_at or clock.now(), one.origin))
        with incoming(pull.settings, pull.source.name) as folder:
            _fetch(pull, place, newest, folder / "file")
            for _ in _parse(pull, newest.origin, folder / "file"):
                pass


def original(stream: Stream, where: str, kept: Path, origin: str) -> Iterator[pa.RecordBatch]:
    """All columns of a file that was kept; of an archive, those of the member that `origin` names.
    Raises SourceMalformed."""
    access = stream.read
    assert isinstance(access, FilesAccess)
    if access.archive is None:
        yield from parse(stream, where, kept)
        return
    with TemporaryDirectory(dir=kept.parent) as folder:
        for name, path in members(access.archive, where, kept, Path(folder), companions(access)):
            if origin.endswith(f"/{name}"):
                yield from parse(stream, where, path)
                return


def _drops(pull: Pull, place: Place) -> Iterator[Drop]:
    access = pull.access(FilesAccess)
    suffixes = companions(access) if access.archive is None else ()
    if not suffixes:
        yield from (Drop((entry,)) for entry in place.entries(access.pattern))
        return
    *folders, _ = access.pattern.split("/")
    beside = {
        entry.origin.lower(): entry
        for entry in place.entries("/".join([*folders, "*"]))
        if entry.origin.lower().endswith(suffixes)
    }
    for entry in place.entries(access.pattern):
        name = entry.origin.lower()
        if name not in beside:
            stem = name.removesuffix(PurePosixPath(name).suffix)
            found = (beside.get(stem + suffix) for suffix in suffixes)
            yield Drop((entry, *(one for one in found if one)))


def _read_one(pull: Pull, place: Place, drop: Drop) -> Iterator[Piece]:
    with incoming(pull.settings, pull.source.name) as folder:
        path = folder / "file"
        outcome = _taken(pull, place, drop, path)
        if outcome.outcome == "loaded":
            rows, origins, found = 0, set(), None
            try:
                for origin, batch in _parse(pull, drop.origin, path):
                    rows += batch.num_rows
                    origins.add(origin)
                    found = (batch.schema.metadata or {}).get(FOUND)
                    yield Piece(batch, origin)
            except (SourceMalformed, SourceShapeChanged) as error:
                outcome = replace(outcome, outcome="failed", error=str(error), version=None)
            else:
                pull.extracted += rows
                outcome = replace(outcome, found=json.loads(found or "{}"))
                keep(path, kept_at(pull.settings, pull.source.name, outcome.sha256))
                pull.files += [
                    replace(outcome, origin=member, version=None)
                    for member in sorted(origins - {drop.origin})
                ]
    pull.files.append(outcome)


def _taken(pull: Pull, place: Place, drop: Drop, path: Path) -> FileOutcome:
    """Take the file's bytes to `path`, unless they are known. Its outcome, `loaded` if all goes
    well from here."""
    access, outcome = pull.access(FilesAccess), FileOutcome(drop.shown, "", drop.size, "known")
    where = f"{pull.where} file {drop.shown}"
    if place.tells and (drop.origin, drop.size, drop.version) in pull.progress.listed:
        return outcome
    if drop.changed_within(timedelta(seconds=access.settle_seconds)):
        return replace(outcome, outcome="waiting", error=f"{where}: still being written")
    try:
        digest = _fetch(pull, place, drop, path)
    except (SourceDenied, SourceMalformed) as error:
        return replace(outcome, outcome="failed", error=str(error))
    except FileNotFoundError:
        now = None
    else:
        now = drop.now(place)
    if now is None:
        return replace(outcome, outcome="gone", error=f"{where}: taken away while it was read")
    if now != drop:
        return replace(outcome, outcome="waiting", error=f"{where}: replaced while it was read")
    return replace(
        outcome,
        sha256=digest,
        outcome="known" if (drop.origin, digest) in pull.progress.files else "loaded",
        version=drop.version if place.tells and not drop.changed_within(SAME_TICK) else None,
    )


class _Received:
    """Takes a file's bytes, counts and hashes them. Raises SourceMalformed beyond a limit."""

    def __init__(self, target: BinaryIO, left: int, hashed: "hashlib._Hash", where: str) -> None:
        self.target, self.left, self.hashed, self.where = target, left, hashed, where

    def write(self, piece: bytes) -> int:
        self.left -= len(piece)
        if self.left < 0:
            raise _too_large(self.where)
        self.hashed.update(piece)
        return self.target.write(piece)


def _fetch(pull: Pull, place: Place, drop: Drop, path: Path) -> str:
    """Write the file to `path` and its companions beside, with their suffixes added. Returns the
    SHA-256 of all their bytes, one after the other."""
    access, where = pull.access(FilesAccess), f"{pull.where} file {drop.shown}"
    if not all(part.is_plain for part in drop.parts):
        raise SourceMalformed(
            "its path is not one that lies below a place", where=where, next_step=RENAME
        )
    if any(part.leads_out for part in drop.parts):
        raise SourceDenied("it is a link to another place", where=where, next_step=RENAME)
    if drop.size > access.max_bytes:
        raise _too_large(where)
    hashed, left = hashlib.sha256(), access.max_bytes
    for number, part in enumerate(drop.parts):
        suffix = PurePosixPath(part.origin).suffix.lower() if number else ""
        with path.with_name(path.name + suffix).open("wb") as target:
            received = _Received(target, left, hashed, where)
            place.fetch(part, received)
            left = received.left
    return hashed.hexdigest()


def _too_large(where: str) -> SourceMalformed:
    return SourceMalformed(
        "it is larger than `max_bytes` allows",
        where=where,
        next_step="ask the sender what it is, or raise `max_bytes` in source.yml.",
    )


def _contents(pull: Pull, origin: str, path: Path) -> Iterator[tuple[str, str, Path]]:
    """Origin, name in messages and bytes of the file, or of each member of the archive."""
    access, where = pull.access(FilesAccess), f"{pull.where} file {origin}"
    if access.archive is None:
        yield origin, where, path
        return
    unpacked = path.with_name("unpacked")
    unpacked.mkdir()
    for name, member in members(access.archive, where, path, unpacked, companions(access)):
        yield f"{origin}/{name}", f"{where}/{name}", member


def _parse(pull: Pull, origin: str, path: Path) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The declared columns as text, with the origin of their rows. Raises SourceMalformed or
    SourceShapeChanged naming file and row."""
    for part, where, content in _contents(pull, origin, path):
        told = _told_by_path(pull, part, where)
        for batch in parse(pull.stream, where, content):
            for name, text in told.items():
                same = pa.repeat(pa.scalar(text, pa.string()), batch.num_rows)
                batch = batch.append_column(name, same)
            names = batch.schema.names
            if not set(names) & set(pull.stream.columns):
                # Perhaps the header is missing: what stands in its place may be a person.
                raise SourceShapeChanged("no declared column is named in its first line",
                                         where=where, next_step=ASK)  # fmt: skip
            if twice := [name for name in pull.stream.columns if names.count(name) > 1]:
                raise SourceShapeChanged(f"two columns are named {', '.join(twice)}",
                                         where=where, next_step=ASK)  # fmt: skip
            try:
                note_shape(pull, dict.fromkeys(names, ""))
            except SourceShapeChanged as error:
                raise SourceShapeChanged(error.what, where=where,
                                         next_step=error.next_step) from None  # fmt: skip
            yield part, batch.select(list(pull.stream.columns))


def _told_by_path(pull: Pull, origin: str, where: str) -> dict[str, str]:
    """Source column → what the file's path says of it. Raises SourceMalformed when it does not."""
    path = pull.access(FilesAccess).path
    if path is None:
        return {}
    found = re.search(path, origin)
    if found is None:
        raise SourceMalformed(
            "its path does not say what `path` looks for",
            where=where,
            next_step="give the file the name that was agreed; the next run takes it up.",
        )
    return found.groupdict(default="")

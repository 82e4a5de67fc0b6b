"""Files that agencies drop somewhere. Outcome per file, by the hash of its bytes.

With strategy `mailbox` a file never changes (a message), so one that was loaded is not fetched.

A file whose bytes were loaded before is not read again. A file is read whole or not at all; the
original bytes are kept under their hash before anything is parsed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa

from common.access import FilesAccess
from common.errors import MuaraError, SourceShapeChanged
from common.settings import Settings
from connectors.readers.files.formats import ASK, parse
from connectors.readers.files.places import Entry, Place, opened
from connectors.readers.pull import FileOutcome, Piece, Pull, note_shape


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the rows of every new file under its origin, and notes every file's outcome.

    A file that turns out unreadable is noted as failed: whoever takes the pieces leaves out those
    of a failed origin, and reports it. Raises SourceUnavailable when the place is not there.
    """
    is_mailbox = pull.stream.strategy == "mailbox"
    pull.scope = "none" if is_mailbox else "files"
    known = dict(pull.progress.files) if is_mailbox else {}
    with opened(pull) as place:
        for entry in place.entries(pull.access(FilesAccess).pattern):
            if entry.origin in known:
                digest = known[entry.origin]
                pull.files.append(FileOutcome(entry.origin, digest, entry.size, "known"))
            else:
                yield from _read_one(pull, place, entry)


def _read_one(pull: Pull, place: Place, entry: Entry) -> Iterator[Piece]:
    with _fetched(pull, place, entry) as (path, digest):
        size = path.stat().st_size
        if (entry.origin, digest) in pull.progress.files:
            pull.files.append(FileOutcome(entry.origin, digest, size, "known"))
            return
        rows = 0
        try:
            for batch in _parse(pull, entry.origin, path):
                rows += batch.num_rows
                yield Piece(batch, entry.origin)
        except MuaraError as error:
            pull.files.append(FileOutcome(entry.origin, digest, size, "failed", str(error)))
            return
        pull.extracted += rows
        kept = kept_at(pull.settings, pull.source.name, digest)
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not kept.exists():
            kept.hardlink_to(path)
        pull.files.append(FileOutcome(entry.origin, digest, size, "loaded", kept_at=kept))


def look(pull: Pull) -> None:
    """Note the columns of the newest file; loads nothing. Raises as `read` does, and for a file
    that `read` would refuse."""
    with opened(pull) as place:
        entries = list(place.entries(pull.access(FilesAccess).pattern))
        if entries:
            newest = max(entries, key=lambda one: one.version)
            with _fetched(pull, place, newest) as (path, _digest):
                for _ in _parse(pull, newest.origin, path):
                    pass


def kept_at(settings: Settings, source: str, digest: str) -> Path:
    """Where the original bytes with this SHA-256 are kept."""
    return settings.home / "originals" / source / digest[:2] / digest


@contextmanager
def _fetched(pull: Pull, place: Place, entry: Entry) -> Iterator[tuple[Path, str]]:
    """The file's bytes on this machine and their SHA-256, while the context lasts."""
    folder = pull.settings.home / "originals" / pull.source.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=folder, prefix=".", suffix=".half") as file:
        path = Path(file.name)
        with path.open("wb") as target:
            place.fetch(entry, target)
        with path.open("rb") as fetched:
            yield path, hashlib.file_digest(fetched, "sha256").hexdigest()


def _parse(pull: Pull, origin: str, path: Path) -> Iterator[pa.RecordBatch]:
    """The declared columns as text. Raises SourceMalformed or SourceShapeChanged naming file and
    row."""
    where = f"{pull.where} file {origin}"
    for batch in parse(pull.stream, where, path):
        names = batch.schema.names
        if not set(names) & set(pull.stream.columns):
            # Perhaps the header is missing: what stands in its place may be a person.
            raise SourceShapeChanged("no declared column is named in its first line", where=where,
                                     next_step=ASK)  # fmt: skip
        try:
            note_shape(pull, dict.fromkeys(names, ""))
        except SourceShapeChanged as error:
            raise SourceShapeChanged(error.what, where=where, next_step=error.next_step) from None
        yield batch.select(list(pull.stream.columns))

"""Delimited files that agencies drop into a folder. Outcome per file, by the hash of its bytes.

A file whose bytes were loaded before is not read again. A file is read whole or not at all; the
original bytes are kept under their hash before anything is parsed.
"""

import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import csv

from common.definition import FilesAccess, Stream
from common.errors import MuaraError, SourceMalformed, SourceShapeChanged, SourceUnavailable
from common.settings import Settings
from connectors.readers.pull import FileOutcome, Piece, Pull, note_shape

ASK = "ask the sender for the whole file; it is taken up by the next run."


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the rows of every new file, one piece per file, and notes every file's outcome.

    A file that cannot be read is noted as failed and skipped; the others go on (whoever loads the
    batch reports the failed ones). Raises SourceUnavailable when the folder is not there.
    """
    pull.scope = "files"
    for origin, path in _files(pull):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if (origin, digest) in pull.progress.files:
            pull.files.append(FileOutcome(origin, digest, len(content), "known"))
            continue
        try:
            rows = _parse(pull, origin, content)
        except MuaraError as error:
            pull.files.append(FileOutcome(origin, digest, len(content), "failed", str(error)))
            continue
        pull.extracted += rows.num_rows
        kept = _keep(pull, path, digest)
        pull.files.append(FileOutcome(origin, digest, len(content), "loaded", kept_at=kept))
        for batch in rows.to_batches():
            yield Piece(batch, origin)


def look(pull: Pull) -> None:
    """Note the columns of the newest file; loads nothing. Raises as `read` does, and for a file
    that `read` would refuse."""
    if files := list(_files(pull)):
        origin, path = max(files, key=lambda one: one[1].stat().st_mtime)
        _parse(pull, origin, path.read_bytes())


def _files(pull: Pull) -> Iterator[tuple[str, Path]]:
    folder = Path(unquote(urlsplit(pull.url).path))
    if not folder.is_dir():
        raise SourceUnavailable(
            "the drop folder is not there",
            where=pull.where,
            next_step=f"check the path of connection {pull.stream.connection} and its mount.",
        )
    for path in sorted(folder.glob(pull.access(FilesAccess).pattern)):
        yield path.relative_to(folder).as_posix(), path


def kept_at(settings: Settings, source: str, digest: str) -> Path:
    """Where the original bytes with this SHA-256 are kept."""
    return settings.home / "originals" / source / digest[:2] / digest


def _keep(pull: Pull, path: Path, digest: str) -> Path:
    """The original bytes, stored once under their hash."""
    kept = kept_at(pull.settings, pull.source.name, digest)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = kept.with_suffix(".half")
        shutil.copyfile(path, half)
        half.rename(kept)
    return kept


def _parse(pull: Pull, origin: str, content: bytes) -> pa.Table:
    """The declared columns as text. Raises SourceMalformed or SourceShapeChanged naming file and
    row."""
    where = f"{pull.where} file {origin}"
    table = parse(pull.stream, where, content)
    if not set(table.column_names) & set(pull.stream.columns):
        # Perhaps the header is missing: what stands in its place may be a person.
        raise SourceShapeChanged("no declared column is named in its first line", where=where,
                                 next_step=ASK)  # fmt: skip
    try:
        note_shape(pull, dict.fromkeys(table.column_names, ""))
    except SourceShapeChanged as error:
        raise SourceShapeChanged(error.what, where=where, next_step=error.next_step) from None
    return table.select(list(pull.stream.columns))


def parse(stream: Stream, where: str, content: bytes) -> pa.Table:
    """All columns of a file; those that are declared are text. Raises SourceMalformed."""
    access = stream.read
    assert isinstance(access, FilesAccess)
    try:
        text = content.decode(access.encoding)
    except UnicodeDecodeError as error:
        raise SourceMalformed(
            f"byte {error.start} is not {access.encoding}", where=where, next_step=ASK
        ) from None
    if not text.endswith("\n"):
        raise SourceMalformed("half-written: the last line has no end", where=where, next_step=ASK)
    try:
        return csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=csv.ReadOptions(use_threads=False),  # only then errors name the row
            parse_options=csv.ParseOptions(delimiter=access.separator, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in stream.columns},
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        row = next((word for word in str(error).split() if word.startswith("#")), "")
        raise SourceMalformed(
            f"row {row.strip('#:')} has the wrong number of fields" if row else "not readable",
            where=where,
            next_step=ASK,
        ) from None

"""How files are written: one module per kind of `common.access.Format`.

`parse` of each yields Arrow batches of bounded size, at least one (it carries the columns of a file
without rows), all columns under the file's own names; those that are declared are text. What there
is to tell of the file stands in the metadata of the last schema, under `FOUND`. It raises
SourceMalformed, naming the file and the row and never a value.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from common.access import FilesAccess
from common.definition import Stream
from connectors.readers.files.formats import dbf, delimited, fixed_width, json_lines, mail, workbook
from connectors.readers.files.formats.text import ASK

FORMATS = {
    "delimited": delimited,
    "fixed_width": fixed_width,
    "dbf": dbf,
    "json_lines": json_lines,
    "workbook": workbook,
    "mail": mail,
}

FOUND = workbook.FOUND

__all__ = ["ASK", "FORMATS", "FOUND", "companions", "parse"]


def companions(access: FilesAccess) -> tuple[str, ...]:
    """Suffixes of files that belong to a file of the same name."""
    return dbf.MEMOS if access.format.kind == "dbf" else ()


def parse(stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """All columns of the file at `path`, which messages call `where`; a companion lies at its path
    with the suffix added. Raises SourceMalformed."""
    access = stream.read
    assert isinstance(access, FilesAccess)
    yield from FORMATS[access.format.kind].parse(access.format, stream, where, path)

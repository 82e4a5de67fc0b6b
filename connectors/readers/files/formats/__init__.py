"""How files are written: one module per kind of `common.access.Format`.

`parse` of each yields Arrow batches of bounded size, at least one (it carries the columns of a file
without rows), all columns under the file's own names; those that are declared are text. It raises
SourceMalformed, naming the file and the row and never a value.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from common.access import FilesAccess
from common.definition import Stream
from connectors.readers.files.formats import delimited, mail

FORMATS = {"delimited": delimited, "mail": mail}

ASK = delimited.ASK


def parse(stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """All columns of the file at `path`, which messages call `where`. Raises SourceMalformed."""
    access = stream.read
    assert isinstance(access, FilesAccess)
    yield from FORMATS[access.format.kind].parse(access.format, stream, where, path)

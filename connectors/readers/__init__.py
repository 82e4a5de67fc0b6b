"""One reader per shape of access. A reader knows nothing of any agency.

`read` yields Arrow batches with the source's own column names. What was fetched is counted here,
independently of what is staged later.
"""

from collections.abc import Iterator

from connectors.readers import files, rest, sql
from connectors.readers.pull import FileOutcome, Interval, Piece, Progress, Pull, Sums

READERS = {"sql": sql.read, "rest": rest.read, "files": files.read}

__all__ = ["FileOutcome", "Interval", "Piece", "Progress", "Pull", "Sums", "read"]


def read(pull: Pull) -> Iterator[Piece]:
    """The stream's rows, by the reader its definition names. Raises the SourceError family."""
    yield from READERS[pull.stream.read.reader](pull)

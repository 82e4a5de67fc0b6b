"""One reader per shape of access. A reader knows nothing of any agency.

`read` yields Arrow batches with the source's own column names. What was fetched is counted here,
independently of what is staged later.
"""

from collections.abc import Iterator

from connectors.readers import dlt, files, rest, sql
from connectors.readers.pull import FileOutcome, Interval, Piece, Progress, Pull, Sums
from connectors.readers.sql import difference

READERS = {"sql": sql, "rest": rest, "files": files, "dlt": dlt}

__all__ = [
    "FileOutcome",
    "Interval",
    "Piece",
    "Progress",
    "Pull",
    "Sums",
    "differing",
    "look",
    "read",
]


def read(pull: Pull) -> Iterator[Piece]:
    """The stream's rows, by the reader its definition names. Raises the SourceError family."""
    yield from READERS[pull.stream.read.reader].read(pull)


def differing(pull: Pull, held: Sums) -> Iterator[Piece]:
    """The rows that may differ from what is `held`, sums of contents per bucket: of a database that
    sums, those of buckets that differ; of anything else, all. Raises the SourceError family."""
    if pull.stream.read.reader == "sql":
        yield from difference.differing(pull, held)
    else:
        yield from read(pull)
        pull.present = pull.extracted


def look(pull: Pull) -> None:
    """Note the shape of the stream and its drifts on the pull; loads nothing. Raises the
    SourceError family, SourceShapeChanged when a declared column is gone."""
    READERS[pull.stream.read.reader].look(pull)

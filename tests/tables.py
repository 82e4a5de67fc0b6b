"""One table of a database as a stream, without a definition file: for tests of readers."""

from pathlib import Path

import pyarrow as pa

from common.definition import Source, Stream
from common.settings import Settings
from connectors.readers import Progress, Pull, read


def source_of(table: str, columns: dict[str, dict], key: str = "id", **more) -> Source:
    """A source `made` with one stream `rows`; `columns` is column → its entry without a name."""
    stream = {
        "name": "rows", "title": table, "connection": "made", "key": [key],
        "read": {"reader": "sql", "table": table}, "strategy": "snapshot",
        "columns": {name: {"name": name.lower(), **one} for name, one in columns.items()}, **more,
    }  # fmt: skip
    return Source.model_validate(
        {"name": "made", "title": table, "agency": "dkis", "streams": [stream],
         "contact": {"unit": "-", "email": "x@y.example"}}
    )  # fmt: skip


def pull_of(
    url: str, source: Source, home: Path, progress: Progress | None = None, **settings
) -> Pull:
    stream: Stream = source.streams[0]
    return Pull(source, stream, url, Settings(home=home, **settings), progress or Progress())


def rows_of(pull: Pull) -> list[tuple]:
    """Every row as texts, ordered by its first column."""
    pieces = [piece.rows for piece in read(pull)]
    if not pieces:
        return []
    rows = pa.Table.from_batches(pieces).to_pydict()
    return sorted(zip(*rows.values(), strict=True), key=lambda row: (row[0] is not None, row[0]))

"""Text with a header and one separator."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from common.access import Delimited
from common.definition import Stream
from common.errors import SourceMalformed

ASK = "ask the sender for the whole file; it is taken up by the next run."


def parse(access: Delimited, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns; an empty field is NULL, a quoted empty one is not."""
    try:
        text = path.read_bytes().decode(access.encoding)
    except UnicodeDecodeError as error:
        raise SourceMalformed(
            f"byte {error.start} is not {access.encoding}", where=where, next_step=ASK
        ) from None
    if not text.endswith("\n"):
        raise SourceMalformed("half-written: the last line has no end", where=where, next_step=ASK)
    try:
        table = csv.read_csv(
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
    yield from table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]

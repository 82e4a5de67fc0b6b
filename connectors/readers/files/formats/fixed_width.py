"""Text whose fields stand at fixed positions of each line, cut by Arrow."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from common.access import FixedWidth
from common.definition import Stream
from common.errors import SourceMalformed
from connectors.readers.files.formats.text import ASK, Utf8

UNIT = "\x1f"
"""A separator that no line contains, so that a line is one field (ASCII's unit separator)."""


def parse(access: FixedWidth, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns. Empty lines are no rows; what a short line lacks is NULL."""
    yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in access.fields]))
    with Utf8(path, access.encoding, where) as text:
        try:
            for lines in csv.open_csv(
                text,
                csv.ReadOptions(
                    use_threads=False,
                    block_size=max(1 << 20, access.max_row_bytes),
                    skip_rows=access.skip_lines,
                    column_names=["line"],
                ),
                csv.ParseOptions(delimiter=UNIT, quote_char=False),
                csv.ConvertOptions(column_types={"line": pa.string()}, strings_can_be_null=False),
            ):
                yield _cut(access, where, lines.column(0))
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise SourceMalformed(
                f"a line is longer than {access.max_row_bytes} bytes (`max_row_bytes`) or holds a "
                "control character",
                where=where,
                next_step=ASK,
            ) from None


def _cut(access: FixedWidth, where: str, lines: pa.Array) -> pa.RecordBatch:
    longest = pc.max(pc.binary_length(lines)).as_py() or 0
    if longest > access.max_row_bytes:
        raise SourceMalformed(
            f"a line is longer than {access.max_row_bytes} bytes (`max_row_bytes`)",
            where=where,
            next_step=ASK,
        )
    fields = []
    for first, last in access.fields.values():
        value = pc.utf8_trim(pc.utf8_slice_codeunits(lines, first - 1, last), " ")
        fields.append(pc.if_else(pc.equal(value, ""), pa.scalar(None, pa.string()), value))
    return pa.RecordBatch.from_arrays(fields, names=list(access.fields))

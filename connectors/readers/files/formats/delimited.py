"""Text with a header and one separator, parsed by Arrow."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from common.access import Delimited
from common.definition import Stream
from common.errors import SourceMalformed
from connectors.readers.files.formats.text import ASK, Utf8


def parse(access: Delimited, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns; an empty field is NULL, a quoted empty one is not."""
    names = _names(access, where, path)
    # A row of our own at the end: a quotation mark that is never closed would swallow it.
    end = secrets.token_hex(16)
    row = f"{end}{access.separator * (len(names) - 1)}\n".encode()
    with Utf8(path, access.encoding, where, tail=row) as text:
        rows, held = 0, None
        for batch in _batches(access, text, where, names):
            if held is not None:
                rows += held.num_rows
                yield held
            held = batch
        if held is None or held.num_rows == 0 or held.column(0)[-1].as_py() != end:
            rows += held.num_rows if held is not None else 0
            raise SourceMalformed(
                f"a quotation mark is opened in row {rows + 1} or before and never closed",
                where=where,
                next_step=ASK,
            )
        yield held.slice(0, held.num_rows - 1)


def _names(access: Delimited, where: str, path: Path) -> list[str]:
    """The header's names."""
    limit, head = access.max_header_bytes, b""
    with Utf8(path, access.encoding, where) as text:
        while len(head) <= limit and (piece := text.read(limit)):
            head += piece
    if head.find(b"\n", 0, limit + 1) < 0:
        raise SourceMalformed(
            f"its first line is longer than {limit} bytes" if head else "it is empty",
            where=where,
            next_step="ask the sender for a file with a header, or raise `max_header_bytes`.",
        )
    with Utf8(path, access.encoding, where) as text, _named(access, where):
        return csv.open_csv(
            text,
            csv.ReadOptions(use_threads=False, block_size=access.max_row_bytes),
            _as_parsed(access),
        ).schema.names


def _batches(
    access: Delimited, text: Utf8, where: str, names: list[str]
) -> Iterator[pa.RecordBatch]:
    with _named(access, where):
        yield from csv.open_csv(
            text,
            csv.ReadOptions(
                use_threads=False,  # only then errors name the row
                block_size=access.max_row_bytes,
            ),
            _as_parsed(access),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            ),
        )


def _as_parsed(access: Delimited) -> csv.ParseOptions:
    return csv.ParseOptions(
        delimiter=access.separator,
        quote_char=access.quote or False,
        double_quote=access.quote is not None,
        escape_char=access.escape or False,
        newlines_in_values=access.quote is not None,
    )


@contextmanager
def _named(access: Delimited, where: str) -> Iterator[None]:
    """Arrow's errors without what they quote of the row."""
    try:
        yield
    except pa.ArrowInvalid as error:
        row = re.search(r"Row #(\d+)", str(error))
        if "straddl" in str(error):
            what = f"a row is longer than {access.max_row_bytes} bytes (`max_row_bytes`)"
            if access.quote:
                what += ", or a quotation mark is never closed"
        elif row:
            what = f"row {row[1]} has the wrong number of fields"
        else:
            what = "not readable"
        raise SourceMalformed(what, where=where, next_step=ASK) from None

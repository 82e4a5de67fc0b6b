"""One JSON object per line. Numbers are kept as the digits that were sent."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from common.access import JsonLines
from common.definition import Stream
from common.errors import SourceMalformed
from connectors.readers import records
from connectors.readers.files.formats.text import ASK
from connectors.readers.records import Record, Unreadable

AT_ONCE = 1 << 23
"""Bytes of lines that are parsed together."""


def parse(access: JsonLines, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns, as `connectors.readers.records` says. A field that is missing
    is NULL; empty lines are no rows. What is not declared is named only.

    A declared field that no line has is told by the last batch, which lacks it.
    """
    declared, seen = list(stream.columns), dict.fromkeys(stream.columns, False)
    with path.open("rb") as file:
        for first, lines in _blocks(access, where, file):
            rows = list(_objects(where, first, lines))
            seen |= {name: True for row in rows for name in row}
            try:
                arrays = records.to_arrow(declared, rows).columns
            except Unreadable as error:
                told = f"lines {first} to {first + len(lines) - 1}: {error}"
                raise _malformed(where, told) from None
            arrays += [pa.nulls(len(rows))] * (len(seen) - len(declared))
            yield pa.RecordBatch.from_arrays(arrays, names=list(seen))
    found = [name for name, was_seen in seen.items() if was_seen] or declared
    yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in found]))


def _blocks(access: JsonLines, where: str, file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Lines, with the number of the first, that may be parsed together."""
    block: list[bytes] = []
    number, size = 1, 0
    while line := file.readline(access.max_row_bytes + 1):
        if not line.endswith(b"\n"):
            what = "half-written: the last line has no end"
            if len(line) > access.max_row_bytes:
                what = (
                    f"line {number + len(block)} is longer than {access.max_row_bytes} bytes "
                    "(`max_row_bytes`)"
                )
            raise SourceMalformed(what, where=where, next_step=ASK)
        block.append(line)
        size += len(line)
        if size >= AT_ONCE:
            yield number, block
            number, block, size = number + len(block), [], 0
    if block:
        yield number, block


def _objects(where: str, first: int, lines: list[bytes]) -> Iterator[Record]:
    for number, line in enumerate(lines, first):
        if line.isspace():
            continue
        try:
            row = records.parse(line.removeprefix(BOM_UTF8) if number == 1 else line)
        except Unreadable as error:
            raise _malformed(where, f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise _malformed(where, f"line {number} is no JSON object")
        yield row


def _malformed(where: str, what: str) -> SourceMalformed:
    return SourceMalformed(what, where=where, next_step=ASK)

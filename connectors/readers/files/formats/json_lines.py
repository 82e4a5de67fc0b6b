"""One JSON object per line. Numbers are kept as the digits that were sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pyarrow as pa

from common.access import JsonLines
from common.definition import Stream
from common.errors import SourceMalformed
from connectors.readers.files.formats.text import ASK

AT_ONCE = 1 << 23
"""Bytes of lines that are parsed together."""


def parse(access: JsonLines, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns: scalars as sent, objects and arrays as JSON with sorted keys.
    A field that is missing is NULL; empty lines are no rows. What is not declared is named only.

    A declared field that no line has is told by the last batch, which lacks it.
    """
    declared, seen = list(stream.columns), dict.fromkeys(stream.columns, False)
    with path.open("rb") as file:
        for first, lines in _blocks(access, where, file):
            rows = list(_objects(where, first, lines))
            seen |= {name: True for _, row in rows for name in row}
            arrays = [_column(where, name, rows) for name in declared]
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


def _objects(where: str, first: int, lines: list[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number and object."""
    for number, line in enumerate(lines, first):
        if line.isspace():
            continue
        try:
            row = DECODER.decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError):
            raise _malformed(where, f"line {number} is not valid JSON in UTF-8") from None
        if not isinstance(row, dict):
            raise _malformed(where, f"line {number} is no JSON object")
        yield number, row


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse)


def _column(where: str, name: str, rows: list[tuple[int, dict[str, Any]]]) -> pa.Array:
    values = [row.get(name) for _, row in rows]
    try:
        try:
            return pa.array(values, pa.string())
        except (pa.ArrowException, TypeError):
            return pa.array([_text(value) for value in values], pa.string())
    except UnicodeEncodeError:
        wrong = next(number for number, row in rows if not _is_text(row.get(name)))
        raise _malformed(where, f"line {wrong}: {name} holds half a character") from None


def _text(value: Any) -> str | None:
    """Objects and arrays as canonical JSON, so that a re-ordering is no change."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_text(value: Any) -> bool:
    try:
        (_text(value) or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def _malformed(where: str, what: str) -> SourceMalformed:
    return SourceMalformed(what, where=where, next_step=ASK)

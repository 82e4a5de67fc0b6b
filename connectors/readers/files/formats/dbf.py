"""dBase and FoxPro tables, read in blocks of records by NumPy, with their memo file.

The memo lies beside as `<path>.dbt` or `<path>.fpt`. Sources: Borland, dBase .DBF File Structure;
Microsoft, Visual FoxPro Table File Structure and Code Pages Supported by Visual FoxPro.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.access import Dbf
from common.definition import Stream
from common.errors import SourceMalformed
from common.log import log
from connectors.readers.files.formats.text import ASK

MEMOS = (".dbt", ".fpt")
FOXPRO = frozenset({0x30, 0x31, 0x32})
VERSIONS = FOXPRO | {0x02, 0x03, 0x43, 0x63, 0x83, 0x8B, 0xCB, 0xF5, 0xFB}
DBASE_3_MEMO = 0x83
BLOCK = 1 << 23
"""Bytes of records held at a time."""
HEADER, FIELD = 32, 32
FIELDS_END = 0x0D
ACTIVE, DELETED = 0x20, 0x2A
END_OF_FILE = b"\x1a"
UNIX_EPOCH = 2_440_588
"""1970-01-01 as a Julian day."""

CODE_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x04: "mac_roman", 0x08: "cp865", 0x09: "cp437",
    0x0A: "cp850", 0x0B: "cp437", 0x0D: "cp437", 0x0E: "cp850", 0x0F: "cp437", 0x10: "cp850",
    0x11: "cp437", 0x12: "cp850", 0x13: "cp932", 0x14: "cp850", 0x15: "cp437", 0x16: "cp850",
    0x17: "cp865", 0x18: "cp437", 0x19: "cp437", 0x1A: "cp850", 0x1B: "cp437", 0x1C: "cp863",
    0x1D: "cp850", 0x1F: "cp852", 0x22: "cp852", 0x23: "cp852", 0x24: "cp860", 0x25: "cp850",
    0x26: "cp866", 0x37: "cp850", 0x40: "cp852", 0x4D: "cp936", 0x4E: "cp949", 0x4F: "cp950",
    0x50: "cp874", 0x57: "cp1252", 0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852", 0x65: "cp866",
    0x66: "cp865", 0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x78: "cp950", 0x79: "cp949",
    0x7A: "cp936", 0x7B: "cp932", 0x7C: "cp874", 0x7D: "cp1255", 0x7E: "cp1256", 0x86: "cp737",
    0x87: "cp852", 0x88: "cp857", 0x96: "mac_cyrillic", 0x97: "mac_latin2", 0x98: "mac_greek",
    0xC8: "cp1250", 0xC9: "cp1251", 0xCA: "cp1254", 0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip
"""Language driver byte → code page."""


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    start: int
    width: int
    decimals: int


@dataclass(frozen=True)
class Table:
    """What the header says, checked against the file."""

    version: int
    records: int
    header: int
    width: int
    columns: list[Column]
    encoding: str


def parse(access: Dbf, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields batches of text columns; what is not declared is named only. Dates are ISO 8601,
    logical values `true`, `false` or NULL. Deleted records are no rows: they are counted in the
    log."""
    with path.open("rb") as file:
        table = _table(access, where, file, path.stat().st_size)
        memo = _memo(access, where, table, path) if _needs_memo(table, stream) else None
        names = [column.name for column in table.columns]
        deleted, at_once = 0, max(1, BLOCK // table.width)
        for first in range(0, max(1, table.records), at_once):
            count = min(at_once, table.records - first)
            block = np.frombuffer(file.read(count * table.width), np.uint8)
            block = block.reshape(-1, table.width)
            flags = block[:, 0]
            if lying := np.flatnonzero((flags != ACTIVE) & (flags != DELETED)).tolist():
                raise _malformed(where, f"record {first + lying[0] + 1} has no beginning")
            rows = np.flatnonzero(flags == ACTIVE)
            deleted += count - len(rows)
            block = block if len(rows) == count else block[rows]
            arrays = [
                _Reading(where, table, memo, column, first + rows).text(block)
                if column.name in stream.columns
                else pa.nulls(len(rows))
                for column in table.columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=names)
        if deleted:
            log.info("deleted_records_left_out", where=where, records=deleted)


def _table(access: Dbf, where: str, file: BinaryIO, size: int) -> Table:
    head = file.read(HEADER)
    if len(head) < HEADER or head[0] not in VERSIONS:
        raise _malformed(where, "not a dBase or FoxPro table")
    records = int.from_bytes(head[4:8], "little")
    header = int.from_bytes(head[8:10], "little")
    width = int.from_bytes(head[10:12], "little")
    described = file.read(max(0, header - HEADER))
    encoding = access.encoding or CODE_PAGES.get(head[29], "ascii")
    columns, start = [], 1
    for at in range(0, len(described), FIELD):
        one = described[at : at + FIELD]
        if one[0] == FIELDS_END:
            break
        if len(one) < FIELD:
            raise _malformed(where, "its header does not describe its fields")
        name = one[:11].split(b"\0")[0]
        kind, length, decimals = chr(one[11]), one[16], one[17]
        if kind == "C" and head[0] not in FOXPRO:
            length += decimals << 8  # Clipper's long texts
        if not name or not kind.isascii() or not kind.isprintable() or not length:
            raise _malformed(where, "its header does not describe its fields")
        try:
            columns.append(Column(name.decode(encoding), kind, start, length, decimals))
        except UnicodeDecodeError:
            raise _malformed(where, f"a field's name is not {encoding}") from None
        start += length
    else:
        raise _malformed(where, "its header has no end")
    if start != width or not columns:
        raise _malformed(where, "its header's field lengths do not add up to its record length")
    rest = size - header - records * width
    if rest < 0:
        raise _malformed(where, f"its header promises {records} records and the file ends before")
    if rest and file.seek(header + records * width) and file.read(1) not in (END_OF_FILE, b"\0"):
        raise _malformed(where, f"it holds more than the {records} records its header promises")
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise _malformed(where, "two of its fields have one name")
    file.seek(header)
    return Table(head[0], records, header, width, columns, encoding)


def _needs_memo(table: Table, stream: Stream) -> bool:
    return any(column.kind == "M" and column.name in stream.columns for column in table.columns)


class _Reading:
    """The values of one column of a block of records; `records` are their numbers, from 0."""

    def __init__(
        self, where: str, table: Table, memo: "_Memo | None", column: Column, records: np.ndarray
    ) -> None:
        self.where, self.table, self.memo = where, table, memo
        self.column, self.records = column, records

    def text(self, block: np.ndarray) -> pa.Array:
        column = self.column
        cells = block[:, column.start : column.start + column.width]
        is_foxpro = self.table.version in FOXPRO
        match column.kind:
            case "C":
                return _empty_to_null(pc.utf8_rtrim(self._decoded(cells), " "))
            case "N" | "F":
                return _empty_to_null(pc.utf8_trim(self._decoded(cells), " "))
            case "D":
                day = pc.utf8_trim(self._decoded(cells), " ")
                iso = pc.replace_substring_regex(day, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
                return _empty_to_null(iso)
            case "L":
                return self._logical(cells)
            case "I" if column.width == 4:
                return pa.array(_numbers(cells, "<i4")).cast(pa.string())
            case "B" if column.width == 8 and is_foxpro:
                return _digits(_numbers(cells, "<f8"))
            case "O" if column.width == 8:
                return _digits(_numbers(cells, "<f8"))
            case "Y" if column.width == 8:
                whole = pa.array(_numbers(cells, "<i8"))
                return _money(whole)
            case "T" | "@" if column.width == 8:
                return self._moment(cells)
            case "M" if self.memo:
                return self.memo.texts(self._blocks(cells), self.records)
            case _:
                raise _malformed(
                    self.where, f"field {column.name} is of type {column.kind}, which is not read"
                )

    def _decoded(self, cells: np.ndarray) -> pa.Array:
        """Text of the cells, with their padding; NUL is padding too."""
        rows, width = cells.shape
        ended = np.zeros((rows, width + 1), np.uint8)
        ended[:, :width] = cells
        ended[:, :width][cells == 0] = ACTIVE
        content = ended.tobytes()
        if not content.isascii():
            try:
                content = content.decode(self.table.encoding).encode()
            except UnicodeDecodeError as error:
                record = int(self.records[error.start // (width + 1)]) + 1
                raise self._not_in_code_page(record) from None
        ends = np.flatnonzero(np.frombuffer(content, np.uint8) == 0)
        if len(ends) != rows:
            raise self._not_in_code_page(int(self.records[0]) + 1)
        # The byte that ends a cell is cut with its padding, so it is made a blank.
        plain = content.replace(b"\0", b" ")
        offsets = np.concatenate([[0], ends + 1]).astype(np.int32)
        return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(plain))

    def _not_in_code_page(self, record: int) -> SourceMalformed:
        return SourceMalformed(
            f"record {record}: field {self.column.name} is not {self.table.encoding}",
            where=self.where,
            next_step="declare the `encoding` it is written in, or " + ASK,
        )

    def _logical(self, cells: np.ndarray) -> pa.Array:
        said = cells[:, 0]
        true, false = np.isin(said, list(b"TtYy")), np.isin(said, list(b"FfNn"))
        if other := np.flatnonzero(~(true | false | np.isin(said, list(b"? \0")))).tolist():
            raise _malformed(
                self.where,
                f"record {int(self.records[other[0]]) + 1}: field {self.column.name} is neither "
                "true nor false",
            )
        return pa.array(np.where(true, "true", "false"), pa.string(), mask=~(true | false))

    def _moment(self, cells: np.ndarray) -> pa.Array:
        parts = _numbers(cells, "<i4", 2)
        days, milliseconds = parts[:, 0].astype(np.int64), parts[:, 1].astype(np.int64)
        seconds = (days - UNIX_EPOCH) * 86_400 + (milliseconds + 500) // 1000
        told = pa.array(seconds, pa.timestamp("s"), mask=days == 0)
        return pc.strftime(told, "%Y-%m-%d %H:%M:%S")

    def _blocks(self, cells: np.ndarray) -> np.ndarray:
        """The number of each value's first memo block; 0 where it has none."""
        if self.column.width == 4:
            return _numbers(cells, "<u4").astype(np.int64)
        digits = pc.utf8_trim(self._decoded(cells), " ")
        try:
            number = pc.cast(_empty_to_null(digits), pa.int64())
        except pa.ArrowInvalid:
            raise _malformed(
                self.where, f"field {self.column.name} does not say where its memos are"
            ) from None
        return pc.fill_null(number, 0).to_numpy(zero_copy_only=False)


class _Memo:
    """Texts of any length, in blocks of a file beside."""

    def __init__(self, access: Dbf, where: str, table: Table, path: Path) -> None:
        self.access, self.where, self.table = access, where, table
        with path.open("rb") as file:
            if path.stat().st_size < 512:
                raise _malformed(where, "its memo file is half-written")
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.is_foxpro = path.suffix == ".fpt"
        if self.is_foxpro:
            self.block = int.from_bytes(self.bytes[6:8], "big") or 1
        elif table.version == DBASE_3_MEMO:
            self.block = 512
        else:
            self.block = int.from_bytes(self.bytes[20:22], "little") or 512

    def texts(self, blocks: np.ndarray, records: np.ndarray) -> pa.Array:
        return pa.array(
            [
                self._text(block, record) if block else None
                for block, record in zip(blocks.tolist(), records.tolist(), strict=True)
            ],
            pa.string(),
        )

    def _text(self, block: int, record: int) -> str | None:
        start = block * self.block
        if self.is_foxpro:
            start, length = start + 8, int.from_bytes(self.bytes[start + 4 : start + 8], "big")
        elif self.table.version == DBASE_3_MEMO:
            most = self.access.max_memo_bytes + 1
            end = self.bytes.find(b"\x1a", start, start + most)
            length = end - start if end >= 0 else most
        else:
            length = int.from_bytes(self.bytes[start + 4 : start + 8], "little") - 8
            start += 8
        if not 0 <= length <= len(self.bytes) - start:
            raise _malformed(self.where, f"record {record + 1}: its memo has no end")
        if length > self.access.max_memo_bytes:
            raise _malformed(
                self.where,
                f"record {record + 1}: its memo is longer than {self.access.max_memo_bytes} bytes "
                "(`max_memo_bytes`)",
            )
        try:
            return self.bytes[start : start + length].decode(self.table.encoding) or None
        except UnicodeDecodeError:
            raise _malformed(
                self.where, f"record {record + 1}: its memo is not {self.table.encoding}"
            ) from None


def _memo(access: Dbf, where: str, table: Table, path: Path) -> _Memo:
    for suffix in MEMOS:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            return _Memo(access, where, table, beside)
    raise _malformed(where, "its memo file does not lie beside it")


def _numbers(cells: np.ndarray, kind: str, each: int = 1) -> np.ndarray:
    found = np.ascontiguousarray(cells).view(kind)
    return found[:, 0] if each == 1 else found


def _digits(values: np.ndarray) -> pa.Array:
    """Floats in the shortest form that reads back equal."""
    return pa.array(values).cast(pa.string())


def _money(ten_thousandths: pa.Array) -> pa.Array:
    """Currency is a whole number of ten-thousandths."""
    each = pa.scalar(Decimal("0.0001"), pa.decimal128(5, 4))
    return pc.multiply(ten_thousandths.cast(pa.decimal128(19, 0)), each).cast(pa.string())


def _empty_to_null(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _malformed(where: str, what: str) -> SourceMalformed:
    return SourceMalformed(what, where=where, next_step=ASK)

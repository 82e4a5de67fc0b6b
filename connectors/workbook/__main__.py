"""The process that reads one workbook."""

import json
import re
import resource
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import olefile
import pyarrow as pa
import python_calamine as calamine

from connectors.workbook import Finding, Refusal, SheetFinding, Task
from connectors.workbook.layout import SEARCHED_ROWS, People, find_header

CPU_SECONDS = 300
MEGABYTE = 1 << 20
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError,
           ValueError)  # fmt: skip
LOCKED = "is locked with a password"
DATE_MODE, END_OF_GLOBALS, FILE_PASS = 0x22, 0x0A, 0x2F


def main() -> None:
    task = Task.model_validate_json(sys.stdin.buffer.read())
    memory = task.format.memory_mb * MEGABYTE
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        finding = _read(Path(sys.argv[1]), task, sys.stdout.buffer)
        answer = asdict(finding)
    except Refusal as refusal:
        answer = {"refused": str(refusal)}
    except MemoryError:
        answer = {"refused": f"needs more than the {task.format.memory_mb} MB it may take"}
    print(json.dumps(answer), file=sys.stderr)


def _read(path: Path, task: Task, target: BinaryIO) -> Finding:
    finding = Finding()
    schema = pa.schema([(name, pa.string()) for name in task.columns])
    with pa.ipc.new_stream(target, schema) as stream:
        for batch in people_of(path, task, finding):
            stream.write_batch(batch)
    return finding


def people_of(path: Path, task: Task, finding: Finding) -> Iterator[pa.RecordBatch]:
    """The people on all sheets of a known layout; fills the finding. Raises Refusal."""
    with path.open("rb") as file:
        is_1904 = _is_1904(file, task.format.memory_mb * MEGABYTE)
        file.seek(0)
        try:
            book = calamine.CalamineWorkbook.from_filelike(file)
        except calamine.PasswordError:
            raise Refusal(LOCKED) from None
        except (calamine.CalamineError, OSError, ValueError):
            raise Refusal("cannot be read as a workbook") from None
        misses = []
        for at, sheet in enumerate(book.sheets_metadata):
            if sheet.typ != calamine.SheetTypeEnum.WorkSheet:
                finding.other_sheets[at + 1] = 0
                continue
            try:
                rows = book.get_sheet_by_index(at).iter_rows()
            except (calamine.CalamineError, OSError, ValueError):
                raise Refusal(f"has a sheet that cannot be read: sheet {at + 1}") from None
            layouts = {
                name: layout
                for name, layout in task.format.layouts.items()
                if re.search(layout.sheet, sheet.name)
            }
            top = list(islice(rows, SEARCHED_ROWS))
            header = find_header(layouts, top)
            if isinstance(header, str):
                filled = sum(any(cell != "" for cell in row) for row in chain(top, rows))
                finding.other_sheets[at + 1] = filled
                if filled:
                    misses.append(f"sheet {at + 1}: {header}")
                continue
            titles = sum(any(cell != "" for cell in row) for row in top[: header.row])
            found = SheetFinding(at + 1, header.name, header.row + 1)
            found.left_out = {"title": titles} if titles else {}
            finding.sheets.append(found)
            finding.headings += [one for one in header.undeclared if one not in finding.headings]
            below = chain(top[header.row + header.layout.header_rows :], rows)
            yield from People(task, header, found, is_1904).read(below)
        if not finding.sheets:
            raise Refusal(
                f"matches no layout: {'; '.join(misses[:3])}" if misses else "holds no rows"
            )


def _is_1904(file: BinaryIO, most: int) -> bool:
    """Whether days count from 1904. Raises Refusal for what is no workbook, or unpacks to more than
    `most` bytes."""
    match file.read(4):
        case head if head == ZIP:
            return _is_1904_xlsx(file, most)
        case head if head == OLE:
            return _is_1904_xls(file)
    raise Refusal("is neither XLSX nor XLS, whatever its name says")


def _is_1904_xlsx(file: BinaryIO, most: int) -> bool:
    try:
        with zipfile.ZipFile(file) as packed:
            if sum(one.file_size for one in packed.infolist()) > most:
                raise Refusal(f"unpacks to more than {most // MEGABYTE} MB")
            with packed.open("xl/workbook.xml") as part:
                text = part.read(most)
    except KeyError:
        raise Refusal("is neither XLSX nor XLS, whatever its name says") from None
    except DAMAGED:
        raise Refusal("is damaged") from None
    return re.search(rb"""date1904\s*=\s*["'](1|true)""", text) is not None


def _is_1904_xls(file: BinaryIO) -> bool:
    try:
        with olefile.OleFileIO(file) as ole:
            if ole.exists("EncryptedPackage"):
                raise Refusal(LOCKED)
            name = next((one for one in ("Workbook", "Book") if ole.exists(one)), None)
            if name is None:
                raise Refusal("is neither XLSX nor XLS, whatever its name says")
            stream = ole.openstream(name)
            while len(head := stream.read(4)) == 4:
                kind, size = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:], "little")
                data = stream.read(size)
                if kind == FILE_PASS:
                    raise Refusal(LOCKED)
                if kind == DATE_MODE:
                    return data[:1] == b"\x01"
                if kind == END_OF_GLOBALS:
                    break
    except (OSError, ValueError, IndexError, EOFError, TypeError):
        raise Refusal("is damaged") from None
    return False


if __name__ == "__main__":
    main()

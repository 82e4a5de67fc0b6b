"""Workbooks, read in a process of their own: `connectors.workbook`."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa

from common.access import Workbook
from common.definition import Stream
from common.errors import SourceMalformed
from common.settings import ROOT
from connectors.workbook import Task

NEXT = "correct the workbook, or declare what is new in its layout; the next run takes it up."
FOUND = b"found"
"""Of the last batch's schema, what was found in the file: JSON, counts only."""
DATED = ("date", "timestamp")


def parse(access: Workbook, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """The people of the workbook; then an empty batch whose schema names every heading that no
    layout declares, and what was `FOUND`."""
    filled = set().union(*(layout.fills for layout in access.layouts.values()))
    columns = tuple(name for name in stream.columns if name in filled)
    dated = tuple(name for name, column in stream.columns.items() if column.type in DATED)
    task = Task(format=access, columns=columns, dated=dated)
    with TemporaryFile() as answers:
        with subprocess.Popen(
            [sys.executable, "-m", "connectors.workbook", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=answers,
        ) as reading:
            assert reading.stdin
            assert reading.stdout
            try:
                reading.stdin.write(task.model_dump_json().encode())
                reading.stdin.close()
                yield from _batches(reading.stdout)
                reading.wait()
            except BaseException:
                reading.kill()
                raise
        answers.seek(0)
        found = _found(reading.returncode, answers.read(), access, where)
    others = [name for name in found["headings"] if name not in columns]
    schema = pa.schema(
        [(name, pa.string()) for name in (*columns, *others)],
        metadata={FOUND: json.dumps(found)},
    )
    yield pa.RecordBatch.from_pylist([], schema)


def _batches(stream: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """What arrives, as far as it goes: how the process ended tells why it ends."""
    with suppress(pa.ArrowInvalid, OSError):
        yield from pa.ipc.open_stream(stream)


def _found(ended: int, answers: bytes, access: Workbook, where: str) -> dict[str, Any]:
    match -ended:
        case 0:
            found: dict[str, Any] = json.loads(answers.splitlines()[-1])
            why = found.get("refused")
            if why is None:
                return found
        case signal.SIGXCPU:
            why = "takes too long to read"
        case signal.SIGABRT | signal.SIGKILL | signal.SIGSEGV:
            why = f"needs more than the {access.memory_mb} MB it may take"
        case _:
            why = "cannot be read as a workbook"
    raise SourceMalformed(f"the workbook {why}", where=where, next_step=NEXT)

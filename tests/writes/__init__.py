"""Kills, full disks and broken disks at the n-th write call of an operation.

`intercept.c` counts the write calls below a home and strikes at one of them; `runner.py` is a
process that has imported everything and forks for every step, so that a trial costs what its work
costs. `intercept.c` has the layout of `Page` too.
"""

import ctypes
import json
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from common.settings import ROOT

SOURCE = Path(__file__).with_name("intercept.c")
TEXT = 512
KILLED = -9
SECONDS_AT_MOST = 600


class Fault(IntEnum):
    """What happens at the n-th write call."""

    OFF = 0
    COUNT = 1
    KILL_BEFORE = 2
    KILL_AFTER = 3
    KILL_HALFWAY = 4
    FULL = 5
    FULL_HALFWAY = 6
    BROKEN = 7
    READ_ONLY = 8


KILLS = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.KILL_HALFWAY)
REFUSALS = (Fault.FULL, Fault.FULL_HALFWAY, Fault.BROKEN, Fault.READ_ONLY)


class Page(ctypes.Structure):
    """What the library reads and writes."""

    _fields_ = [
        ("count", ctypes.c_ulong),
        ("fatal", ctypes.c_ulong),
        ("mode", ctypes.c_int),
        ("folder", ctypes.c_char * TEXT),
        ("struck", ctypes.c_char * TEXT),
    ]


@dataclass(frozen=True)
class Outcome:
    """How a step ended: its exit code (KILLED), what it printed, how many write calls it made and
    which one was struck."""

    code: int
    output: str
    calls: int
    struck: str

    @property
    def answer(self) -> Any:
        return json.loads(self.output)


def compiled(folder: Path) -> Path:
    """The library, compiled into `folder`."""
    library = folder / "intercept.so"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", SOURCE, "-o", library,
         "-ldl"],
        check=True,
    )  # fmt: skip
    return library


class Runner:
    """The process that forks for every step. Close it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shared = folder / "page"
        shared.write_bytes(bytes(ctypes.sizeof(Page)))
        with shared.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.page = Page.from_buffer(self.memory)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.writes.runner"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {
                "LD_PRELOAD": str(compiled(folder)), "MUARA_WRITES": str(shared),
                "MUARA_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                "JE_ARROW_MALLOC_CONF": "background_thread:false",
                "GX_ANALYTICS_ENABLED": "False", "PYTHONDONTWRITEBYTECODE": "1",
            },
        )  # fmt: skip

    def run(
        self,
        home: Path,
        step: list[str],
        fault: Fault = Fault.OFF,
        at: int = 0,
        settings: dict[str, str] | None = None,
        counted: Path | None = None,
    ) -> Outcome:
        """Run a step in `home`: the arguments of a `muara` command, or the name of a function of
        `tests.writes.steps` and its arguments. The fault strikes at the `at`-th write call below
        the home, or below the folder that is `counted`."""
        page, output = self.page, self.folder / "output"
        page.count, page.fatal, page.mode = 0, at, fault
        page.folder, page.struck = str((counted or home).resolve()).encode(), b""
        asked = {"home": str(home), "step": step, "output": str(output), "settings": settings or {}}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        page.mode = Fault.OFF
        struck = page.struck.decode(errors="replace")
        return Outcome(code, output.read_text(errors="replace"), page.count, struck)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(SECONDS_AT_MOST)
        del self.page
        self.memory.close()

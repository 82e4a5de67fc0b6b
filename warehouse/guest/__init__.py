"""People's questions to the lake, each run by a process that can neither write nor keep a secret.

The process holds a read-only connection without keys and macros, lets only one SELECT pass
(`common.given_sql`), has given up writing, sockets and programs (`common.confine`), and is killed
when it takes too long. What it takes in memory is bounded by the system.
"""

import json
import os
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from common.errors import DefinitionError, MuaraError, QueryRefused, WarehouseFault
from common.settings import ROOT, Settings
from warehouse.catalog import lake_folder

LARGEST = 64 << 20
BESIDE, OF_A_THREAD = 1 << 30, 128 << 20
"""Bytes of addresses that the process takes beside what DuckDB may."""
START_SECONDS = 120
ERRORS = {"refused": QueryRefused, "fault": DefinitionError, "failed": WarehouseFault}
"""What the process says went wrong, and what we raise then."""
START = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    "import warehouse.guest.__main__ as process; process.main()"
)


@dataclass(frozen=True)
class Answer:
    columns: list[str]
    rows: list[list[Any]]


def ask(settings: Settings, query: str, limit: int) -> Answer:
    """The first rows of one question. Raises QueryRefused, DefinitionError where it cannot be
    answered, WarehouseFault where there is no warehouse."""
    with guest(settings) as one:
        return one.ask(query, limit)


@contextmanager
def guest(settings: Settings) -> Iterator["Guest"]:
    """A process that answers one question after the other. Not for a process of ours that has the
    lake attached itself: two copies of SQLite in one process undo each other's locks."""
    with ExitStack() as held:
        # While we have the catalog open, the files beside it that every reader needs are there.
        # What is wrong with it, the process says.
        with suppress(sqlite3.Error):
            uri = f"{(lake_folder(settings) / 'catalog.sqlite').as_uri()}?mode=rw"
            catalog = held.enter_context(closing(sqlite3.connect(uri, uri=True)))
            catalog.execute("SELECT 1 FROM sqlite_master").fetchone()
        asking = Guest(settings)
        held.callback(asking.close)
        asking.start()
        yield asking


class Guest:
    """The process, from our side."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", START],
            cwd=ROOT,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.answers, self.started = b"", False

    def start(self) -> None:
        """Let it open the lake and give up the rest. Raises WarehouseFault, QueryRefused."""
        memory, threads = self.settings.memory_limit, self.settings.threads
        self._send(
            {
                "home": str(self.settings.home),
                "memory": memory,
                "threads": threads,
                "addresses": 2 * memory + BESIDE + threads * OF_A_THREAD,
                "seconds": self.settings.query_seconds * threads,
            }
        )
        self._receive(START_SECONDS)
        self.started = True

    def ask(self, query: str, limit: int) -> Answer:
        """The first rows. Raises QueryRefused, DefinitionError; when it took too much time or
        memory, the process is gone."""
        self._send({"query": query, "limit": limit})
        said = self._receive(self.settings.query_seconds)
        return Answer(said["columns"], said["rows"])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _send(self, said: dict[str, Any]) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(said).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdout
        pipe, until = self.process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self.answers:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                self.process.kill()
                raise _too_much(f"more than {seconds} seconds")
            more = os.read(pipe, 1 << 16)
            if not more:
                raise self._ended()
            self.answers += more
            if len(self.answers) > LARGEST:
                self.process.kill()
                raise _too_much(f"an answer of more than {LARGEST >> 20} MiB")
        line, self.answers = self.answers.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        for kind, error in ERRORS.items():
            if fault := said.get(kind):
                raise error(fault["what"], where="query", next_step=fault["next_step"])
        return said

    def _ended(self) -> MuaraError:
        self.process.wait()
        if not self.started:
            return WarehouseFault(
                "the process that asks did not start", next_step="run `muara doctor`."
            )
        return _too_much("more memory or time than a query may")


def _too_much(what: str) -> QueryRefused:
    return QueryRefused(
        f"it takes {what}",
        where="query",
        next_step="ask for less, or ask the published warehouse.",
    )

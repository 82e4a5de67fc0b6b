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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from common.errors import DefinitionError, QueryRefused, WarehouseFault
from common.settings import ROOT, Settings
from warehouse.catalog import lake_folder

LARGEST = 64 << 20
BESIDE = 1 << 30
"""Bytes of addresses that the process takes beside what DuckDB may: libraries, threads' stacks."""
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
    """A process that answers one question after the other."""
    catalog = lake_folder(settings) / "catalog.sqlite"
    if not catalog.exists():
        raise WarehouseFault(
            "there is no warehouse yet", next_step="run `make night` or `muara night` first."
        )
    # While we have it open, the files beside it that every reader needs are there.
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=rw", uri=True)) as held:
        held.execute("SELECT 1 FROM sqlite_master").fetchone()
        asking = Guest(settings)
        try:
            yield asking
        finally:
            asking.close()


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
        self.answers = b""
        self._send(
            {
                "home": str(settings.home),
                "memory": settings.memory_limit,
                "threads": settings.threads,
                "addresses": 2 * settings.memory_limit + BESIDE,
                "seconds": settings.query_seconds * settings.threads,
            }
        )

        self._receive(START_SECONDS)

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

    def _ended(self) -> QueryRefused:
        self.process.wait()
        return _too_much("more memory or time than a query may")


def _too_much(what: str) -> QueryRefused:
    return QueryRefused(
        f"it takes {what}",
        where="query",
        next_step="ask for less, or ask the published warehouse.",
    )

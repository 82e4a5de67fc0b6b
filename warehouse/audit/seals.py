"""The seals of the audit log, kept outside of it.

Every row of the log has a keyed seal over itself and the seal before. Here each is written a second
time, in `var/seals/audit`, a file that is only appended to: a log that was emptied, cut, replaced
or restored alone no longer fits it. The newest seal also leaves the machine, in the manifests of
each night. The owner of the machine holds the key and can write all of it anew, but not what
agencies already hold.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import MuaraError
from common.settings import Settings
from warehouse.manifest import NAME, read_manifest

LINE = re.compile(rb"^(\d+) ([0-9a-f]{64})$", re.MULTILINE)
"""A row's number and seal. What a killed process left of a line is none, and is written again."""
TAIL_BYTES = 4096


class Seals:
    """The file, held alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def last(self) -> int:
        """The number of the last sealed row; 0 where none is."""
        size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, TAIL_BYTES, max(size - TAIL_BYTES, 0))
        found = LINE.findall(tail)
        return int(found[-1][0]) if found else 0

    def append(self, rows: Iterable[tuple[int, str]]) -> None:
        """Add (number, seal) of each row; on the disk when this returns."""
        size = os.fstat(self._descriptor).st_size
        is_torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        text = ("\n" if is_torn else "") + "".join(f"{number} {seal}\n" for number, seal in rows)
        written = os.write(self._descriptor, text.encode())
        os.fdatasync(self._descriptor)
        if written != len(text):
            raise OSError(f"{written} of {len(text)} bytes of the audit log's seals were written")


@contextmanager
def held(settings: Settings) -> Iterator[Seals]:
    """The seals, made when there are none, held against every other process. Raises OSError."""
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Seals(descriptor)
    finally:
        os.close(descriptor)


def sealed(settings: Settings) -> dict[int, str]:
    """Row → seal, as the file says; of a row that is there twice, the first."""
    path = _path(settings)
    found: dict[int, str] = {}
    for number, seal in LINE.findall(path.read_bytes() if path.exists() else b""):
        found.setdefault(int(number), seal.decode())
    return found


def head(settings: Settings) -> dict[str, Any]:
    """What a manifest says of the audit log: `audit_log`, its newest row and seal; empty where
    there is no log."""
    seals = sealed(settings)
    return {"audit_log": {"row": max(seals), "seal": seals[max(seals)]}} if seals else {}


def witnesses(settings: Settings) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The manifests of this home that hold a head, and that head. One that cannot be read is none:
    whoever verifies deliveries says so."""
    for kind in ("published/*", "extracts/*/*"):
        for path in sorted(settings.home.glob(f"{kind}/{NAME}")):
            with suppress(ValueError, KeyError, OSError, MuaraError):
                told = read_manifest(path.parent)["audit_log"]
                yield path, {"row": int(told["row"]), "seal": str(told["seal"])}


def _path(settings: Settings) -> Path:
    return settings.home / "seals" / "audit"

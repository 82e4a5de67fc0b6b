"""Files of ours below MUARA_HOME: written whole or not at all, also when the machine loses its
power, and believed only when they are what we write."""

import ctypes
import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from common.errors import HomeFault

Content = TypeVar("Content")
ABANDONED_AFTER = 3600
"""Seconds after which a half-written file has no writer any more."""
HERE, EXCHANGE = -100, 2
"""Of Linux's renameat2: paths as they are; both names change places."""
TICK = 0.1
"""Seconds that a file's time may be behind the clock."""


def write_whole(path: Path, text: str) -> None:
    """Let `path` hold this text, readable by its owner only. Its folder is made when missing."""
    with _written_beside(path, text) as fresh:
        fresh.replace(path)


def write_once(path: Path, text: str) -> None:
    """The same, but where there is such a file already, it stays: of two at once, one wins."""
    with _written_beside(path, text) as fresh, suppress(FileExistsError):
        path.hardlink_to(fresh)


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[Path]:
    """A file with this text under another name, gone afterwards. What killed writers left goes."""
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in folder.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - ABANDONED_AFTER:
                leftover.unlink()
    fresh = folder / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)
    _flush(folder)


def take_place(folder: Path, final: Path) -> None:
    """Let a folder stand where `final` is, all of it on the disk. What stood there is in `folder`
    then: who looks finds one or the other at every instant."""
    flush_new(folder)
    if not final.exists():
        folder.rename(final)
    elif not _exchanged(folder, final):  # a file system that cannot: for an instant there is none
        old = folder.with_name(f"{folder.name}-old")
        final.rename(old)
        folder.rename(final)
        old.rename(folder)
    _flush(final.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Linux alone has it, and Python no name for it."""
    system = ctypes.CDLL(None, use_errno=True)
    if not hasattr(system, "renameat2"):
        return False
    paths = [os.fsencode(one), os.fsencode(other)]
    if not system.renameat2(HERE, paths[0], HERE, paths[1], EXCHANGE):
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def flush_new(folder: Path, since: float = 0) -> None:
    """Bring onto the disk every file below the folder that was written since then."""
    for path, _, names in os.walk(folder):
        if os.stat(path).st_mtime < since - TICK:
            continue
        for name in names:
            file = Path(path, name)
            if file.stat().st_mtime >= since - TICK:
                _flush(file)
        _flush(Path(path))


def _flush(path: Path) -> None:
    """What a file holds, or which files a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content) + "\n")


def read_json(path: Path, kind: type[Content], next_step: str) -> Content:
    """What a JSON file holds. Raises HomeFault when it is damaged or no `kind`."""
    try:
        found: Content = TypeAdapter(kind).validate_python(json.loads(path.read_bytes()))
    except (ValidationError, ValueError, RecursionError):
        raise HomeFault(
            "damaged: not what we wrote", where=str(path), next_step=next_step
        ) from None
    return found

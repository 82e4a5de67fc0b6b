"""Folders for one piece of work: locked while it lasts, gone when it ends, and cleared away by
others only when nobody holds them any more."""

import atexit
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from common.lock import exclusive

HELD = "in-use"
SECONDS = 60


@contextmanager
def scratch(root: Path, prefix: str = "") -> Iterator[Path]:
    """A new folder below `root`, readable by its owner only."""
    with _no_clearing(root):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        lock = os.open(folder / HELD, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear_abandoned(root: Path, pattern: str = "*") -> None:
    """Remove what killed processes left: folders below `root` that nobody holds."""
    if not root.is_dir():
        return
    with _no_clearing(root):
        for folder in (one for one in root.glob(pattern) if one.is_dir()):
            if not _is_held(folder / HELD):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _no_clearing(root: Path) -> Iterator[None]:
    """A folder is made and locked in one step for whoever clears away."""
    with exclusive(
        root / ".lock",
        SECONDS,
        what=f"another process that clears {root.name}",
        next_step="run it again.",
    ):
        yield


def _is_held(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def spill(root: Path) -> Path:
    """Where one DuckDB connection may put what its memory cannot hold. Two that share a folder
    overwrite each other's files and crash (0036), so each has its own."""
    return _of_process(root, os.getpid()) / secrets.token_hex(4)


@cache
def _of_process(root: Path, process: int) -> Path:
    """A folder of this process, until it ends. A fork asks for another of its own."""
    stack = ExitStack()
    folder = stack.enter_context(scratch(root))
    atexit.register(lambda: stack.close() if os.getpid() == process else None)
    return folder

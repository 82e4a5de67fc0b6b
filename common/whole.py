"""Files of ours that change: whoever reads one finds what it held or what it holds now, also after
a kill or a loss of power."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_AFTER = 3600
"""Seconds after which a half-written file has no writer any more."""
TICK = 0.1
"""Seconds that a file's time may be behind the clock."""


def write_whole(path: Path, text: str) -> None:
    """Let `path` hold this text, readable by its owner only. Its folder is made when missing."""
    with _written_beside(path, text) as fresh:
        fresh.replace(path)


def write_once(path: Path, text: str) -> None:
    """The same, but where there is such a file already, it stays."""
    with _written_beside(path, text) as fresh, suppress(FileExistsError):
        path.hardlink_to(fresh)


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[Path]:
    """A file with this text under another name, gone afterwards. What killed writers left is
    removed."""
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in folder.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - ABANDONED_AFTER:
                leftover.unlink()
    fresh = folder / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield fresh
    finally:
        with suppress(OSError):
            fresh.unlink()
    _sync(folder)


def flush_new(folder: Path, since: float) -> None:
    """Bring onto the disk every file below the folder that was written since then."""
    for path, _, names in os.walk(folder):
        if os.stat(path).st_mtime < since - TICK:
            continue
        for name in names:
            file = Path(path, name)
            if file.stat().st_mtime >= since - TICK:
                _sync(file)
        _sync(Path(path))


def _sync(path: Path) -> None:
    """What a file holds, or which files a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

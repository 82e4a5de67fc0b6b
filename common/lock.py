"""Locks between processes; the operating system frees them when their holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import WarehouseBusy
from common.settings import Settings

POLL_SECONDS = 0.02


@contextmanager
def exclusive(path: Path, seconds: float, *, what: str, next_step: str) -> Iterator[int]:
    """Hold the lock file `path`, made when missing, alone. Yields its descriptor: a child that is
    given it holds the lock, too, until it ends.

    Raises WarehouseBusy, naming `what` is being waited for, after `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WarehouseBusy(
                        f"{what} held the lock for {seconds:.0f} s", next_step=next_step
                    ) from None
                time.sleep(POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def alone(settings: Settings, work: str, *, what: str, next_step: str) -> Iterator[int]:
    """Do a piece of work that no two may do at once in one home; others wait. Yields what
    `exclusive` does.

    Raises WarehouseBusy after `lock_timeout_seconds`. Taken in this order, where several are held:
    night, a stream or linking, leaving, the lake's writer.
    """
    with exclusive(
        settings.home / "locks" / work,
        settings.lock_timeout_seconds,
        what=what,
        next_step=next_step,
    ) as descriptor:
        yield descriptor

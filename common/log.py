"""Structured logs: JSON lines in `<home>/logs/muara.log`, one event per line, never a row's value.

Events carry counts, names of sources, streams, rules and files, row numbers and surrogates.
`stage` events mark where a batch is, so that progress (and the kill tests) can see it.
"""

import json
import logging
import logging.handlers
import sys
from collections.abc import Callable

import structlog

from common.settings import Settings

log = structlog.wrap_logger(
    logging.getLogger("muara"),
    processors=[
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(serializer=json.dumps),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
_listeners: list[Callable[[str, dict], None]] = []


class _File(logging.handlers.WatchedFileHandler):
    """Says in one line that it cannot write, instead of a trace with the event."""

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        print(f"an event is not in muara.log: {type(error).__name__}", file=sys.stderr)


def configure(settings: Settings) -> None:
    """Send our events to the log file. Call once per process; calling again is harmless."""
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("muara")
    path = str(folder / "muara.log")
    if not any(getattr(handler, "baseFilename", None) == path for handler in logger.handlers):
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.addHandler(_File(path))
    logger.setLevel(logging.INFO)


def stage(name: str, **where: object) -> None:
    """Mark that a batch has reached `name` (pulled, staged, validated, written, committed, …)."""
    log.info("stage", stage=name, **where)
    for listener in _listeners:
        listener(name, where)


def on_stage(listener: Callable[[str, dict], None]) -> None:
    """Call `listener(stage, where)` at every stage mark: progress bars, kill drills."""
    _listeners.append(listener)


def forget_stage(listener: Callable[[str, dict], None]) -> None:
    """Undo `on_stage`."""
    _listeners.remove(listener)

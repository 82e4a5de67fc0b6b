"""The bytes of files as they came, below `<home>/originals/<source>/`.

They arrive in a folder of their own, locked while it is in use, and are kept under their hash when
the whole file could be read.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common import scratch
from common.definition import Source
from common.settings import Settings

INCOMING = ".incoming-"
DAY = 86_400


def kept_at(settings: Settings, source: str, digest: str) -> Path:
    """Where the original bytes with this SHA-256 are kept."""
    return settings.home / "originals" / source / digest[:2] / digest


@contextmanager
def incoming(settings: Settings, source: str) -> Iterator[Path]:
    """An empty folder for one file while it is fetched and read."""
    with scratch.scratch(settings.home / "originals" / source, INCOMING) as folder:
        yield folder


def keep(path: Path, kept: Path) -> None:
    """Keep a file that came in, and the memo beside it, unless these bytes are kept already."""
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in path.parent.glob(f"{path.name}*"):
        with suppress(FileExistsError):
            kept.with_name(kept.name + part.name.removeprefix(path.name)).hardlink_to(part)


def clear_abandoned(settings: Settings) -> None:
    """Remove what killed runs had half fetched."""
    for folder in (settings.home / "originals").glob("*"):
        scratch.clear_abandoned(folder, f"{INCOMING}*")


def forget_old(settings: Settings, sources: dict[str, Source]) -> None:
    """Delete the originals that were kept for as long as their source declares."""
    for folder in (settings.home / "originals").glob("*"):
        days = _days(settings, sources.get(folder.name))
        for path in folder.glob("??/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - days * DAY:
                    path.unlink()


def _days(settings: Settings, source: Source | None) -> int:
    declared = [
        stream.read.keep_originals_days
        for stream in (source.streams if source else ())
        if stream.read.reader == "files"
    ]
    return max(
        (settings.keep_originals_days if days is None else days for days in declared),
        default=settings.keep_originals_days,
    )

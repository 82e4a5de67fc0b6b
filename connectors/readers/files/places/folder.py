"""A folder of this machine, or mounted on it: `file:///path`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from common.errors import SourceUnavailable
from connectors.readers.files.places.entry import Entry
from connectors.readers.pull import Pull


@dataclass(frozen=True)
class Folder:
    root: Path

    def entries(self, pattern: str) -> Iterator[Entry]:
        for path in sorted(self.root.glob(pattern)):
            if path.is_file():
                found = path.stat()
                origin = path.relative_to(self.root).as_posix()
                yield Entry(origin, found.st_size, str(found.st_mtime_ns))

    def fetch(self, entry: Entry, target: BinaryIO) -> None:
        with (self.root / entry.origin).open("rb") as file:
            shutil.copyfileobj(file, target, 1 << 20)


@contextmanager
def opened(pull: Pull) -> Iterator[Folder]:
    """Raises SourceUnavailable when it is not there."""
    root = Path(unquote(urlsplit(pull.url).path))
    if not root.is_dir():
        raise SourceUnavailable(
            "the drop folder is not there",
            where=pull.where,
            next_step=f"check the path of connection {pull.stream.connection} and its mount.",
        )
    yield Folder(root)

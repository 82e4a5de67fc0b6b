"""A folder of this machine, or mounted on it: `file:///path`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.access import FilesAccess
from common.errors import SourceDenied, SourceUnavailable
from connectors.readers.files.places.entry import BLOCK, Child, Entry, Target, walk
from connectors.readers.pull import Pull


@dataclass(frozen=True)
class Folder:
    """Every file is read again: whoever can write here can also set its time back."""

    root: Path
    at_most: int
    where: str
    tells = False

    def entries(self, pattern: str) -> Iterator[Entry]:
        return walk(self._children, pattern, at_most=self.at_most, where=self.where)

    def _children(self, folder: str) -> Iterator[Child]:
        with suppress(FileNotFoundError), os.scandir(self.root / folder) as found:
            for one in found:
                path = Path(one.path)
                if one.is_symlink() and not self._holds(path):
                    origin = path.relative_to(self.root).as_posix()
                    yield Child(one.name, Entry(origin, 0, "", leads_out=True))
                elif one.is_dir(follow_symlinks=False):
                    yield Child(one.name, None)
                elif one.is_file():
                    with suppress(FileNotFoundError):
                        yield Child(one.name, self._entry(path))

    def _holds(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root)

    def _entry(self, path: Path) -> Entry:
        found = path.stat()
        return Entry(
            path.relative_to(self.root).as_posix(),
            found.st_size,
            f"{found.st_ino}.{found.st_mtime_ns}",
            datetime.fromtimestamp(found.st_mtime, UTC),
        )

    def now(self, entry: Entry) -> Entry | None:
        with suppress(FileNotFoundError):
            return self._entry(self.root / entry.origin)
        return None

    def fetch(self, entry: Entry, target: Target) -> None:
        try:
            # Not blocking: in the file's place there may be a pipe by now.
            descriptor = os.open(self.root / entry.origin, os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError:
            raise SourceDenied(
                "may not be read",
                where=f"{self.where} file {entry.origin}",
                next_step="ask its owner for the right to read it.",
            ) from None
        with open(descriptor, "rb") as file:
            shutil.copyfileobj(file, target, BLOCK)


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
    yield Folder(root.resolve(), pull.access(FilesAccess).max_files, pull.where)

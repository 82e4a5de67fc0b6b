"""What a place is: something that lists files and gives their bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Entry:
    """One file as listed: its path below the place, its size in bytes, and a text that is another
    one whenever the content may be."""

    origin: str
    size: int
    version: str


class Place(Protocol):
    def entries(self, pattern: str) -> Iterator[Entry]:
        """The files whose path matches the glob, in a stable order."""

    def fetch(self, entry: Entry, target: BinaryIO) -> None:
        """Write the file's bytes."""

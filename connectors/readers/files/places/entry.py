"""What a place is: something that lists files and gives their bytes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol

from common.errors import SourceMalformed

DEEPEST = 64
LONGEST = 1024
BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file as listed: its path below the place, its size in bytes, and a text that is another
    one whenever the content may be. `changed_at` (UTC), where the place knows it. `leads_out`: a
    link to what is not below the place."""

    origin: str
    size: int
    version: str
    changed_at: datetime | None = None
    leads_out: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether its path is one that lies below a place and can be written down."""
        parts = self.origin.split("/")
        return (
            self.origin.isprintable()
            and len(self.origin) <= LONGEST
            and not {"", ".", ".."} & set(parts)
        )


class Target(Protocol):
    """What takes a file's bytes."""

    def write(self, piece: bytes, /) -> Any: ...


class Place(Protocol):
    """`tells`: a file listed with equal size and version has equal content."""

    tells: bool

    def entries(self, pattern: str) -> Iterator[Entry]:
        """The files whose path matches the glob, in a stable order."""

    def now(self, entry: Entry) -> Entry | None:
        """The same file as it would be listed now; None when it is gone."""

    def fetch(self, entry: Entry, target: Target) -> None:
        """Write the file's bytes. Raises FileNotFoundError when it is gone."""


@dataclass(frozen=True)
class Child:
    """What a folder holds: a file with its entry, or (None) a folder."""

    name: str
    entry: Entry | None


def walk(
    children: Callable[[str], Iterable[Child]], pattern: str, *, at_most: int, where: str
) -> Iterator[Entry]:
    """The files below a place whose path matches the glob, by name.

    `*` and `?` stay within one part of a path, `**` stands for any number of folders; no other
    folder is listed. Raises SourceMalformed when more than `at_most` are listed.
    """
    wanted = pattern.split("/")
    listed = 0

    def closed(places: set[int]) -> set[int]:
        for place in sorted(places):
            while place < len(wanted) and wanted[place] == "**":
                place += 1
                places.add(place)
        return places

    def below(folder: str, places: set[int], depth: int) -> Iterator[Entry]:
        nonlocal listed
        found = []
        for child in children(folder):
            listed += 1
            if listed > at_most:
                raise SourceMalformed(
                    f"more than {at_most} files and folders are listed",
                    where=where,
                    next_step="ask the owner to clear the place, or raise `max_files`.",
                )
            found.append(child)
        for child in sorted(found, key=lambda one: one.name):
            reached = closed(
                {place + (wanted[place] != "**") for place in places
                 if place < len(wanted)
                 and (wanted[place] == "**" or fnmatchcase(child.name, wanted[place]))}
            )  # fmt: skip
            if child.entry is None:
                if reached - {len(wanted)} and depth < DEEPEST and child.name not in (".", ".."):
                    path = f"{folder}/{child.name}" if folder else child.name
                    yield from below(path, reached, depth + 1)
            elif len(wanted) in reached or (child.entry.leads_out and reached):
                yield child.entry

    yield from below("", closed({0}), 0)

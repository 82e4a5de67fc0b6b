"""A maildir of this machine: `maildir:///path`. A message is known by its unique name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.errors import SourceUnavailable
from connectors.readers.files.places.entry import Entry, Target
from connectors.readers.files.places.message import limit_of, write_message
from connectors.readers.pull import Pull


@dataclass(frozen=True)
class Maildir:
    root: Path
    limit: int | None
    where: str
    paths: dict[str, Path] = field(default_factory=dict)
    tells = True

    def entries(self, pattern: str) -> Iterator[Entry]:
        """The messages delivered (`new`, `cur`), by unique name."""
        self._look()
        for name in sorted(self.paths):
            if fnmatchcase(name, pattern):
                state = self._path(name).stat()
                yield Entry(name, state.st_size, str(state.st_mtime_ns))

    def now(self, entry: Entry) -> Entry:
        """A message never changes."""
        return entry

    def fetch(self, entry: Entry, target: Target) -> None:
        with self._path(entry.origin).open("rb") as file:
            write_message(file, entry.size, self.limit, target)

    def _look(self) -> None:
        self.paths.clear()
        for folder in ("new", "cur"):
            for path in (self.root / folder).iterdir():
                if not path.name.startswith("."):
                    self.paths[path.name.partition(":")[0]] = path

    def _path(self, name: str) -> Path:
        """Where the message is now: one that was read meanwhile moved and is called otherwise.

        Raises FileNotFoundError when it was taken away.
        """
        if not self.paths[name].exists():
            self._look()
        if name not in self.paths:
            raise FileNotFoundError
        return self.paths[name]


@contextmanager
def opened(pull: Pull) -> Iterator[Maildir]:
    """Raises SourceUnavailable when it is not there."""
    root = Path(unquote(urlsplit(pull.url).path))
    if not all((root / folder).is_dir() for folder in ("new", "cur")):
        raise SourceUnavailable(
            "there is no maildir",
            where=pull.where,
            next_step=f"check the path of connection {pull.stream.connection} and its mount: it "
            "must hold the folders `new` and `cur`.",
        )
    yield Maildir(root, limit_of(pull), pull.where)

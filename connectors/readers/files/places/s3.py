"""A folder of an object store: `s3://access_key:secret_key@bucket/folder`.

The query takes what Arrow's own S3 URI takes: `region`, `scheme` and `endpoint_override`. Without
keys the machine's own credentials are used (environment, profile, role).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from common.access import FilesAccess
from common.connection import query_of
from common.errors import DefinitionError, SourceDenied, SourceUnavailable
from connectors.readers.files.places.entry import BLOCK, Child, Entry, Target, walk
from connectors.readers.pull import Pull

ASKED = ("region", "scheme", "endpoint_override")
DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403")


@dataclass(frozen=True)
class Bucket:
    store: fs.S3FileSystem
    root: str
    at_most: int
    where: str
    tells = True

    def entries(self, pattern: str) -> Iterator[Entry]:
        return walk(self._children, pattern, at_most=self.at_most, where=self.where)

    def _children(self, folder: str) -> Iterator[Child]:
        path = f"{self.root}/{folder}".rstrip("/")
        with _answering(self.where):
            found = self.store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        for one in found:
            if one.type == fs.FileType.Directory:
                yield Child(one.base_name, None)
            elif one.type == fs.FileType.File:
                yield Child(one.base_name, self._entry(one))

    def _entry(self, found: fs.FileInfo) -> Entry:
        origin = found.path.removeprefix(f"{self.root}/")
        changed = found.mtime.astimezone(UTC)
        return Entry(origin, found.size, str(found.mtime_ns), changed)

    def now(self, entry: Entry) -> Entry | None:
        with _answering(self.where):
            found = self.store.get_file_info(f"{self.root}/{entry.origin}")
        return self._entry(found) if found.type == fs.FileType.File else None

    def fetch(self, entry: Entry, target: Target) -> None:
        with _answering(self.where):
            file = self.store.open_input_stream(f"{self.root}/{entry.origin}")
        with file:
            while True:
                with _answering(self.where):
                    piece = file.read(BLOCK)
                if not piece:
                    return
                target.write(piece)


@contextmanager
def _answering(where: str) -> Iterator[None]:
    """The store's errors in our language; that an object is not there stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if any(word in str(error) for word in DENIED):
            raise SourceDenied(
                "the object store refuses our keys or rights",
                where=where,
                next_step="check the connection's keys with the owner.",
            ) from None
        raise SourceUnavailable(
            "the object store does not answer",
            where=where,
            next_step="check that it is up; the next run tries again.",
        ) from None


@contextmanager
def opened(pull: Pull) -> Iterator[Bucket]:
    """Raises SourceUnavailable, SourceDenied, or DefinitionError for a URL with unknown options."""
    url, asked = urlsplit(pull.url), query_of(pull.url)
    if unknown := sorted(set(asked) - set(ASKED)):
        raise DefinitionError(
            f"its URL asks for {', '.join(unknown)}",
            where=f"{pull.where} connection {pull.stream.connection}",
            next_step=f"use {', '.join(ASKED)} only.",
        )
    store = fs.S3FileSystem(
        access_key=unquote(url.username) if url.username else None,
        secret_key=unquote(url.password) if url.password else None,
        connect_timeout=pull.settings.connect_timeout_seconds,
        request_timeout=pull.settings.statement_timeout_seconds,
        **asked,
    )
    bucket = url.hostname or ""
    with _answering(pull.where):
        found = store.get_file_info(bucket)
    if found.type != fs.FileType.Directory:
        raise SourceUnavailable(
            "the bucket is not there",
            where=pull.where,
            next_step=f"check its name in connection {pull.stream.connection} with the owner.",
        )
    root = f"{bucket}/{unquote(url.path).strip('/')}".rstrip("/")
    yield Bucket(store, root, pull.access(FilesAccess).max_files, pull.where)

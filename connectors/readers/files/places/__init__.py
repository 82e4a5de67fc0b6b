"""Where files lie: one module per kind of place, chosen by the scheme of the connection's URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from common.errors import DefinitionError
from connectors.readers.files.places import folder, imap, maildir, s3, sftp
from connectors.readers.files.places.entry import Entry, Place
from connectors.readers.pull import Pull

PLACES = {"file": folder, "sftp": sftp, "s3": s3, "imaps": imap, "maildir": maildir}

__all__ = ["Entry", "Place", "opened"]


@contextmanager
def opened(pull: Pull) -> Iterator[Place]:
    """The place that the stream's connection leads to. Raises the SourceError family, or
    DefinitionError for a URL that is no place."""
    scheme = urlsplit(pull.url).scheme
    if scheme not in PLACES:
        raise DefinitionError(
            "its URL leads to no place of files",
            where=pull.where,
            next_step=f"connection {pull.stream.connection} must begin with one of "
            f"{', '.join(f'{known}://' for known in PLACES)}.",
        )
    with PLACES[scheme].opened(pull) as place:
        yield place

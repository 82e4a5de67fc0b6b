"""What mailboxes have in common: a message beyond the declared size is not fetched."""

from typing import BinaryIO

from common.access import FilesAccess, Mail
from connectors.readers.files.formats.mail import HEAD_AT_MOST, NOT_FETCHED
from connectors.readers.files.places.entry import BLOCK, Target
from connectors.readers.pull import Pull


def limit_of(pull: Pull) -> int | None:
    """The largest message in bytes that is fetched whole; None where none is declared."""
    form = pull.access(FilesAccess).format
    return form.max_bytes if isinstance(form, Mail) else None


def write_message(message: BinaryIO, size: int, limit: int | None, target: Target) -> None:
    """The message whole; of one beyond the limit its headers, and before them one that says so."""
    if limit is None or size <= limit:
        while piece := message.read(BLOCK):
            target.write(piece)
        return
    target.write(NOT_FETCHED + f": {size}\r\n".encode())
    head = message.read(HEAD_AT_MOST).replace(b"\r\n", b"\n")
    target.write(head.partition(b"\n\n")[0].replace(b"\n", b"\r\n") + b"\r\n\r\n")

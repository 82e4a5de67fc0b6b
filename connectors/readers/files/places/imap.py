"""A mailbox on an IMAP server (RFC 9051, RFC 3501), over TLS: `imaps://user:password@host/FOLDER`.

`?ssl_ca=` names a file of certificates to trust instead of the system's. The folder (default INBOX)
is opened with EXAMINE and messages are fetched with BODY.PEEK: nothing is marked as seen. A message
is known as `<folder>/<UIDVALIDITY>/<UID>`.

With the standard library's imaplib: five commands are needed and the bytes as they are; libraries
above it parse messages themselves and mark them as seen.
"""

import imaplib
import io
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from common.errors import DefinitionError, SourceDenied, SourceShapeChanged, SourceUnavailable
from connectors.readers.files.formats.mail import HEAD_AT_MOST
from connectors.readers.files.places.entry import Entry, Target
from connectors.readers.files.places.message import limit_of, write_message
from connectors.readers.pull import Pull

PORT = 993
UID = re.compile(rb"\bUID ([0-9]+)")
SIZE = re.compile(rb"\bRFC822\.SIZE ([0-9]+)")


@dataclass(frozen=True)
class Mailbox:
    server: imaplib.IMAP4_SSL
    folder: str
    validity: str
    limit: int | None
    where: str
    tells = True

    def entries(self, pattern: str) -> Iterator[Entry]:
        """Every message of the folder, in the order of arrival."""
        found = []
        for line in self._asked("FETCH", "1:*", "(UID RFC822.SIZE)"):
            uid, size = (UID.search(line), SIZE.search(line)) if line else (None, None)
            if uid and size:
                found.append((int(uid[1]), int(size[1])))
        for number, length in sorted(found):
            origin = f"{self.folder}/{self.validity}/{number}"
            if fnmatchcase(origin, pattern):
                yield Entry(origin, length, f"{number:010}")

    def now(self, entry: Entry) -> Entry:
        """A message never changes."""
        return entry

    def fetch(self, entry: Entry, target: Target) -> None:
        """Raises FileNotFoundError when it was deleted since it was listed."""
        is_whole = self.limit is None or entry.size <= self.limit
        section = "BODY.PEEK[]" if is_whole else f"BODY.PEEK[HEADER]<0.{HEAD_AT_MOST}>"
        answer = self._asked("FETCH", entry.origin.rpartition("/")[2], f"({section})")
        literals = [part[1] for part in answer if isinstance(part, tuple)]
        if not literals:
            raise FileNotFoundError
        write_message(io.BytesIO(literals[0]), entry.size, self.limit, target)

    def _asked(self, command: str, *arguments: str) -> list[Any]:
        with _spoken(self.where):
            status, answer = self.server.uid(command, *arguments)
            if status != "OK":
                raise self.server.abort(f"{command} refused")
            return answer


@contextmanager
def opened(pull: Pull) -> Iterator[Mailbox]:
    """Raises SourceUnavailable, SourceDenied, SourceShapeChanged when there is no such folder, or
    DefinitionError for a URL that names no account."""
    url = urlsplit(pull.url)
    options = parse_qs(url.query)
    folder = unquote(url.path.lstrip("/")) or "INBOX"
    if not (url.hostname and url.username and folder.isascii()):
        raise DefinitionError(
            "its URL names no mailbox",
            where=pull.where,
            next_step=f"connection {pull.stream.connection} must read "
            "imaps://user:password@host/FOLDER (a folder beyond ASCII in modified UTF-7).",
        )
    with _spoken(pull.where):
        context = ssl.create_default_context(cafile=options.get("ssl_ca", [None])[0])
        server = imaplib.IMAP4_SSL(
            url.hostname,
            url.port or PORT,
            ssl_context=context,
            timeout=pull.settings.connect_timeout_seconds,
        )
    try:
        with _spoken(pull.where):
            server.sock.settimeout(pull.settings.statement_timeout_seconds)
            try:
                server.login(unquote(url.username), unquote(url.password or ""))
            except server.abort:
                raise
            except server.error:
                raise SourceDenied(
                    "the mail server refuses the login",
                    where=pull.where,
                    next_step=f"correct the password of connection {pull.stream.connection}.",
                ) from None
            quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
            status, _ = server.select(f'"{quoted}"', readonly=True)
            validity = server.response("UIDVALIDITY")[1]
        if status != "OK" or not validity or not validity[0]:
            raise SourceShapeChanged(
                f"there is no folder {folder}",
                where=pull.where,
                next_step=f"correct the path of connection {pull.stream.connection}, or ask the "
                "owner what became of it.",
            )
        yield Mailbox(server, folder, validity[0].decode(), limit_of(pull), pull.where)
    finally:
        with suppress(OSError, imaplib.IMAP4.error):
            server.logout()


@contextmanager
def _spoken(where: str) -> Iterator[None]:
    """imaplib speaks our language. Raises SourceUnavailable."""
    try:
        yield
    except ssl.SSLCertVerificationError:
        raise SourceUnavailable(
            "the mail server's certificate is not trusted",
            where=where,
            next_step="name the city's certificates in the URL: `?ssl_ca=/path/to/ca.pem`.",
        ) from None
    except (OSError, imaplib.IMAP4.error) as error:
        raise SourceUnavailable(
            f"the mail server does not answer ({type(error).__name__})",
            where=where,
            next_step="check that it is up; the next run reads what is missing.",
        ) from None

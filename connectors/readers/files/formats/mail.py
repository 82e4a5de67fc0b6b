"""One message (RFC 5322 and MIME) a file: one row, of the `COLUMNS` that the definition names.

`message_key` is the Message-ID, or `sha256:…` of a message without one; `sent_at` and `received_at`
(from the newest `Received`) are ISO 8601 in UTC, as sent where they are no date; `text` is what the
sender wrote, `quoted` what the reply repeats; `attachments` is a JSON list of type, size (bytes),
sha256 and name, each kept beside the originals under its hash; `sha256` is that of the message with
line ends as LF, so that it does not depend on the server.

Whatever a message is, it becomes a row: `fault` names, apart by blanks, what is wrong with it. What
would cost more than the limits below is not looked into.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from common.access import Mail
from common.definition import Stream

COLUMNS = (
    "message_key", "message_id", "in_reply_to", "references", "sent_at", "received_at",
    "from_address", "from_name", "subject", "text", "quoted", "attachments", "sha256", "fault",
)  # fmt: skip

NOT_FETCHED = b"X-Muara-Not-Fetched"
"""A header that a mailbox sets before the headers of a message whose body it did not fetch."""

HEAD_AT_MOST = 64 << 10  # bytes
HEADER_AT_MOST = 4000  # characters; a line has at most 998, and one header few lines
LINES_AT_MOST = 400_000
NESTED_AT_MOST = 20
PARTS_AT_MOST = 100
TEXT_AT_MOST = 1_000_000  # characters

BROKEN = ("Base64", "Boundary", "MultipartInvariant", "MissingHeaderBody", "FirstHeaderLine")
"""Of the defects that Python's parser finds, parts of the names of those that lose content."""
HARMLESS = "CloseBoundaryNotFound"

HEADERS = policy.default.header_factory
NESTING = re.compile(rb"^content-type:\s*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
IDENTIFIER = re.compile(r"<([^<>\s]{1,250})>")
CHARSETS = re.compile(
    r"(us-)?ascii|utf-?8|utf-?16([bl]e)?|iso[-_]?8859[-_]?[0-9]{1,2}|latin-?1|koi8-[ru]"
    r"|(windows|cp)[-_]?125[0-8]|gb(k|2312|18030)|big5|shift[-_]jis|euc[-_](jp|kr)"
    r"|iso-2022-(jp|kr)",
    re.IGNORECASE,
)
IMPOSSIBLE = re.compile("[\x00\ud800-\udfff]")
INTRODUCED = re.compile(
    r"(on|pada|am|le) .{4,200}(wrote|menulis|schrieb|a écrit) ?:$", re.IGNORECASE
)
FORWARDED = re.compile(
    r"-{3,} ?(original message|pesan asli|pesan terusan|forwarded message) ?-{3,}$|_{20,}$",
    re.IGNORECASE,
)


def parse(access: Mail, stream: Stream, where: str, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields one row; raises nothing on account of the message."""
    row = _row(path, access.max_bytes, "attachments" in stream.columns)
    names = [name for name in COLUMNS if name in stream.columns]
    yield pa.RecordBatch.from_arrays(
        [pa.array([row.get(name)], pa.string()) for name in names], names=names
    )


def _row(path: Path, max_bytes: int, keeps_attachments: bool) -> dict[str, str | None]:
    faults: set[str] = set()
    is_whole = path.stat().st_size <= max_bytes
    with path.open("rb") as file:
        content = file.read(max_bytes if is_whole else HEAD_AT_MOST).replace(b"\r\n", b"\n")
        file.seek(0)
        digest = _digest(file, is_whole, content)
    head, _, body = content.partition(b"\n\n")
    if NOT_FETCHED in head or not is_whole:
        faults.add("too_large")
    elif not content.strip():
        faults.add("empty")
    if len(head) > HEAD_AT_MOST or head.count(b"\n") > 2000:
        faults.add("header_too_long")
        head = head[:HEAD_AT_MOST].rpartition(b"\n")[0]
        head = b"\n".join(head.split(b"\n")[:2000])
    parser = BytesParser(policy=policy.default)
    message = parser.parsebytes(head + b"\n\n", headersonly=True)
    if _defects(message) or not message.keys():
        faults.add("malformed")
    row = _headers(message, faults)
    row["message_key"] = row["message_id"] or f"sha256:{digest}"
    row["sha256"] = digest
    if not faults & {"too_large", "header_too_long", "empty"}:
        folder = path.parent if keeps_attachments else None
        row |= _content(head + b"\n\n" + body, folder, faults)
    cleaned = {name: _possible(value, faults) for name, value in row.items()}
    return cleaned | {"fault": " ".join(sorted(faults)) or None}


def _digest(file: Any, is_whole: bool, content: bytes) -> str:
    if is_whole:
        return hashlib.sha256(content).hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()


def _possible(text: str | None, faults: set[str]) -> str | None:
    """Without what no text can hold (NUL, lone surrogates); nothing where nothing is left."""
    if text is None:
        return None
    if IMPOSSIBLE.search(text):
        faults.add("impossible_characters")
        text = IMPOSSIBLE.sub("\ufffd", text)
    return text or None


def _headers(message: Message, faults: set[str]) -> dict[str, str | None]:
    raw: dict[str, str] = {}
    for name, value in message.raw_items():
        raw.setdefault(name.lower(), str(value))  # the first: of `Received` it is the newest
    for name in ("from", "subject", "date", "message-id"):
        if len(raw.get(name, "")) > HEADER_AT_MOST:
            faults.add("header_too_long")
            raw[name] = ""

    def identifiers(name: str) -> list[str]:
        return IDENTIFIER.findall(raw.get(name, "")[:100_000])

    address, display = _sender(raw.get("from", ""), faults)
    own, answered = identifiers("message-id"), identifiers("in-reply-to")
    return {
        "message_id": own[0] if own else None,
        "in_reply_to": answered[0] if answered else None,
        "references": " ".join(identifiers("references")[:100]) or None,
        "sent_at": _moment(raw.get("date", "")),
        "received_at": _moment(raw.get("received", "").rpartition(";")[2][:200]),
        "from_address": address,
        "from_name": display,
        "subject": _decoded(raw.get("subject", ""), "subject", faults),
    }


def _decoded(raw: str, name: str, faults: set[str]) -> str | None:
    if not raw:
        return None
    try:
        if not raw.isascii():  # eight bits without a charset: UTF-8 (RFC 6532) or unknown
            raw.encode("utf-8", "surrogateescape").decode("utf-8")
        value = HEADERS(name, raw)
    except Exception:  # Python's header parser fails in many ways on what is no header
        faults.add("header_unreadable")
        return None
    text = str(value)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        faults.add("header_unreadable")
        return text


def _sender(raw: str, faults: set[str]) -> tuple[str | None, str | None]:
    if not raw:
        return None, None
    try:
        addresses = HEADERS("from", raw).addresses
        if addresses and addresses[0].domain:
            display = addresses[0].display_name
            named = display.encode("utf-8", "surrogateescape").decode("utf-8")
            return addresses[0].addr_spec, named or None
    except Exception:  # as above
        pass
    faults.add("sender_unreadable")
    return None, None


def _moment(raw: str) -> str | None:
    text = " ".join(raw.split())
    try:
        moment = parsedate_to_datetime(text)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # "-0000": UTC (RFC 5322)
        return zoned.astimezone(UTC).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return text[:100] or None


class _TooManyParts(Exception):
    pass


def _content(content: bytes, folder: Path | None, faults: set[str]) -> dict[str, str | None]:
    """`text`, `quoted` and `attachments`; attachments are kept below `folder`, if any."""
    if content.count(b"\n") > LINES_AT_MOST:
        faults.add("too_many_lines")
        return {}
    if sum(1 for _ in NESTING.finditer(content)) > NESTED_AT_MOST:
        faults.add("nested_too_deep")
        return {}
    made = 0

    def counted(*args: Any, **options: Any) -> EmailMessage:
        nonlocal made
        made += 1
        if made > PARTS_AT_MOST:
            raise _TooManyParts
        return EmailMessage(*args, **options)

    try:
        message = BytesParser(counted, policy=policy.default).parsebytes(content)
    except _TooManyParts:
        faults.add("too_many_parts")
        return {}
    except Exception:  # a part's own headers are parsed on the way
        faults.add("malformed")
        return {}
    texts: dict[str, list[str]] = {"plain": [], "html": []}
    attachments = []
    for part in _leaves(message, faults):
        try:
            kind, name = part.get_content_type(), part.get_filename()
            if kind in ("text/plain", "text/html") and not (name or part.is_attachment()):
                texts[part.get_content_subtype()].append(_text(part, faults))
                continue
            data = _bytes(part)
        except Exception:  # as above
            faults.add("malformed")
            continue
        if _defects(part):
            faults.add("malformed")
        attachments.append(
            {"type": kind, "size": len(data), "sha256": _kept(folder, data)}
            | ({"name": _possible(name, faults)} if name else {})
        )
    text, quoted = _apart("\n".join(texts["plain"]) or _from_html("\n".join(texts["html"]), faults))
    return {
        "text": text,
        "quoted": quoted,
        "attachments": json.dumps(attachments) if attachments else None,
    }


def _leaves(message: EmailMessage, faults: set[str]) -> Iterator[EmailMessage]:
    """The parts that hold content; a message within is one of them."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if _defects(part):
            faults.add("malformed")
        if part.is_multipart() and part.get_content_maintype() != "message":
            waiting += reversed(_parts(part))
        else:
            yield part


def _parts(part: EmailMessage) -> list[EmailMessage]:
    """What a multipart, or a message that carries one, consists of: the parser makes them all."""
    return cast(list[EmailMessage], part.get_payload())


def _bytes(part: EmailMessage) -> bytes:
    if part.is_multipart():
        return b"".join(map(bytes, _parts(part)))
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _text(part: EmailMessage, faults: set[str]) -> str:
    data = _bytes(part)
    charset = part.get_content_charset("utf-8")
    if _defects(part):
        faults.add("malformed")
    if not CHARSETS.fullmatch(charset):
        faults.add("charset_unknown")
        charset = "ascii"
    if charset in ("ascii", "us-ascii"):  # what says nothing, and is often UTF-8
        charset = "utf-8"
    try:
        return data.decode(charset)
    except (UnicodeError, LookupError):
        faults.add("charset_wrong")
        return data.decode("ascii", "replace")


def _defects(part: Message) -> bool:
    names = [type(defect).__name__ for defect in part.defects]
    return any(known in name for name in names if HARMLESS not in name for known in BROKEN)


def _from_html(html: str, faults: set[str]) -> str:
    if not html.strip():
        return ""
    if len(html) > TEXT_AT_MOST:
        faults.add("text_too_long")
        return ""
    from inscriptis import get_text  # only messages without plain text need it

    try:
        return get_text(IMPOSSIBLE.sub("\ufffd", html)).strip()
    except Exception:  # lxml's own failures on what is no HTML, and its limit of depth
        faults.add("html_unreadable")
        return ""


def _apart(text: str) -> tuple[str | None, str | None]:
    """What was written, and what was repeated of the messages before."""
    written: list[str] = []
    quoted: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines):
        bare = line.strip()[:300]
        if FORWARDED.match(bare):
            quoted += lines[number:]
            break
        follows = next((later for later in lines[number + 1 : number + 4] if later.strip()), "")
        is_quoted = bare.startswith(">") or (
            follows.lstrip().startswith(">") and INTRODUCED.match(bare)
        )
        (quoted if is_quoted else written).append(line)
    return "\n".join(written).strip() or None, "\n".join(quoted).strip() or None


def _kept(folder: Path | None, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    if folder:
        path = folder / digest[:2] / digest
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if not path.exists():
            half = path.with_suffix(".half")
            half.write_bytes(data)
            half.rename(path)
    return digest

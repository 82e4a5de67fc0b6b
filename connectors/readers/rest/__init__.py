"""Services that answer with lists of JSON objects, page by page: Open311 GeoReport v2 and others.

What differs from one to the next is declared (`common.access.RestAccess`). A service that never
comes to an end, because it repeats itself, is refused.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pyarrow as pa
import stamina

from common import clock
from common.access import RestAccess
from common.errors import (
    SourceDenied,
    SourceError,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from common.shape import Shape
from connectors.readers.pull import Piece, Pull, keep_pace, note_shape
from connectors.readers.records import Unreadable, at, canonical, flattened, parse, to_arrow
from connectors.readers.rest.paging import Answer, Question, first, following
from connectors.readers.rest.service import Reply, Service, Terms, connected

PAGES_AT_MOST = 100_000
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


def read(pull: Pull) -> Iterator[Piece]:
    """Yields one piece per page. Retries what is transient (connection, HTTP 5xx, 429), after as
    long as the service asks for.

    Raises SourceUnavailable, SourceDenied, SourceShapeChanged (404 and other refusals, missing
    fields) or SourceMalformed (no JSON, no list of objects, an answer too large, an endless one).
    """
    started = time.monotonic()
    for shape, rows in _pages(pull):
        note_shape(pull, shape)
        pull.extracted += rows.num_rows
        yield Piece(rows)
        keep_pace(pull, started)
    if pull.announced not in (None, pull.extracted):
        raise SourceUnavailable(
            f"the service tells of {pull.announced} rows and gave {pull.extracted}: they changed "
            "while they were read",
            where=pull.where,
            next_step="run it again, at a quieter hour if it recurs.",
        )


def look(pull: Pull) -> None:
    """Note the fields of the first page; keeps no row. Raises as `read` does."""
    for shape, _ in _pages(pull):
        note_shape(pull, shape)
        return


def _pages(pull: Pull) -> Iterator[tuple[Shape, pa.RecordBatch]]:
    """The fields and the rows of each page that has any."""
    access, columns = pull.access(RestAccess), list(pull.stream.columns)
    may_lack = columns if access.omits_empty else []
    changed = _changed(pull)
    seen: set[object] = set()
    with _service(pull) as asked:
        question: Question | None = first(access.paging)
        while question:
            page = question.number
            reply = _reply(pull, asked, question, changed)
            if page == 1:
                _mind_their_clock(pull, reply)
            try:
                answer = _answer(access, reply)
                records = flattened(answer.rows, [*columns, *pull.stream.ignore])
                rows = to_arrow(columns, records)
                _require_new(seen, page, (question.address, str(question.parameters)))
                if records:
                    _require_new(seen, page, hashlib.sha256(rows.serialize()).digest())
                if access.total:
                    pull.announced = _count(at(answer.document, access.total), access.total)
                question = following(access.paging, question, answer)
            except Unreadable as error:
                raise SourceMalformed(
                    f"{access.path} page {page}: {error}",
                    where=pull.where,
                    next_step="ask the owner; nothing of this stream was loaded.",
                ) from None
            if records:
                fields = {field: "" for record in records for field in record}
                yield dict.fromkeys(may_lack, "") | fields, rows


def _service(pull: Pull) -> AbstractContextManager[Service]:
    access = pull.access(RestAccess)
    seconds = pull.source.statement_timeout_seconds or pull.settings.statement_timeout_seconds
    return connected(
        pull.url,
        pull.settings,
        Terms(access.answer_mb * 2**20, seconds, pull.source.requests_per_minute),
        access.credentials,
        where=pull.where,
        connection=pull.stream.connection,
    )


def _require_new(seen: set[object], page: int, what: object) -> None:
    """Raises Unreadable when a page was there before, or there are too many."""
    if what in seen:
        raise Unreadable("repeats an earlier page: the service does not go on as `paging` says")
    if page > PAGES_AT_MOST:
        raise Unreadable(f"more than {PAGES_AT_MOST:,} pages; agree larger ones")
    seen.add(what)


def _count(value: Any, path: str) -> int:
    if not isinstance(value, str) or not value.isdecimal():
        raise Unreadable(f"{path} is no number of rows")
    return int(value)


def _answer(access: RestAccess, reply: Reply) -> Answer:
    document = parse(reply.content)
    rows = at(document, access.rows)
    if not isinstance(rows, list):
        raise Unreadable(f"not a JSON array{f' at {access.rows}' if access.rows else ''}")
    return Answer(document, rows, reply.link)


def _changed(pull: Pull) -> dict[str, str]:
    """The parameters by which a cursor asks for what changed, and the interval they cover.

    Nightly there is no upper bound: what lies in the future is read until it has passed.
    """
    changed = pull.access(RestAccess).changed
    if changed is None or pull.stream.strategy != "cursor":  # a comparison reads everything
        return {}
    zone = ZoneInfo(changed.timezone)
    if clock.is_set(pull.settings):
        now = datetime.combine(clock.today(pull.settings), datetime.min.time())
    else:
        now = datetime.now(zone).replace(tzinfo=None)
    stretch = pull.open_interval(now)

    def written(moment: datetime) -> str:
        told = moment.replace(tzinfo=zone)
        return told.strftime(changed.format) if changed.format else told.isoformat("T", "seconds")

    asked = {changed.since: written(stretch.low)} if stretch.low else {}
    if changed.until and pull.progress.asked:
        asked[changed.until] = written(stretch.high)
    return asked


def _mind_their_clock(pull: Pull, reply: Reply) -> None:
    """Where the service's clock (the header Date) is behind ours, covered is only up to theirs."""
    changed = pull.access(RestAccess).changed
    if pull.interval is None or changed is None or clock.is_set(pull.settings):
        return
    try:
        theirs = parsedate_to_datetime(reply.headers.get("Date", ""))
    except ValueError:
        return
    zone = ZoneInfo(changed.timezone)
    aware = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
    pull.interval = pull.interval.passed(aware.astimezone(zone).replace(tzinfo=None))


def _reply(pull: Pull, asked: Service, question: Question, changed: dict[str, str]) -> Reply:
    """The answer to a question. What is transient is asked again, after as long as the service
    wants (`Retry-After`) unless that is longer than an answer may take."""
    wanted: list[float] = []

    def again(error: Exception) -> bool | float:
        if not isinstance(error, SourceUnavailable) or not wanted:
            return isinstance(error, SourceUnavailable)
        wait = wanted.pop()
        return wait if wait <= asked.terms.seconds else False

    attempts = stamina.retry_context(
        on=again,
        attempts=pull.settings.retries + 1,
        wait_initial=min(1.0, pull.settings.retry_delay_seconds),
        timeout=None,
    )
    for attempt in attempts:
        with attempt:
            reply = _send(pull, asked, question, changed)
            if reply.status != 200:
                wanted[:] = _retry_after(reply)
                raise _refused(pull, question, reply)
            return reply
    raise AssertionError("stamina either returns or raises")


def _send(pull: Pull, asked: Service, question: Question, changed: dict[str, str]) -> Reply:
    access = pull.access(RestAccess)
    moving = {**changed, **question.parameters, **asked.key}
    if access.method == "POST":
        body = canonical(access.body | moving).encode("utf-8", "backslashreplace")
        return asked.send("POST", question.address or access.path, access.parameters, body)
    if question.address:
        address = str(httpx.URL(question.address).copy_merge_params(asked.key))
        return asked.send("GET", address)
    return asked.send("GET", access.path, access.parameters | moving)


def _retry_after(reply: Reply) -> list[float]:
    """The seconds for which the service wants to be left alone, where it says so (RFC 9110)."""
    told = reply.headers.get("Retry-After", "").strip()
    try:
        until = parsedate_to_datetime(told)
    except ValueError:
        return [max(0.1, float(told))] if told.isdecimal() else []
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return [max(0.1, (aware - clock.now()).total_seconds())]


def _refused(pull: Pull, question: Question, reply: Reply) -> SourceError:
    path, status = pull.access(RestAccess).path, reply.status
    if status in (401, 403):
        return SourceDenied(
            f"{path}: HTTP {status}",
            where=pull.where,
            next_step=f"check connection {pull.stream.connection} with the owner.",
        )
    if status in TRANSIENT:
        return SourceUnavailable(
            f"{path} page {question.number}: HTTP {status}",
            where=pull.where,
            next_step="ask the owner; the next run tries again.",
        )
    return SourceShapeChanged(
        f"{path} page {question.number}: HTTP {status}",
        where=pull.where,
        next_step="ask the owner where the endpoint went or what it expects, and correct `read` "
        "in source.yml.",
    )

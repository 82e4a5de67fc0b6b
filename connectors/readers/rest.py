"""Open311 GeoReport v2 and services like it: JSON arrays, page by page until an empty one.

Standard: Open311 GeoReport v2 (`GET requests.json`); `page` and `page_size` are the paging every
known server adds to it. Numbers are kept as the digits that were sent.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import stamina

from common.access import RestAccess
from common.errors import SourceDenied, SourceMalformed, SourceShapeChanged, SourceUnavailable
from connectors.readers.pull import Piece, Pull, note_shape

PAGES_AT_MOST = 100_000


def read(pull: Pull) -> Iterator[Piece]:
    """Yields one piece per page. Retries what is transient (connection, HTTP 5xx, 429).

    Raises SourceUnavailable, SourceDenied, SourceShapeChanged (404, missing fields) or
    SourceMalformed (no JSON array of objects).
    """
    for rows in _pages(pull):
        note_shape(pull, {field: "" for row in rows for field in row})
        pull.extracted += len(rows)
        yield Piece(_to_arrow(list(pull.stream.columns), rows))


def look(pull: Pull) -> None:
    """Note the fields of the first page; keeps no row. Raises as `read` does."""
    for rows in _pages(pull):
        note_shape(pull, {field: "" for row in rows for field in row})
        return


def _pages(pull: Pull) -> Iterator[list[dict[str, Any]]]:
    access = pull.access(RestAccess)
    timeout = httpx.Timeout(
        pull.settings.statement_timeout_seconds, connect=pull.settings.connect_timeout_seconds
    )
    with httpx.Client(base_url=pull.url, timeout=timeout) as client:
        for page in range(1, PAGES_AT_MOST):
            rows = _page(
                pull, client, {**access.parameters, "page": page, "page_size": access.page_size}
            )
            if not rows:
                return
            yield rows


def _page(pull: Pull, client: httpx.Client, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    attempts = stamina.retry_context(
        on=SourceUnavailable,
        attempts=pull.settings.retries + 1,
        wait_initial=min(1.0, pull.settings.retry_delay_seconds),
        timeout=None,
    )
    for attempt in attempts:
        with attempt:
            return _rows(pull, _get(pull, client, parameters))
    raise AssertionError("stamina either returns or raises")


def _get(pull: Pull, client: httpx.Client, parameters: dict[str, Any]) -> httpx.Response:
    path, page = pull.access(RestAccess).path, parameters["page"]
    try:
        response = client.get(path, params=parameters)
    except httpx.HTTPError as error:
        raise SourceUnavailable(
            f"{path} page {page}: no answer ({type(error).__name__})",
            where=pull.where,
            next_step="check that the service is up; the next run tries again.",
        ) from None
    if response.status_code in (401, 403):
        raise SourceDenied(
            f"{path}: HTTP {response.status_code}",
            where=pull.where,
            next_step=f"check connection {pull.stream.connection} with the owner.",
        )
    if response.status_code in (404, 410):
        raise SourceShapeChanged(
            f"{path}: HTTP {response.status_code}",
            where=pull.where,
            next_step="ask the owner where the endpoint went and correct `path` in source.yml.",
        )
    if response.status_code != 200:
        raise SourceUnavailable(
            f"{path} page {page}: HTTP {response.status_code}",
            where=pull.where,
            next_step="ask the owner; the next run tries again.",
        )
    return response


def _rows(pull: Pull, response: httpx.Response) -> list[dict[str, Any]]:
    place = f"{pull.access(RestAccess).path} page {response.request.url.params['page']}"
    try:
        rows = json.loads(response.content, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        at = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise SourceMalformed(
            f"{place}: not valid JSON{at}",
            where=pull.where,
            next_step="ask the owner; nothing of this stream was loaded.",
        ) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceMalformed(
            f"{place}: not a JSON array of objects",
            where=pull.where,
            next_step="ask the owner; nothing of this stream was loaded.",
        )
    return rows


def _to_arrow(columns: list[str], rows: list[dict[str, Any]]) -> pa.RecordBatch:
    arrays = [pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, names=columns)


def _text(value: Any) -> str | None:
    """Scalars as sent; objects and arrays as canonical JSON, so that a re-ordering is no change."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

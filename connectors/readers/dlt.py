"""Any source of dlt (data load tool): its rows become a stream of ours.

Only dlt's extraction is used. It keeps its state elsewhere only for the time of a reading, and so
every reading is a whole one (strategy `snapshot`); no pipeline of dlt's is made, so it writes no
folder and sends no telemetry. dlt is an optional extra and is imported when a stream needs it.
"""

import importlib
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from common.access import DltAccess
from common.errors import (
    DefinitionError,
    MuaraError,
    SourceDenied,
    SourceError,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from common.shape import Shape
from connectors.readers.pull import Piece, Pull, keep_pace, note_shape
from connectors.readers.records import Record, Unreadable, flattened, text, to_arrow

INSTALL = ".venv/bin/uv pip install --python .venv/bin/python -r requirements/dlt.txt"


def read(pull: Pull) -> Iterator[Piece]:
    """Yields the resource's rows as text, `settings.batch_rows` at a time.

    Raises DefinitionError (no dlt, no such function), SourceUnavailable, SourceDenied,
    SourceShapeChanged or SourceMalformed; dlt's own messages stay out of ours, for they may quote
    a row or a password.
    """
    started = time.monotonic()
    for shape, rows in _batches(pull):
        note_shape(pull, shape)
        pull.extracted += rows.num_rows
        yield Piece(rows)
        keep_pace(pull, started)


def look(pull: Pull) -> None:
    """Note the fields of the first batch; keeps no row. Raises as `read` does."""
    for shape, _ in _batches(pull):
        note_shape(pull, shape)
        return


def _batches(pull: Pull) -> Iterator[tuple[Shape, pa.RecordBatch]]:
    names = list(pull.stream.columns)
    for items in _gathered(_items(pull), pull.settings.batch_rows):
        try:
            if isinstance(items, pa.Table):
                shape = {field.name: str(field.type) for field in items.schema}
                yield from ((shape, rows) for rows in _as_text(items, names))
            else:
                records = flattened(items, [*names, *pull.stream.ignore])
                fields = {field: "" for record in records for field in record}
                yield fields, to_arrow(names, records)
        except (Unreadable, pa.ArrowException) as error:
            told = str(error) if isinstance(error, Unreadable) else type(error).__name__
            raise SourceMalformed(
                f"a batch cannot be read: {told}",
                where=pull.where,
                next_step="ask the owner; nothing of this stream was loaded.",
            ) from None


def _gathered(items: Iterable[Any], size: int) -> Iterator[list[Record] | pa.Table]:
    """Single rows in batches; tables as they come."""
    batch: list[Record] = []
    for item in items:
        if isinstance(item, pa.RecordBatch):
            yield pa.Table.from_batches([item])
        elif isinstance(item, pa.Table):
            yield item
        elif hasattr(item, "to_records"):  # pandas, which need not be imported to know one
            yield pa.Table.from_pandas(item, preserve_index=False)
        else:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def _as_text(table: pa.Table, names: list[str]) -> list[pa.RecordBatch]:
    columns = [
        _column(table.column(name)) if name in table.column_names else pa.nulls(len(table))
        for name in names
    ]
    fields = pa.schema([(name, pa.string()) for name in names])
    return pa.table(columns, names=names).cast(fields).to_batches()


def _column(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = pc.cast(values, kind.value_type)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.chunked_array([pa.array(map(text, values.to_pylist()), pa.string())])
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    return pc.cast(values, pa.string())


def _items(pull: Pull) -> Iterator[Any]:
    """What the resource yields, row by row or table by table."""
    try:
        yield from _resource(pull)
    except MuaraError:
        raise
    except Exception as error:
        raise _translated(pull, error) from None


def _resource(pull: Pull) -> Any:
    access = pull.access(DltAccess)
    make = _function(pull, access.source)
    made = make(**_filled(access.arguments, pull.url))
    found = getattr(made, "resources", None)
    if found is None and getattr(made, "name", None) == access.resource:
        return made
    if found is None or access.resource not in found:
        raise SourceShapeChanged(
            f"{access.source} gives no resource {access.resource}",
            where=pull.where,
            next_step="correct `resource` in source.yml.",
        )
    return made.with_resources(access.resource)


def _function(pull: Pull, name: str) -> Any:
    where, module = pull.where, name.split(":")[0]
    try:
        importlib.import_module("dlt")
        logging.getLogger("dlt").setLevel(logging.CRITICAL)  # its messages may quote rows
    except ModuleNotFoundError:
        raise DefinitionError(
            "reader `dlt` needs dlt, which is not installed", where=where, next_step=f"`{INSTALL}`."
        ) from None
    try:
        return getattr(importlib.import_module(module), name.split(":")[1])
    except (ImportError, AttributeError) as error:
        raise DefinitionError(
            f"{name} cannot be imported ({type(error).__name__})",
            where=where,
            next_step="correct `source` in source.yml, or install what it imports.",
        ) from None


def _filled(value: Any, url: str) -> Any:
    """The arguments with the connection's parts in place of their names."""
    match value:
        case dict():
            return {name: _filled(inner, url) for name, inner in value.items()}
        case list():
            return [_filled(inner, url) for inner in value]
        case "$url":
            return url
        case "$address":
            return _without_login(url)
        case "$login":
            return unquote(urlsplit(url).username or "")
        case "$password":
            return unquote(urlsplit(url).password or "")
    return value


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _translated(pull: Pull, error: Exception) -> SourceError:
    """The cause behind dlt's exceptions, in our words."""
    causes = list(_causes(error))
    statuses = [
        status
        for cause in causes
        if (status := getattr(getattr(cause, "response", None), "status_code", None))
    ]
    told = f"dlt: {type(causes[-1]).__name__}" + (f", HTTP {statuses[0]}" if statuses else "")
    if statuses and statuses[0] in (401, 403):
        return SourceDenied(
            told,
            where=pull.where,
            next_step=f"check connection {pull.stream.connection} with the owner.",
        )
    is_down = any(isinstance(cause, OSError | sa.exc.OperationalError) for cause in causes)
    if statuses[0] in (429, *range(500, 600)) if statuses else is_down:
        return SourceUnavailable(
            told,
            where=pull.where,
            next_step=f"check that the system of connection {pull.stream.connection} is up; the "
            "next run tries again.",
        )
    return SourceMalformed(
        told,
        where=pull.where,
        next_step="check `arguments` in source.yml, or ask the owner; nothing of this stream was "
        "loaded.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__

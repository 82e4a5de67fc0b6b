"""Objects of JSON and Python as rows of text.

A value at the top becomes text: a string as it is, a number as the digits that were sent (16 digits
and `1.6E16` alike, for rules to see), true and false as such. What is nested becomes canonical JSON
(keys in order, no blanks), so that a re-ordering is no change. A lone surrogate, which no UTF-8
holds, is written as its JSON escape. NaN, which pandas writes for nothing, is NULL. An object that
names a key twice is refused: which of the two is meant would be a guess.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

Record = dict[str, Any]


class Unreadable(ValueError):
    """Says why, never with a value."""


class Number(str):
    """A number as it was sent."""

    __slots__ = ()


PLAIN = {str, Number, type(None)}


def parse(content: bytes) -> Any:
    """A JSON document, its numbers as Number. Raises Unreadable."""
    try:
        return json.loads(
            content,
            parse_float=Number,
            parse_int=Number,
            parse_constant=_no_json,
            object_pairs_hook=_object,
        )
    except Unreadable:
        raise
    except json.JSONDecodeError as error:
        raise Unreadable(f"not valid JSON at byte {error.pos}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(f"not valid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None


def at(document: Any, path: str | None) -> Any:
    """What lies at a path of keys in nested objects; None where a part of it is not there."""
    for key in path.split(".") if path else ():
        document = document.get(key) if isinstance(document, dict) else None
    return document


def flattened(rows: Iterable[Any], names: Iterable[str]) -> list[Record]:
    """The rows with `a.b` for what lies in object `a` under `b`, wherever a name says so. Raises
    Unreadable for what is no object."""
    parts = [name.split(".") for name in names]
    parents = {".".join(path[:end]) for path in parts for end in range(1, len(path))}
    inner = {
        parent: [name for name in names if name.startswith(f"{parent}.")] for parent in parents
    }
    found = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise Unreadable(f"row {number} is not an object")
        found.append(_opened(row, inner, number) if inner else row)
    return found


def to_arrow(columns: Sequence[str], rows: Sequence[Record]) -> pa.RecordBatch:
    """The columns of the rows as text; what a row lacks is NULL. Raises Unreadable."""
    try:
        arrays = [_array(_texts([row.get(name) for row in rows])) for name in columns]
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _texts(values: list[Any]) -> list[str | None]:
    """Most columns hold strings and numbers only, which are text already."""
    return values if set(map(type, values)) <= PLAIN else list(map(text, values))


def text(value: Any) -> str | None:
    """One value at the top of a row."""
    match value:
        case None | str():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case float() if value != value:
            return None
    return canonical(value)


def canonical(value: Any) -> str:
    """A value as JSON: keys in order, no blanks, numbers as they were sent."""
    match value:
        case Number():
            return value
        case dict():
            pairs = sorted((str(key), inner) for key, inner in value.items())
            return f"{{{','.join(f'{_quoted(key)}:{canonical(inner)}' for key, inner in pairs)}}}"
        case list() | tuple():
            return f"[{','.join(map(canonical, value))}]"
        case Decimal():
            return str(value)
        case None | bool() | int() | float():
            return json.dumps(value)
        case bytes():
            return _quoted(value.hex())
    return _quoted(str(text(value)) if isinstance(value, date | time) else str(value))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _array(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([value and _escaped(value) for value in values], pa.string())


def _escaped(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()


def _opened(row: Record, inner: dict[str, list[str]], number: int, prefix: str = "") -> Record:
    flat: Record = {}
    for key, value in row.items():
        name = prefix + key
        if name not in inner:
            below = {name: value}
        elif value is None:
            below = dict.fromkeys(inner[name])
        elif isinstance(value, dict):
            below = _opened(value, inner, number, f"{name}.")
        else:
            raise Unreadable(f"row {number}: {name} is not an object")
        if flat.keys() & below.keys():
            raise Unreadable(f"row {number} names {name} twice")
        flat |= below
    return flat


def _object(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if not "".join(found).isascii():
        found = {_escaped(name): value for name, value in found.items()}
    if len(found) != len(pairs):
        raise Unreadable("an object names a key twice")
    return found


def _no_json(_: str) -> Any:
    raise Unreadable("not valid JSON: it has no NaN and no Infinity")

"""From text as sent to typed columns, by the declaration in source.yml.

The result of `typed` depends on the row and its definition only, so that it can be computed again
from landing at any time.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from common.definition import Column, Parsed, Stream

SENT = "_sent"
VERSION = sha256(Path(__file__).read_bytes()).hexdigest()
"""Another one whenever the rules below change."""


@ibis.udf.scalar.builtin
def try_strptime(text: str, fmt: str) -> dt.timestamp:  # type: ignore[empty-body]
    """DuckDB's own: NULL where the text does not fit the format."""


@ibis.udf.scalar.builtin(name="trim")
def trim_of(text: str, characters: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own two-argument trim."""


BLANKS = " \t\r\n\u00a0"
NUMBER_WITH_COMMA = r"^-?[0-9]{1,3}(\.[0-9]{3})*(,[0-9]+)?$|^-?[0-9]+(,[0-9]+)?$"


def clean(text: ir.StringValue) -> ir.StringValue:
    """Blanks (also U+00A0) at the ends removed, U+00A0 inside made ordinary; '' is NULL."""
    # Few values need it, and looking is three times cheaper than always rewriting. Whatever sorts
    # before "!" begins with a blank.
    needs_it = text.contains("\u00a0") | (text < "!")
    for blank in " \t\r\n":
        needs_it = needs_it | text.endswith(blank)
    cleaned = trim_of(text.replace("\u00a0", " "), BLANKS).nullif("")
    return needs_it.ifelse(cleaned, text)


def typed(rows: ir.Table, stream: Stream) -> ir.Table:
    """In: landing or staging rows (text columns). Out: every `_…` column as it is, then for each
    declared column its value under its name and the text as sent under `<name>_sent`, and the
    columns that `parse` gives."""
    technical = [rows[name] for name in rows.columns if name.startswith("_")]
    values = [
        value(rows[column.name], column).name(column.name) for column in stream.columns.values()
    ]
    sent = [rows[name].name(name + SENT) for name in stream.names]
    return rows.select(*technical, *values, *sent, **parsed(stream, rows.__getitem__))


def parsed(stream: Stream, sent: Callable[[str], ir.Value]) -> dict[str, ir.Value]:
    """The columns that `parse` gives, of the texts as sent."""
    return {name: _found(sent(one.column), one, name) for one in stream.parse for name in one.gives}


def _found(text: ir.StringValue, form: Parsed, name: str) -> ir.Value:
    """What the group of this name holds in the first pattern that matches; as text, blanks and all,
    for it may be a part of something longer."""
    nothing = ibis.null("string")
    branches = []
    for pattern in form.patterns:
        group = re.compile(pattern).groupindex.get(name)
        held = text.re_extract(pattern, group).nullif("") if group else nothing
        branches.append((text.re_search(pattern), held))
    found = ibis.cases(*branches, else_=nothing)
    kind = form.gives[name]
    return found if kind == "text" else value(found, Column(name=name, type=kind))


def value(sent: ir.StringValue, column: Column) -> ir.Value:
    """The typed value of one column; NULL where it is empty or does not fit its type."""
    text = clean(sent)
    if column.empty:
        text = text.isin(column.empty).ifelse(ibis.null("string"), text)
    if column.values is not None:
        return text.cases(*column.values.items(), else_=ibis.null("string"))
    match column.type:
        case "text" | "json":
            return text
        case "integer":
            number = text.try_cast("int64")
            # DuckDB rounds 1.5 to 2; we do not.
            whole = ~text.contains(".") | (text.try_cast("decimal(18, 4)") == number)
            return whole.ifelse(number, ibis.null("int64"))
        case "decimal":
            number = _number(text, column)
            # Up to 18 digits fit a machine word; reading 20 at once is a hundred times slower.
            return ibis.coalesce(
                number.try_cast("decimal(18, 4)").cast("decimal(20, 4)"),
                number.try_cast("decimal(20, 4)"),
            )
        case "date":
            return _moment(text, column).try_cast("date")
        case "timestamp":
            return _moment(text, column)
        case "boolean":
            return text.lower().cases(
                ("1", True), ("true", True), ("t", True),
                ("0", False), ("false", False), ("f", False),
                else_=ibis.null("boolean"),
            )  # fmt: skip


def _number(text: ir.StringValue, column: Column) -> ir.StringValue:
    if not column.decimal_comma:
        return text
    plain = text.replace(".", "").replace(",", ".")
    return text.re_search(NUMBER_WITH_COMMA).ifelse(plain, ibis.null("string"))


def _moment(text: ir.StringValue, column: Column) -> ir.TimestampValue:
    """UTC where the text carries an offset; local wall time where it carries none."""
    if not column.formats:
        # Our sessions run in UTC, so a text without an offset keeps its wall time. Most have none,
        # and reading them as such is four times cheaper.
        has_none = (text.length() == 10) | ((text.length() == 19) & (text.substr(16, 1) == ":"))
        zoned = text.try_cast("timestamp('UTC')").cast("timestamp")
        # "infinity" is a timestamp to DuckDB and to nobody who counts days.
        is_dated = (text >= "0") & (text < ":")
        moment = has_none.ifelse(text.try_cast("timestamp"), zoned)
        return is_dated.ifelse(moment, ibis.null("timestamp"))
    return ibis.coalesce(*(try_strptime(text, fmt) for fmt in column.formats))

"""From text as sent to typed columns, by the declaration in source.yml.

The result of `typed` depends on the row and its definition only, so that it can be computed again
from landing at any time.
"""

import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from sqlglot import exp, parse_one

from common import forms
from common.definition import Column, Parsed, Stream

SENT = "_sent"
VERSION = sha256(Path(__file__).read_bytes() + Path(forms.__file__).read_bytes()).hexdigest()
"""Another one whenever the rules below change."""


@ibis.udf.scalar.builtin
def try_strptime(text: str, fmt: str) -> dt.timestamp:  # type: ignore[empty-body]
    """DuckDB's own: NULL where the text does not fit the format."""


@ibis.udf.scalar.builtin(name="try_strptime")
def zoned_strptime(text: str, fmt: str) -> dt.Timestamp("UTC"):  # type: ignore[valid-type,empty-body]
    """The same of a format with %z."""


@ibis.udf.scalar.builtin
def left(text: str, count: int) -> str:  # type: ignore[empty-body]
    """DuckDB's own: the first characters; all but the last ones where the count is negative."""


@ibis.udf.scalar.builtin
def right(text: str, count: int) -> str:  # type: ignore[empty-body]
    """DuckDB's own: the last characters."""


@ibis.udf.scalar.builtin
def json_valid(text: str) -> bool:  # type: ignore[empty-body]
    """DuckDB's own."""


@ibis.udf.scalar.builtin(name="trim")
def trim_of(text: str, characters: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own two-argument trim."""


FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)
"""What an offset must not lead out of."""
BLANKS = " \t\r\n\u00a0"


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
        case "text":
            return text
        case "json":
            return _only_json(text)
        case "integer":
            return integer(text)
        case "decimal":
            return decimal(text, column.places, comma=column.decimal_comma)
        case "date" if not column.formats:
            return day(text)
        case "timestamp" if not column.formats:
            return moment(text)
        case "date":
            return _as_declared(text, column.formats).cast("date")
        case "timestamp":
            return _as_declared(text, column.formats)
        case "boolean":
            return text.lower().cases(*forms.BOOLEANS.items(), else_=ibis.null("boolean"))


def _matches(text: ir.StringValue, pattern: str) -> ir.BooleanValue:
    return text.re_search(f"^(?:{pattern})$")


def _only_json(text: ir.StringValue) -> ir.StringValue:
    """DuckDB's parser lets pass a comma before a bracket's end, NaN and Infinity (RFC 8259 does
    not)."""
    bare = text.re_replace(r'"(?:[^"\\\\]|\\\\.)*"', '""')
    is_json = json_valid(text) & ~bare.lower().re_search(r"nan|inf|,\s*[\]}]")
    return is_json.ifelse(text, ibis.null("string"))


def integer(text: ir.StringValue) -> ir.IntegerValue:
    """Digits, or a fraction of zeros; NULL for anything else and where 64 bits cannot hold it."""
    number = text.try_cast("int64")
    # Most are spelt as they are printed, and comparing is cheaper than matching.
    is_plain = number.cast("string") == text
    return (is_plain | _matches(text, forms.INTEGER)).ifelse(number, ibis.null("int64"))


def decimal(text: ir.StringValue, places: int, *, comma: bool = False) -> ir.DecimalValue:
    """DECIMAL(38, places), exact; NULL for what is no such number or does not fit."""
    kind = f"decimal(38, {places})"
    if comma:
        plain = text.replace(".", "").replace(",", ".")
        is_one = _matches(text, forms.decimal(places, comma=True))
        text = is_one.ifelse(plain, ibis.null("string"))
    # What fits a machine word is read a hundred times faster.
    coarse = r"[+-]?[0-9]{1,14}" + forms.fraction(min(4, places))
    fine = r"[+-]?[0-9]{1,8}" + forms.fraction(min(10, places))
    branches = [
        (_matches(text, coarse), text.try_cast("decimal(18, 4)").try_cast(kind)),
        (_matches(text, fine), text.try_cast("decimal(18, 10)").try_cast(kind)),
        (_matches(text, forms.decimal(places)), text.try_cast(kind)),
    ]
    if not comma:
        behind = text.re_extract(r"\.([0-9]*?)0*[eE]", 1).length()
        power = text.re_extract(r"[eE]([+-]?[0-9]+)$", 1).try_cast("int64")
        is_exact = _matches(text, forms.SCIENTIFIC) & (behind - power <= places)
        branches.append((is_exact, text.try_cast(kind)))
    return ibis.cases(*branches, else_=ibis.null(kind))


def degrees(text: ir.StringValue) -> ir.FloatingValue:
    """A coordinate that a source keeps as text, in decimal degrees; NULL for any other text."""
    number = text.try_cast("float64")
    return _matches(text, forms.DEGREES).ifelse(number, ibis.null("float64"))


def day(text: ir.StringValue) -> ir.DateValue:
    """YYYY-MM-DD, also with the time 00:00:00 of a database that knows no days; NULL for anything
    else and for no day of the calendar."""
    date = text.try_cast("date")
    # DuckDB reads more than the form, but prints only it: years of five digits need eleven.
    is_day = (text.length() == 10) & (date.cast("string") == text)
    return ibis.cases(
        (is_day, date),
        (_matches(text, forms.MIDNIGHT), text.substr(0, 10).try_cast("date")),
        else_=ibis.null("date"),
    )


def moment(text: ir.StringValue) -> ir.TimestampValue:
    """UTC where the text carries an offset; local wall time where it carries none; NULL for what is
    no ISO 8601.

    Without TIMESTAMPTZ: a zone's name in one row would shift later ones (DuckDB 1.5).
    """
    nothing = ibis.null("timestamp")
    whole = text.try_cast("timestamp")
    is_plain = (text.length() == 19) & (whole.cast("string") == text)
    utc = ibis.cases(
        (text.endswith("Z"), left(text, -1).rstrip().try_cast("timestamp")),
        (left(right(text, 6), 1).isin(("+", "-")), _shifted(text, 6)),
        (left(right(text, 5), 1).isin(("+", "-")), _shifted(text, 5)),
        else_=_shifted(text, 3),
    )
    return ibis.cases(
        (is_plain | _matches(text, forms.LOCAL), whole),
        (_matches(text, forms.ZONED), utc.between(FIRST, LAST).ifelse(utc, nothing)),
        else_=nothing,
    )


def moment_in(cell: str) -> str:
    """The same as SQL, of the text that the SQL `cell` gives."""
    column = ibis.table({"text": "string"}, name="one").text
    made = ibis.to_sql(column.as_table().select(moment=moment(clean(column))), dialect="duckdb")
    found = parse_one(str(made), dialect="duckdb").expressions[0].this
    given = parse_one(cell, dialect="duckdb")
    replaced = found.transform(lambda node: given.copy() if isinstance(node, exp.Column) else node)
    return str(replaced.sql("duckdb"))


def _shifted(text: ir.StringValue, end: int) -> ir.TimestampValue:
    """UTC by an offset of so many characters: +07:00, +0700 or +07."""
    offset = right(text, end - 1)
    minutes = left(offset, 2).try_cast("int64") * 60
    if end > 3:
        minutes = minutes + right(text, 2).try_cast("int64")
    ahead = (left(right(text, end), 1) == "-").ifelse(-minutes, minutes)
    return left(text, -end).rstrip().try_cast("timestamp") - ahead.as_interval("m")


def _as_declared(text: ir.StringValue, formats: tuple[str, ...]) -> ir.TimestampValue:
    """By the declared formats; NULL where none fits, or where two do and do not agree."""
    read = []
    for form in formats:
        zoned = zoned_strptime(text, form).cast("timestamp")
        moment = zoned if "%z" in form else try_strptime(text, form)
        read.append(_matches(text, forms.of_format(form)).ifelse(moment, ibis.null("timestamp")))
    first, last = ibis.least(*read), ibis.greatest(*read)
    return (first == last).ifelse(first, ibis.null("timestamp"))

"""One module per source: its streams' rows → core tables.

`STREAMS` maps a stream to a function `(rows, table) → {core table: rows}`. `rows` has the typed
columns of the definition, each also as `<name>_sent`, with `source_record_id`, `flags` and
`_origin`; `table("ref.region")` gives a reference table. What comes out depends on the row and the
reference tables only, never on other streams: links between records are keyed surrogates.

A stream that no module names is landing-only: checked, landed and counted, but in no core table.
"""

from importlib import import_module

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from common.definition import Source
from common.errors import DefinitionError


def landing_only(rows: ir.Table, table) -> dict[str, ir.Table]:
    """Joins no core table."""
    return {}


def conform_of(source: Source, stream: str):
    """The function that conforms this stream; `landing_only` when no module names it.

    A module that is there but cannot be imported raises what it raises. Raises DefinitionError
    when STREAMS names a stream that the definition does not have.
    """
    name = f"transforms.conform.{source.name}"
    try:
        streams = import_module(name).STREAMS
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return landing_only
    if strangers := sorted(set(streams) - {one.name for one in source.streams}):
        raise DefinitionError(
            f"STREAMS names unknown stream(s): {', '.join(strangers)}",
            where=f"transforms/conform/{source.name}.py",
            next_step=f"streams of {source.name}: {', '.join(one.name for one in source.streams)}.",
        )
    return streams.get(stream, landing_only)


@ibis.udf.scalar.builtin
def record_id(source: str, stream: str, key: str) -> dt.uuid:  # type: ignore[empty-body]
    """Macro of the warehouse connection: the keyed surrogate of a record."""


@ibis.udf.scalar.builtin
def key_text(text: str) -> str:  # type: ignore[empty-body]
    """Macro of the warehouse connection: a text as keys are spelt (`common.keys`)."""


def record_of(source: str, stream: str, key: ir.Value) -> ir.UUIDValue:
    """The record of that stream whose key, of one part, is this typed value."""
    return record_id(source, stream, key_text(key.cast("string")))


def in_city(latitude: ir.Value, longitude: ir.Value, value: ir.Value) -> ir.Value:
    """`value` where the point is on Java's side of the map at all, else NULL.

    A rough guard: latitudes of Indonesia are -11..6, longitudes 95..141; swapped or zero points
    fall out. Whether a point lies in the city is a flag, see the expectations.
    """
    plausible = latitude.between(-11, 6) & longitude.between(95, 141)
    return plausible.ifelse(value, ibis.null("float64"))


def digits3(text: ir.StringValue) -> ir.StringValue:
    """RT and RW as three digits; NULL where the text is no number of up to three digits."""
    return text.re_search(r"^[0-9]{1,3}$").ifelse(text.lpad(3, "0"), ibis.null("string"))


def with_region(rows: ir.Table, regions: ir.Table, column: str, code: ir.StringValue) -> ir.Table:
    """Adds `region_code`: the Kemendagri code where `code` equals `regions[column]`, else NULL."""
    known = regions.select(_region_key=regions[column], region_code=regions.region_code)
    keyed = rows.mutate(_code=code)
    return keyed.left_join(known, keyed["_code"] == known["_region_key"])

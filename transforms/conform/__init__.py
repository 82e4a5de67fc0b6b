"""One module per source: its streams' rows → core tables.

`STREAMS` maps a stream to a function `(rows, table) → {core table: rows}`. `rows` has the typed
columns of the definition, each also as `<name>_sent`, with `source_record_id`, `flags` and
`_origin`; `table("ref.region")` gives a reference table. What comes out depends on the row and the
reference tables only, never on other streams: links between records are keyed surrogates.
"""

from importlib import import_module

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from common.definition import Source
from common.errors import DefinitionError


def conform_of(source: Source, stream: str):
    """The function that conforms this stream. Raises DefinitionError when there is none."""
    try:
        return import_module(f"transforms.conform.{source.name}").STREAMS[stream]
    except (ModuleNotFoundError, KeyError):
        raise DefinitionError(
            "nothing says what its rows become in core",
            where=f"{source.name}.{stream}",
            next_step=f"write transforms/conform/{source.name}.py with STREAMS[{stream!r}].",
        ) from None


@ibis.udf.scalar.builtin
def record_id(source: str, stream: str, key: str) -> dt.uuid:  # type: ignore[empty-body]
    """Macro of the warehouse connection: the keyed surrogate of a record."""


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

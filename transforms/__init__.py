"""Pure expressions: standardise values, conform a source's rows to core, build marts. All Ibis."""

from collections.abc import Callable
from datetime import date

import ibis
import ibis.expr.types as ir

TableByName = Callable[[str], ir.Table]
"""A table of the warehouse by its full name, `core.person`."""


def now(table: ir.Table) -> ir.Table:
    """The versions of a table with history that hold."""
    return table.filter(table.valid_to.isnull())


def on(table: ir.Table, night: date) -> ir.Table:
    """The versions of a table with history that held on a night, as `now` takes them."""
    held = table.filter(
        table.valid_from <= night, table.valid_to.isnull() | (table.valid_to > night)
    )
    return held.mutate(valid_to=ibis.null("date"))

"""Pure expressions: standardise values, conform a source's rows to core, build marts. All Ibis."""

from collections.abc import Callable

import ibis.expr.types as ir

TableByName = Callable[[str], ir.Table]
"""A table of the warehouse by its full name, `core.person`."""


def now(table: ir.Table) -> ir.Table:
    """The versions of a table with history that hold."""
    return table.filter(table.valid_to.isnull())

"""Bring the mart tables up to tonight; only rows that differ are written."""

from collections.abc import Callable
from datetime import date

import ibis.expr.types as ir

from common.settings import Settings
from warehouse.catalog import by_name, make_equal, transaction, writing

Mart = Callable[[Callable[[str], ir.Table], date], ir.Table]


def build_marts(settings: Settings, marts: dict[str, Mart], today: date) -> list[str]:
    """Returns the names of the marts that changed."""
    with writing(settings) as connection, transaction(connection):
        table = by_name(connection)
        return [
            name
            for name, mart in marts.items()
            if make_equal(connection, name, mart(table, today).compile())
        ]

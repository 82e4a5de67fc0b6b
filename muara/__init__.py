"""Muara from the command line and from Python.

import muara
muara.connect().sql("SELECT * FROM now.person").df()
"""

import duckdb

from common.errors import WarehouseFault
from common.settings import Settings

__all__ = ["connect"]


def connect() -> duckdb.DuckDBPyConnection:
    """The published, pseudonymised warehouse, read-only. Raises WarehouseFault when none is out."""
    path = Settings().home / "published" / "current" / "warehouse.duckdb"
    if not path.exists():
        raise WarehouseFault("nothing is published yet", next_step="run `make night` first.")
    return duckdb.connect(str(path.resolve()), read_only=True)

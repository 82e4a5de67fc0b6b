"""Muara from the command line and from Python.

import muara
muara.connect().sql("SELECT * FROM now.person").df()
"""

import atexit
import tempfile

import duckdb

from common.errors import WarehouseFault
from common.settings import Settings

__all__ = ["connect"]


def connect() -> duckdb.DuckDBPyConnection:
    """The published, pseudonymised warehouse, read-only. Raises WarehouseFault when none is out or
    it cannot be opened."""
    path = Settings().home / "published" / "current" / "warehouse.duckdb"
    if not path.exists():
        raise WarehouseFault("nothing is published yet", next_step="run `muara night` first.")
    # Two connections that spill into one folder crash each other.
    spill = tempfile.TemporaryDirectory(prefix="muara-", ignore_cleanup_errors=True)
    atexit.register(spill.cleanup)
    try:
        return duckdb.connect(
            str(path.resolve()), read_only=True, config={"temp_directory": spill.name}
        )
    except duckdb.Error as error:
        raise WarehouseFault(
            f"the published warehouse cannot be opened ({type(error).__name__})",
            next_step="`muara publish` makes it anew.",
        ) from None

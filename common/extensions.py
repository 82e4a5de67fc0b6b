"""DuckDB's extensions from their packages, so that closed networks need no download."""

from functools import cache
from pathlib import Path

import duckdb

from common.quoting import literal


def load(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """From its package; where there is none, by DuckDB's own installer."""
    if path := packaged(name):
        connection.execute(f"LOAD {literal(path)}")
    else:
        connection.execute(f"INSTALL {name}; LOAD {name}")


@cache
def packaged(name: str) -> Path | None:
    """Where the package of an extension has it."""
    packages = Path(duckdb.__file__).parent.parent
    pattern = f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension"
    return next(iter(packages.glob(pattern)), None)


def may_skip_signatures(*names: str) -> bool:
    """Whether all come from packages: their hashes were checked when they were installed, and
    checking the signatures of 90 MB again would cost 0.4 s at every connection."""
    return all(map(packaged, names))

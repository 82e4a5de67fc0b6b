"""Between NumPy and DuckDB: columns in, columns out, and the SQL fragments every module shares."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

Con = duckdb.DuckDBPyConnection
Rng = np.random.Generator

STAMP = "'%Y-%m-%d %H:%M:%S'"  # how the legacy systems write times
PIECE = 50_000  # rows
CHOSEN = "IN (SELECT unnest(?::BIGINT[]))"  # row keys passed as the statement's parameter


@contextmanager
def feeding(con: Con, name: str, columns: Mapping[str, Any] | pa.Table) -> Iterator[None]:
    """Shows these columns to SQL as table `name` while the context lasts; in pieces, for DuckDB
    reads each on a core of its own."""
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    con.register(name, pa.Table.from_batches(table.to_batches(PIECE), table.schema))
    try:
        yield
    finally:
        con.unregister(name)


def column(con: Con, query: str) -> np.ndarray:
    """The one column of a query, in ascending order."""
    (values,) = con.execute(f"{query} ORDER BY ALL").fetchnumpy().values()
    return values


def value(con: Con, query: str) -> Any:
    """The one value of a query."""
    ((found,),) = con.execute(query).fetchall()
    return found


def untouched(table: str) -> str:
    """SQL: the sound rows of a table that carry no fault and have no copy; only these change."""
    return f"""SELECT row_id FROM sound.{table}
        WHERE row_id NOT IN (SELECT row_id FROM bad.{table})
            AND row_id NOT IN (SELECT copy_of FROM bad.{table} WHERE copy_of IS NOT NULL)"""


def quoted(text: object) -> str:
    """SQL: a text, such as a path."""
    return "'" + str(text).replace("'", "''") + "'"


def money(values: np.ndarray) -> list[str]:
    """Amounts with two decimals, as decimal(20,2) shows them."""
    return [f"{amount:.2f}" for amount in values]


def picked(values: Sequence[Any], index: np.ndarray) -> list[Any]:
    """The values at these positions."""
    return [values[i] for i in index]

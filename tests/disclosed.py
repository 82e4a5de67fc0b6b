"""Tables of a lake held in memory, for what is published of them."""

from datetime import date
from uuid import UUID

import duckdb

from warehouse.catalog import KEYED_HASH
from warehouse.tables import Table, tables

FIRST = date(2026, 11, 23)


def lake(*names: str) -> duckdb.DuckDBPyConnection:
    """A connection with these tables, empty, in a catalog `lake`, and one to publish into."""
    connection = duckdb.connect()
    connection.execute("SET VARIABLE inner_key = 'inner'; SET VARIABLE outer_key = 'outer'")
    connection.execute(KEYED_HASH)
    connection.execute("ATTACH ':memory:' AS lake; ATTACH ':memory:' AS published")
    for name in names:
        schema = name.split(".")[0]
        for catalog in ("lake", "published"):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {catalog}.{schema}")
        connection.execute(tables()[name].ddl("lake"))
    return connection


def put(connection: duckdb.DuckDBPyConnection, table: Table, rows: list[dict]) -> None:
    """Rows by column; a column that a row does not name is empty."""
    names = list(table.all_columns)
    if rows:
        connection.executemany(
            f"INSERT INTO lake.{table.name} VALUES ({', '.join('?' * len(names))})",
            [[row.get(name) for name in names] for row in rows],
        )


def record(number: int) -> UUID:
    return UUID(int=number)


def person(number: int, **values) -> dict:
    """A resident on record since the first night."""
    return {
        "source_record_id": record(number), "household_record_id": record(900_000 + number),
        "sex": "female", "birth_date": date(1985, 6, 1), "status": "resident",
        "region_code": "32.74.01.1001", "valid_from": FIRST, "source": "civil_registry",
        "stream": "resident", "flags": [],
    } | values  # fmt: skip

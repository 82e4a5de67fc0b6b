"""A plain DuckLake (SQLite catalog) and what the bare loaders do with it: replace or merge."""

from pathlib import Path

import duckdb


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    packages = Path(duckdb.__file__).parent.parent
    pattern = f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension"
    connection.execute(f"LOAD '{next(packages.glob(pattern))}'")


def attach(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "1200MB"})
    for name in ("sqlite_scanner", "ducklake"):
        load_extension(connection, name)
    connection.execute(
        f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS lake (DATA_PATH '{folder}/data')"
    )
    return connection


def newest(connection: duckdb.DuckDBPyConnection) -> str:
    """The last change that arrived, as text."""
    row = connection.execute("SELECT max(updated_at)::TIMESTAMP FROM lake.penduduk").fetchone()
    return str(row[0])


def replace(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    connection.execute(f"CREATE OR REPLACE TABLE lake.penduduk AS SELECT * FROM {rows}")


def merge(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    connection.execute(f"CREATE TEMP TABLE changed AS SELECT * FROM {rows}")
    connection.execute(
        "MERGE INTO lake.penduduk USING changed USING (id) "
        "WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"
    )

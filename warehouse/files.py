"""The data files of the lake: which the catalog names, which lie in its folder, and what differs.

All by set: a listing of the folder is joined with the catalog's own tables.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from common.quoting import literal
from warehouse.mark import CATALOG

MISSING, WRONG_SIZE = "missing", "of another size"


@dataclass(frozen=True)
class DataFile:
    """A file that the catalog names: its table, its path below the data folder, its bytes and rows,
    the key it is encrypted with; and what is wrong with it."""

    table: str
    path: str
    bytes: int
    rows: int
    key: str = field(repr=False)
    fault: str = ""


def named_files(
    connection: duckdb.DuckDBPyConnection, *, past: bool = False, catalog: str = CATALOG
) -> list[DataFile]:
    """The data and delete files of the newest snapshot; with `past` of every kept one."""
    return [
        DataFile(*row)
        for row in connection.execute(f"{_named(catalog, past=past)} ORDER BY ALL").fetchall()
    ]


def damaged_files(
    connection: duckdb.DuckDBPyConnection,
    data: Path,
    *,
    past: bool = False,
    catalog: str = CATALOG,
) -> list[DataFile]:
    """The named files that are missing or have another size than the catalog says."""
    with _listed(connection, data):
        return [
            DataFile(*row)
            for row in connection.execute(
                f"""
                SELECT named.*, CASE WHEN listed.path IS NULL THEN {literal(MISSING)}
                    ELSE {literal(WRONG_SIZE)} END
                FROM ({_named(catalog, past=past)}) AS named LEFT JOIN listed USING (path)
                WHERE listed.bytes IS DISTINCT FROM named.bytes ORDER BY ALL
                """
            ).fetchall()
        ]


def unreadable_files(
    connection: duckdb.DuckDBPyConnection, data: Path, files: Iterable[DataFile]
) -> Iterator[DataFile]:
    """Those of the files that cannot be read whole or hold another number of rows than the catalog
    says. What is altered breaks the seal of a file's encryption."""
    for file in files:
        try:
            held, _ = connection.execute(
                f"SELECT count(*), bit_xor(hash(every)) FROM read_parquet("
                f"{literal(data / file.path)}, encryption_config = "
                f"{{footer_key_value: from_base64({literal(file.key)})}}) AS every"
            ).fetchall()[0]
        except duckdb.Error as error:
            yield replace(file, fault=f"cannot be read ({type(error).__name__})")
        else:
            if held != file.rows:
                yield replace(file, fault=f"holds {held} rows, not {file.rows}")


@dataclass(frozen=True)
class Orphans:
    """Files of the data folder that no snapshot names, beside all files that are named."""

    files: int = 0
    bytes: int = 0
    named: int = 0
    named_bytes: int = 0

    def are_few(self, share: float) -> bool:
        return self.files <= share * self.named and self.bytes <= share * self.named_bytes

    def __str__(self) -> str:
        return f"{self.files} files ({self.bytes / 1e6:.1f} MB) that no snapshot names, beside " \
               f"{self.named} ({self.named_bytes / 1e6:.1f} MB)"  # fmt: skip


def orphans(
    connection: duckdb.DuckDBPyConnection, data: Path, *, catalog: str = CATALOG
) -> Orphans:
    """What writers that were killed left, and whatever else no snapshot names."""
    with _listed(connection, data):
        return Orphans(
            *connection.execute(
                f"""
                WITH named AS ({_named(catalog, past=True)}),
                waiting AS ({_waiting(catalog, data)}),
                unnamed AS (
                    SELECT path, bytes FROM listed
                    ANTI JOIN named USING (path) ANTI JOIN waiting USING (path))
                FROM (SELECT count(*), coalesce(sum(bytes), 0) FROM unnamed),
                    (SELECT count(*), coalesce(sum(bytes), 0) FROM named)
                """
            ).fetchall()[0]
        )


def _named(catalog: str, *, past: bool) -> str:
    """SQL: every data and delete file as a `DataFile`, without a fault."""
    kept = "" if past else "WHERE file.end_snapshot IS NULL"
    parts = " UNION ALL ".join(
        f"""
        SELECT home.name AS "table", {_path("file", "home.folder")} AS path,
            file.file_size_bytes AS bytes, file.{counted} AS rows, file.encryption_key AS key
        FROM {catalog}.ducklake_{kind} AS file JOIN home USING (table_id) {kept}
        """
        for kind, counted in (("data_file", "record_count"), ("delete_file", "delete_count"))
    )
    return f"""
        WITH home AS (
            SELECT table_id, arg_max(schema_name || '.' || table_name, one.begin_snapshot) AS name,
                arg_max({_path("one", "place.path")}, one.begin_snapshot) AS folder
            FROM {catalog}.ducklake_table AS one
            JOIN (SELECT schema_id, arg_max(schema_name, begin_snapshot) AS schema_name,
                    arg_max(path, begin_snapshot) AS path
                FROM {catalog}.ducklake_schema GROUP BY schema_id) AS place USING (schema_id)
            GROUP BY table_id)
        SELECT DISTINCT * FROM ({parts})
    """


def _path(one: str, folder: str) -> str:
    return f"CASE WHEN {one}.path_is_relative::BOOLEAN THEN {folder} ELSE '' END || {one}.path"


def _waiting(catalog: str, data: Path) -> str:
    """SQL: paths of the files that the next clean-up deletes."""
    return f"""
        SELECT CASE WHEN path_is_relative::BOOLEAN THEN path
            ELSE replace(path, {literal(f"{data}/")}, '') END AS path
        FROM {catalog}.ducklake_files_scheduled_for_deletion
    """


@contextmanager
def _listed(connection: duckdb.DuckDBPyConnection, data: Path) -> Iterator[None]:
    """`listed`: path and bytes of every Parquet file of the folder, while the block runs."""
    found = list(_walk(data))
    connection.register(
        "listed",
        pa.table(
            {
                "path": pa.array([path for path, _ in found], pa.string()),
                "bytes": pa.array([size for _, size in found], pa.int64()),
            }
        ),
    )
    try:
        yield
    finally:
        connection.unregister("listed")


def _walk(data: Path) -> Iterator[tuple[str, int]]:
    for path in data.rglob("*.parquet"):
        with suppress(FileNotFoundError):  # a clean-up beside us
            yield path.relative_to(data).as_posix(), path.stat().st_size

"""What a backup says of itself: its lake and night, the bytes and SHA-256 of each file, the rows of
each table and a hash of them, keyed checks of its keys, the erasures it knows."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import TypeAdapter, ValidationError

from common.errors import BackupFault
from common.quoting import identifier
from common.settings import Settings
from warehouse.backup.copy import CATALOG, is_written_once
from warehouse.catalog import reading
from warehouse.manifest import sha256_of

NAME = "backup.json"
FORMAT = 1


@dataclass(frozen=True)
class File:
    """A file of a backup; `changed` (nanoseconds) lets the next one trust that it is the same."""

    bytes: int
    sha256: str
    changed: int


@dataclass(frozen=True)
class Table:
    """A table's content; while `made_of` is the same it needs no reading to know that it is."""

    rows: int
    content: str
    made_of: list[str]


@dataclass(frozen=True)
class Manifest:
    format: int
    lake: str
    night: str
    made_at: str
    snapshot: int
    keys: dict[str, str]
    files: dict[str, File]
    tables: dict[str, Table]
    erasures: list[dict[str, str]]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1)


def parse(text: str) -> Manifest:
    """Raises BackupFault when it is no manifest."""
    with suppress(ValidationError):
        found = TypeAdapter(Manifest).validate_json(text)
        if found.format == FORMAT:
            return found
    raise BackupFault(
        f"its {NAME} cannot be read",
        next_step="take another night, and see `muara backup list`.",
    )


def describe_files(home: Path, before: Manifest | None) -> dict[str, File]:
    """Every file below `home`. Of files that are written once, the hash of the backup before is
    taken over when bytes and time are the same."""
    known = before.files if before else {}
    found = {}
    for path in sorted(one for one in home.rglob("*") if one.is_file()):
        name, state = path.relative_to(home).as_posix(), path.stat()
        old = known.get(name)
        is_same = (
            old
            and is_written_once(name)
            and (old.bytes, old.changed) == (state.st_size, state.st_mtime_ns)
        )
        found[name] = (
            old if old and is_same else File(state.st_size, sha256_of(path), state.st_mtime_ns)
        )
    return found


def describe_tables(
    settings: Settings, before: Manifest | None
) -> tuple[dict[str, Table], list[dict[str, str]]]:
    """Every table of the lake in this home, and the erasures. A table of the same columns and data
    files as in the backup before is not read again."""
    made = _made_of(settings.home / CATALOG)
    known = before.tables if before else {}
    found = {}
    with reading(settings) as connection:
        for name, (columns, files) in made.items():
            old, made_of = known.get(name), [*columns, *files]
            if old and old.made_of == made_of:
                found[name] = old
            elif files:
                found[name] = Table(*_content(connection, name, columns), made_of)
            else:
                found[name] = Table(0, "0", made_of)
        erasures = _erasures(connection) if "ops.erasure" in found else []
    return found, erasures


def lake_of(catalog: Path) -> tuple[str, int]:
    """The lake's permanent id and its newest snapshot."""
    with closing(sqlite3.connect(catalog)) as connection:
        return connection.execute(
            "SELECT (SELECT schema_uuid FROM ducklake_schema WHERE schema_id = 0), "
            "(SELECT max(snapshot_id) FROM ducklake_snapshot)"
        ).fetchone()


def file_faults(manifest: Manifest, home: Path) -> list[str]:
    """What of a restored home is not as the manifest says, file by file."""
    present = {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and path.name != NAME
    }
    faults = [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
    faults += [f"{name} is not of this backup" for name in sorted(present - manifest.files.keys())]
    for name in sorted(manifest.files.keys() & present):
        wanted, path = manifest.files[name], home / name
        if path.stat().st_size != wanted.bytes:
            faults.append(f"{name} has another size")
        elif sha256_of(path) != wanted.sha256:
            faults.append(f"{name} was changed")
    return faults


def table_faults(manifest: Manifest, settings: Settings) -> list[str]:
    """What the lake of a restored home holds that the manifest says otherwise, by reading it."""
    tables, _ = describe_tables(settings, None)
    names = sorted(manifest.tables.keys() | tables.keys())
    return [
        f"table {name} differs"
        for name in names
        if _told(manifest.tables.get(name)) != _told(tables.get(name))
    ]


def _told(table: Table | None) -> tuple[int, str] | None:
    return (table.rows, table.content) if table else None


def _made_of(catalog: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Table → its columns, and the data and delete files that hold its rows."""
    with closing(sqlite3.connect(catalog)) as connection:
        columns, files = (
            _grouped(connection.execute(f"{query} ORDER BY 1, 2, 3"))
            for query in (
                """
                SELECT home.schema_name || '.' || of.table_name, column_order, column_name
                FROM ducklake_column AS one JOIN ducklake_table AS of USING (table_id)
                JOIN ducklake_schema AS home USING (schema_id)
                WHERE one.end_snapshot IS NULL AND of.end_snapshot IS NULL
                    AND parent_column IS NULL
                """,
                """
                SELECT home.schema_name || '.' || of.table_name, file.path, file.path
                FROM (
                    SELECT table_id, path, end_snapshot FROM ducklake_data_file
                    UNION ALL SELECT table_id, path, end_snapshot FROM ducklake_delete_file
                ) AS file JOIN ducklake_table AS of USING (table_id)
                JOIN ducklake_schema AS home USING (schema_id)
                WHERE file.end_snapshot IS NULL AND of.end_snapshot IS NULL
                """,
            )
        )
    return {name: (these, files.get(name, [])) for name, these in columns.items()}


def _grouped(rows: Iterable[tuple[str, Any, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, _, value in rows:
        grouped.setdefault(name, []).append(value)
    return grouped


def _content(
    connection: duckdb.DuckDBPyConnection, name: str, columns: list[str]
) -> tuple[int, str]:
    """Rows, and the sum of their hashes: the same whatever the order."""
    listed = ", ".join(map(identifier, columns))
    table = ".".join(map(identifier, ("lake", *name.split(".", 1))))
    try:
        rows, content = connection.execute(
            "SELECT count(*), sum(CAST(md5_number_lower(CAST(row("
            f"{listed}) AS VARCHAR)) AS HUGEINT)) FROM {table}"
        ).fetchall()[0]
    except duckdb.Error as error:
        raise BackupFault(
            f"table {name} cannot be read ({type(error).__name__})",
            next_step="keep the backups there are, and see `muara doctor`.",
        ) from None
    return rows, str(content or 0)


def _erasures(connection: duckdb.DuckDBPyConnection) -> list[dict[str, str]]:
    found = connection.execute("FROM lake.ops.erasure")
    names = [column for column, *_ in found.description or []]
    return [
        {name: str(value) for name, value in zip(names, row, strict=True) if value is not None}
        for row in found.fetchall()
    ]

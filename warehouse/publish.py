"""The analysts' warehouse: core and mart, pseudonymised, as one DuckDB file and plain Parquet.

Built beside the old one from a single snapshot of the lake and swapped in by one rename: whoever
opens `published/current` has yesterday's or tonight's, never a mixture.
"""

import secrets
from datetime import date
from pathlib import Path

import duckdb

from common.errors import ExtractFault
from common.home_files import take_place
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.audit import seals
from warehouse.catalog import changed_since, data_folder, reading, require_sound
from warehouse.cells import counts
from warehouse.disclosure import Floor, load_floor, measure, refuse_below, release
from warehouse.manifest import (
    DATABASE,
    building,
    declared,
    leaving,
    parquet_of,
    point_current_to,
    read_manifest,
    remove,
    require_link,
    verify,
    write_manifest,
)
from warehouse.tables import Table, tables

AUDIENCE = "analyst"
KEPT = 2


def published_tables() -> list[Table]:
    """Marts, reference tables, and of core what says what it keeps when few people share it."""
    return [
        table
        for table in tables().values()
        if table.schema_name in ("core", "mart", "ref")
        and not table.identity
        and (table.keeps or not table.is_about_people)
    ]


def scope(table: Table, snapshot: int) -> str:
    """Keys the surrogates of one table of one publication: those of two cannot be joined."""
    return f"{AUDIENCE}/{snapshot}/{table.name}"


def parquet(folder: Path, table: Table) -> Path:
    """The Parquet file of a table in a publication."""
    return folder / parquet_of(table.name)


def files_published() -> set[str]:
    """The files that every publication holds, by the schema home."""
    return declared({"tables": [table.name for table in published_tables()]})


def publish(settings: Settings, night: date) -> dict[str, int]:
    """Build and swap in. Returns rows per table. Raises ExtractFault when a count differs,
    WarehouseFault when the lake is damaged, DisclosureRefused when it would tell too much of too
    few people, and WarehouseBusy when somebody else keeps building."""
    home = settings.home / "published"
    floor = load_floor(settings)
    with leaving(settings):
        require_link(home)
        with reading(settings) as connection:
            require_sound(connection, data_folder(settings))
        if rows := _published_already(settings, night, floor):
            return rows
        with building(home) as folder:
            with reading(settings) as connection:
                rows, snapshot, told = _build(connection, folder, floor)
            refuse_below(floor, told)
            write_manifest(
                folder,
                {
                    "night": str(night),
                    "snapshot": snapshot,
                    "tables": rows,
                    "disclosure": {"floor": floor.model_dump(), "tables": told},
                    **seals.head(settings),
                },
            )
            verify(folder, files_published())
            final = home / f"{night}-{snapshot}-{secrets.token_hex(4)}"
            take_place(folder, final)
        point_current_to(final)
        _forget_old(home, final)
        return rows


def _published_already(settings: Settings, night: date, floor: Floor) -> dict[str, int]:
    """Rows per table when tonight's publication is whole and holds what the lake holds; else
    empty."""
    try:
        manifest = current_manifest(settings)
        if manifest.get("night") != str(night):
            return {}
        if manifest.get("disclosure", {}).get("floor") != floor.model_dump():
            return {}
        verify(settings.home / "published" / "current", files_published())
    except ExtractFault:
        return {}
    with reading(settings) as connection:
        changed = changed_since(connection, manifest["snapshot"])
    return {} if changed & {table.name for table in published_tables()} else manifest["tables"]


def _build(
    connection: duckdb.DuckDBPyConnection, folder: Path, floor: Floor
) -> tuple[dict[str, int], int, dict[str, dict]]:
    """Returns rows per table, the lake's snapshot, and what each table tells of single people."""
    connection.execute(f"ATTACH {literal(folder / DATABASE)} AS published")
    for schema in ("core", "mart", "ref", "now"):
        connection.execute(f"CREATE SCHEMA published.{schema}")
    rows, told = {}, {}
    connection.execute("BEGIN")
    snapshot = _one(connection, "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    for table in published_tables():
        made = f"published.{table.name}"
        done = release(connection, table, made, scope(table, snapshot), floor)
        if found := done | measure(connection, table, made, floor):
            told[table.name] = found
        if table.history:
            connection.execute(
                f"CREATE VIEW published.now.{table.short_name} AS "
                f"SELECT * FROM {table.name} WHERE valid_to IS NULL"
            )
        rows[table.name] = _one(connection, f"SELECT count(*) FROM published.{table.name}")
        there = _one(connection, f"SELECT count(*) FROM lake.{table.name}")
        if not counts(table) and rows[table.name] + done.get("withheld", 0) != there:
            raise ExtractFault(
                f"{table.name}: {there} rows in the lake, {rows[table.name]} published"
            )
    connection.execute("COMMIT")
    for table in published_tables():
        target = parquet(folder, table)
        target.parent.mkdir(parents=True, exist_ok=True)
        readable = ", ".join(
            f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            if kind == "UUID"
            else identifier(name)
            for name, kind in connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE "
                "database_name = 'published' AND schema_name = ? AND table_name = ? "
                "ORDER BY column_index",
                [table.schema_name, table.short_name],
            ).fetchall()
        )
        connection.execute(
            f"COPY (SELECT {readable} FROM published.{table.name}) TO {literal(target)} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    connection.execute("DETACH published")
    return rows, snapshot, told


def _forget_old(home: Path, current: Path) -> None:
    older = sorted(
        (path for path in home.iterdir() if path.is_dir() and not path.is_symlink()
         and path != current and not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )  # fmt: skip
    for path in older[KEPT - 1 :]:
        remove(path)


def current_manifest(settings: Settings) -> dict:
    """The manifest of what is published now; empty when nothing is. Raises ExtractFault when it is
    damaged."""
    return read_manifest(settings.home / "published" / "current")


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])

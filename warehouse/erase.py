"""Erase one record everywhere we keep it (UU 27/2022 Ps 43), keeping the counts of the past.

The narrow identity rows, landing and quarantine rows of the record go; `core.person` keeps its
surrogate without any name or number until the night of the erasure, so last month's counts still
answer. Mentions of the person in other people's rows (as a parent, reporter or head of a family)
are emptied, mentions by NIK also in every later batch. Golden records and birth cases that may hold
anything of the person go, and all that the newest linking left for the next, which makes all anew
of what is left. The lake's files are rewritten, old snapshots and files removed and the catalog
vacuumed, because it holds each file's smallest and largest values. Original files that name the
person go, and so do past extracts. A record that the source still sends is excluded from then on,
with a declared reason.
"""

import sqlite3
from datetime import date
from pathlib import Path

import duckdb

from common.definition import Source, Stream
from common.errors import DefinitionError
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse import linking
from warehouse.catalog import attach, lake_folder, open_duckdb, transaction, writer_lock
from warehouse.manifest import leaving
from warehouse.tables import landing_name, tables

NIK_COLUMNS = ("nik", "mother_nik", "father_nik", "child_nik", "reporter_nik")
MADE_OF_MENTIONS = ("core.birth_case", "core.golden_origin", "core.golden_record",
                    "core.golden_record_identity")  # fmt: skip
OF_THE_PERSON = """person_id IN (
    SELECT person_id FROM lake.core.person_mention WHERE source_record_id = ?
    UNION SELECT person_id FROM lake.core.golden_record_identity
    WHERE nik IN (SELECT unnest(?)))"""
ZIPPED = b"PK\x03\x04"

FAMILY = ("civil_registry", "family")
HEAD = "record_id('civil_registry', 'family', {} || '|' || {})"
"""SQL: a keyed surrogate of a household and the name of its head, for a family has no NIK."""


def erase(
    settings: Settings,
    sources: dict[str, Source],
    source: Source,
    stream: Stream,
    record: str,
    *,
    reference: str,
    night: date,
) -> dict[str, int]:
    """Erase the record with this surrogate. Returns rows removed or emptied per table.

    Raises DefinitionError when no row of the stream has that surrogate. Published files and
    extracts are rebuilt by whoever calls this.
    """
    with linking.alone(settings), writer_lock(settings):
        connection = open_duckdb(settings)
        try:
            attach(connection, settings)
            touched, words = _erase_rows(
                connection, sources, source, stream, record, reference, night
            )
            _forget_files(connection, touched)
        finally:
            connection.close()
        _vacuum(settings)
    with leaving(settings):
        touched["files"] = _forget_copies(settings, words)
    return touched


def _erase_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: dict[str, Source],
    source: Source,
    stream: Stream,
    record: str,
    reference: str,
    night: date,
) -> tuple[dict[str, int], list[str]]:
    landing = f"lake.{landing_name(source, stream)}"
    niks = [
        nik
        for (nik,) in connection.execute(
            f"SELECT DISTINCT nik FROM {landing} WHERE _record_id = ? AND nik IS NOT NULL", [record]
        ).fetchall()
    ]
    if not niks:
        raise DefinitionError(
            "no person has this record id",
            where=f"{source.name}.{stream.name}",
            next_step="find it with `muara sql` in core.person_identity.",
        )
    heads = connection.execute(
        f"SELECT DISTINCT household_number, person_name FROM {landing} WHERE _record_id = ? "
        "AND household_number IS NOT NULL AND person_name IS NOT NULL",
        [record],
    ).fetchall()
    touched: dict[str, int] = {}
    with transaction(connection):
        connection.execute(
            "INSERT INTO lake.ops.erasure VALUES (?, ?, ?, ?, ?)",
            [record, source.name, stream.name, reference, night],
        )
        for name in MADE_OF_MENTIONS:
            _run(
                connection,
                touched,
                name,
                f"DELETE FROM lake.{name} WHERE {OF_THE_PERSON}",
                [record, niks],
            )
        for name in linking.LEFT:
            _run(connection, touched, name, f"DELETE FROM lake.{name}", [])
            # The catalog keeps the smallest and largest values that an emptied table ever had.
            connection.execute(f"DROP TABLE lake.{name}")
            connection.execute(tables()[name].ddl("lake"))
        for name, condition in _own_rows(source, stream):
            _run(connection, touched, name, f"DELETE FROM lake.{name} WHERE {condition}", [record])
        for table in tables().values():
            if table.history and not table.identity and "source_record_id" in table.columns:
                connection.execute(
                    f"UPDATE lake.{table.name} SET valid_to = ?, closed_reason = 'erased' "
                    "WHERE source_record_id = ? AND valid_to IS NULL",
                    [night, record],
                )
        for name, column, emptied in _places(connection, sources):
            names = ", ".join(f"{identifier(one)} = NULL" for one in emptied)
            _run(
                connection,
                touched,
                name,
                f"UPDATE lake.{name} SET {names} WHERE {identifier(column)} IN (SELECT unnest(?))",
                [niks],
            )
        for household, name in heads:
            connection.execute(
                f"INSERT INTO lake.ops.erasure SELECT {HEAD.format('?', '?')}, ?, ?, ?, ?",
                [household, name, *FAMILY, reference, night],
            )
            for place in ("core.household_identity", "landing.civil_registry__family"):
                _run(
                    connection,
                    touched,
                    place,
                    f"UPDATE lake.{place} SET head_name = NULL "
                    "WHERE household_number = ? AND head_name = ?",
                    [household, name],
                )
        _run(
            connection,
            touched,
            "quarantine.row",
            "DELETE FROM lake.quarantine.row WHERE len(list_filter(?, lambda nik: "
            "contains(row_as_sent, nik))) > 0",
            [niks],
        )
    words = [*niks, *(name for _, name in heads)]
    return {name: count for name, count in touched.items() if count}, words


def _forget_copies(settings: Settings, words: list[str]) -> int:
    """Delete original files that name the person or are compressed (archives, workbooks), and
    every extract that was delivered before: what is compressed cannot be searched, and its agency
    has its own. Returns files deleted."""
    sought = [word.encode(encoding) for word in words for encoding in ("utf-8", "cp1252")]
    originals = [
        path
        for path in (settings.home / "originals").rglob("*")
        if path.is_file() and _may_name(path, sought)
    ]
    delivered = [path for path in (settings.home / "extracts").rglob("*") if path.is_file()]
    for path in (*originals, *delivered):
        path.unlink()
    for folder in (settings.home / "extracts").glob("*/*"):
        folder.rmdir()
    return len(originals) + len(delivered)


def _may_name(path: Path, sought: list[bytes]) -> bool:
    content = path.read_bytes()
    return content.startswith(ZIPPED) or any(word in content for word in sought)


def _own_rows(source: Source, stream: Stream) -> list[tuple[str, str]]:
    identities = [table.name for table in tables().values() if table.identity]
    return [
        (landing_name(source, stream), "_record_id = ?"),
        ("quarantine.row", "source_record_id = ?"),
        ("quarantine.waiver", "source_record_id = ?"),
        *((name, "source_record_id = ?") for name in identities),
    ]


def mentions(columns: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """(NIK column, columns to empty) for every place where a row may name another person."""
    places = []
    for column in NIK_COLUMNS:
        if column in columns:
            beside = column.removesuffix("nik")
            names = (f"{beside}name", f"{beside}birth_date") if beside else ()
            places.append((column, (column, *(name for name in names if name in columns))))
    return places


def _places(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Of landing as it is: it keeps columns that a definition no longer names."""
    columns = {table.name: list(table.columns) for table in tables().values() if table.identity}
    for source in sources.values():
        for stream in source.streams:
            name = landing_name(source, stream)
            described = connection.execute(f"DESCRIBE lake.{name}").fetchall()
            columns[name] = [column for column, *_ in described]
    return [
        (name, column, emptied)
        for name, present in columns.items()
        for column, emptied in mentions(present)
    ]


def forgotten(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> dict[str, str]:
    """Column → SQL of its value in a staged row, emptied where it mentions an erased person, so
    that a source cannot bring them back."""
    values = {name: identifier(name) for name in columns}
    erased = connection.execute("SELECT DISTINCT source, stream FROM lake.ops.erasure").fetchall()
    for source, stream in erased:
        if (source, stream) == FAMILY:
            if {"household_number", "head_name"} <= values.keys():
                values["head_name"] = (
                    f"CASE WHEN {HEAD.format('household_number', 'head_name')} IN "
                    "(SELECT source_record_id FROM lake.ops.erasure) THEN NULL ELSE head_name END"
                )
            continue
        for column, emptied in mentions(columns):
            if column == "nik":
                continue
            for name in emptied:
                values[name] = (
                    f"CASE WHEN record_id({literal(source)}, {literal(stream)}, "
                    f"{identifier(column)}) IN "
                    f"(SELECT source_record_id FROM lake.ops.erasure) THEN NULL "
                    f"ELSE {values[name]} END"
                )
    return values


def _run(connection, touched: dict[str, int], name: str, statement: str, values: list) -> None:
    count = connection.execute(statement, values).fetchall()[0][0]
    touched[name] = touched.get(name, 0) + count


def _forget_files(connection: duckdb.DuckDBPyConnection, touched: dict[str, int]) -> None:
    for name in touched:
        schema, short = name.split(".")
        connection.execute(
            "CALL ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => 0)",
            [short, schema],
        )
    connection.execute("CALL ducklake_expire_snapshots('lake', older_than => now())")
    connection.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
    connection.execute("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)")


def _vacuum(settings: Settings) -> None:
    """SQLite keeps deleted bytes in free pages and in its log until told otherwise."""
    with sqlite3.connect(lake_folder(settings) / "catalog.sqlite", isolation_level=None) as catalog:
        catalog.execute("PRAGMA secure_delete = ON")
        catalog.execute("VACUUM")
        catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    catalog.close()

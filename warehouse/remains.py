"""The search for what may be left of an erased person: in every table of the lake and in every file
of the home, opened where it is packed or compressed.

It shares the values and nothing else with the erasure: it knows of no definition.
"""

import gzip
import mmap
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from email import policy
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import duckdb

from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.catalog import lake_folder, open_duckdb, reading

NOT_OURS = ("city", "erasure")
"""Folders of the home: the sample agencies' own systems, and the requests themselves."""
WIDE_AT_MOST = 64 << 20
SQLITE, GZIP = b"SQLite format 3\x00", b"\x1f\x8b"


def in_tables(settings: Settings, pattern: str) -> list[str]:
    """Tables of the lake in which a row matches, as text. Reference lists are not looked into."""
    with reading(settings) as connection:
        names = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE database_name = 'lake' AND schema_name <> 'ref' ORDER BY ALL"
        ).fetchall()
        return [name for (name,) in names if _matches(connection, f"lake.{name}", pattern)]


def in_files(settings: Settings, pattern: str) -> list[str]:
    """Paths below the home of the files in which the pattern is found."""
    data = lake_folder(settings) / "data"  # encrypted: its tables were looked into
    folders = (one for one in sorted(settings.home.iterdir()) if one.name not in NOT_OURS)
    files = (
        path
        for one in folders
        for path in ([one] if one.is_file() else sorted(one.rglob("*")))
        if path.is_file() and not path.is_symlink() and data not in path.parents
    )
    return [path.relative_to(settings.home).as_posix()
            for path in files if names(settings, path, pattern)]  # fmt: skip


def names(settings: Settings, path: Path, pattern: str) -> bool:
    """Whether the pattern is found in a file. One that cannot be opened counts as one that does."""
    if path.suffix in (".duckdb", ".parquet"):
        return _in_duckdb(settings, path, pattern)
    sought = re.compile(pattern.encode(), re.IGNORECASE)
    try:
        return any(sought.search(text) for text in _texts(path))
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, sqlite3.Error):
        return path.exists()


def _matches(connection: duckdb.DuckDBPyConnection, relation: str, pattern: str) -> bool:
    found = connection.execute(
        f"SELECT 1 FROM {relation} AS whole_row "
        f"WHERE regexp_matches(CAST(whole_row AS VARCHAR), {literal(pattern)}, 'i') LIMIT 1"
    ).fetchall()
    return bool(found)


def _in_duckdb(settings: Settings, path: Path, pattern: str) -> bool:
    with closing(open_duckdb(settings)) as connection:
        try:
            if path.suffix == ".parquet":
                return _matches(connection, f"read_parquet({literal(path)})", pattern)
            connection.execute(f"ATTACH {literal(path)} AS copy (READ_ONLY)")
            tables = connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'copy'"
            ).fetchall()
            return any(
                _matches(connection, f"copy.{identifier(schema)}.{identifier(name)}", pattern)
                for schema, name in tables
            )
        except duckdb.Error:
            return path.exists()


def _texts(path: Path) -> Iterator[bytes | mmap.mmap]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file:
        head = file.read(16)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
            if len(content) <= WIDE_AT_MOST:
                yield from _told_otherwise(content[:])
    if head == SQLITE:
        yield from _cells(path)
    elif head.startswith(GZIP):
        with gzip.open(path) as packed:
            yield packed.read()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                yield member.filename.encode()
                unpacked = archive.read(member)
                yield unpacked
                yield from _told_otherwise(unpacked)


def _told_otherwise(content: bytes) -> Iterator[bytes]:
    """UTF-16, XML that splits a text, and messages, whose parts and headers are encoded."""
    if b"\x00" in content:
        yield content.replace(b"\x00", b"")
    if b"\ncontent-transfer-encoding:" in content.lower() or b"=?" in content[: 64 << 10]:
        yield from _of_message(BytesParser(policy=policy.compat32).parsebytes(content))


def _of_message(message: Message) -> Iterator[bytes]:
    for part in message.walk():
        for value in part.values():
            yield str(make_header(decode_header(str(value)))).encode("utf-8", "replace")
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield payload


def _cells(path: Path) -> Iterator[bytes]:
    """Every text of a SQLite file, apart: its pages hold them without anything between."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        store.text_factory = bytes
        found = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in found:
            for row in store.execute(f"SELECT * FROM {identifier(name.decode())}"):
                yield b"\n".join(cell for cell in row if isinstance(cell, bytes))

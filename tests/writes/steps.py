"""Steps of a trial that no command has: parts of a night, and what a reader sees of a home."""

import hashlib
import json
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.connection import resolver
from common.definition import load_source, load_sources
from common.errors import MuaraError
from common.quoting import literal
from common.settings import Settings
from pipeline.core_rules import judge_core
from pipeline.data_docs import write_data_docs
from pipeline.sync import prepare, sync
from tests.same import compared_columns, hash_of
from warehouse import manifest
from warehouse.catalog import attach, open_duckdb, reading

PERSON = ("person_id", "other_person_id", "mother_person_id")
"""Columns of random ids: a person is known by the least of the mentions it ever had."""
LABEL = """
    CREATE OR REPLACE TEMP TABLE label AS
    SELECT person_id AS id, min(role || source_record_id) AS label
    FROM lake.core.person_mention AT (VERSION => {}) GROUP BY 1"""
LABELLED = 'coalesce((SELECT label FROM label WHERE id = "{0}"), CAST("{0}" AS VARCHAR))'
FILES = """
    SELECT schema_name || '.' || table_name, data.path, gone.path
    FROM ducklake_data_file AS data
    JOIN ducklake_table AS one USING (table_id) JOIN ducklake_schema USING (schema_id)
    LEFT JOIN ducklake_delete_file AS gone ON gone.data_file_id = data.data_file_id
        AND gone.begin_snapshot <= :number
        AND (gone.end_snapshot IS NULL OR gone.end_snapshot > :number)
    WHERE data.begin_snapshot <= :number
        AND (data.end_snapshot IS NULL OR data.end_snapshot > :number)
        AND (one.end_snapshot IS NULL OR one.end_snapshot > :number)
    ORDER BY 1, 2, 3"""
RANDOM = re.compile(r"[0-9a-f]{8,}|\d+|(?<=tmp)\w{8}|(?<=incoming-)\w{8}")
VOLATILE = ("lake/data/", "city/", "logs/", "spill/", "backup/cache/")


def tidy() -> None:
    """What runs before every night."""
    settings = Settings()
    prepare(settings, load_sources(settings))


def sync_stream(source: str, stream: str) -> None:
    """One stream, without what runs before the night."""
    settings = Settings()
    one = load_source(settings, source)
    sync(settings, one, one.stream(stream), resolver(settings))


def judge() -> None:
    """Core's own rules and the pages of what every rule found."""
    settings = Settings()
    judge_core(settings)
    write_data_docs(settings)


COMMANDS = {"tidy": tidy, "sync_stream": sync_stream, "judge": judge}
"""Beside those of `muara`, and ended like them when they fail."""


def someone(home: Path) -> str:
    """The record of a resident whom others mention."""
    with reading(Settings()) as connection:
        return connection.execute(
            "SELECT CAST(source_record_id AS VARCHAR) FROM lake.core.person_identity "
            "WHERE valid_to IS NULL AND nik IN (SELECT mother_nik FROM lake.core.person_identity) "
            "ORDER BY 1 LIMIT 1"
        ).fetchall()[0][0]


def version(home: Path) -> int:
    """The newest snapshot of the lake; -1 without one."""
    if not (home / "lake" / "catalog.sqlite").exists():
        return -1
    with reading(Settings()) as connection:
        return connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchall()[0][0]


def lake(home: Path, since: str = "") -> list[dict[str, Any]]:
    """Table → its hash: as it is now, or as each snapshot from `since` on showed it."""
    if not (home / "lake" / "catalog.sqlite").exists():
        return [{}]
    with reading(Settings()) as connection:
        newest = connection.execute("SELECT max(snapshot_id) FROM lake.snapshots()").fetchall()
        known = _Known(home)
        versions = range(int(since), newest[0][0] + 1) if since else [newest[0][0]]
        return [known.tables(connection, number) for number in versions]


class _Known:
    """The hash of a table by the files that it is made of: they are never written to again."""

    def __init__(self, home: Path) -> None:
        self.memory = home.with_name("hashes.json")
        self.hashes = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        self.catalog = home / "lake" / "catalog.sqlite"

    def tables(self, connection: duckdb.DuckDBPyConnection, number: int) -> dict[str, Any]:
        held: dict[str, Any] = {}
        files = self._files(number)
        mentions = files.get("core.person_mention")
        is_labelled, before = False, len(self.hashes)
        for table, names in compared_columns(connection).items():
            of_people = [name for name in names if name in PERSON]
            made_of = (names, files.get(table), mentions if of_people else None)
            key = f"{table} {_hash(repr(made_of).encode())}"
            if key not in self.hashes:
                chosen = [LABELLED.format(one) if one in PERSON else f'"{one}"' for one in names]
                rows = f"lake.{table} AT (VERSION => {number})"
                try:
                    if of_people and not is_labelled:
                        connection.execute(LABEL.format(number))
                        is_labelled = True
                    self.hashes[key] = hash_of(connection, rows, chosen)
                except duckdb.CatalogException:  # not yet there at that snapshot
                    continue
            if self.hashes[key][0]:
                held[table] = self.hashes[key][1]
        if len(self.hashes) > before:
            self.memory.write_text(json.dumps(self.hashes))
        return held

    def _files(self, number: int) -> dict[str, list[Any]]:
        """Table → its data files, each with what deletes from it, at that snapshot."""
        with closing(sqlite3.connect(f"file:{self.catalog}?mode=ro", uri=True)) as database:
            found: dict[str, list[Any]] = {}
            for table, *files in database.execute(FILES, {"number": number}):
                found.setdefault(table, []).append(files)
            return found


def loaded(home: Path) -> list[list[Any]]:
    """Per stream what all its loaded batches changed in sum, and how many do not balance."""
    with reading(Settings()) as connection:
        return [list(row) for row in connection.execute(
            "SELECT source, stream, sum(inserted), sum(updated), sum(deleted), count(*) FILTER "
            "(extracted <> inserted + updated + unchanged + quarantined + excluded) "
            "FROM lake.ops.ledger WHERE outcome = 'loaded' GROUP BY ALL ORDER BY ALL"
        ).fetchall()]  # fmt: skip


def deliveries(home: Path) -> dict[str, Any]:
    """Folder → what its files hold, or why it is not as its manifest says."""
    found = {}
    folders = [home / "published" / "current", *sorted((home / "extracts").glob("*/[!.]*"))]
    for folder in folders:
        if not folder.exists():
            continue
        try:
            manifest.verify(folder)
        except MuaraError as error:
            found[folder.relative_to(home).as_posix()] = f"fault: {error.what}"
            continue
        found[folder.relative_to(home).as_posix()] = _contents(folder)
    for share in sorted((home / "shares").glob("[!.]*.duckdb")):
        found[f"shares/{share.name}"] = _database(share)
    docs = home / "data_docs" / "current"
    if docs.is_symlink():
        random = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+"  # ids of parts of a page; times
        pages = {page.name: re.sub(random, "#", page.read_text()) for page in docs.glob("*.html")}
        found["data_docs"] = [len(pages), _hash(repr(sorted(pages.items())).encode())]
    return found


def _contents(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = {}
    with duckdb.connect() as connection:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            match path.suffix:
                case ".parquet":
                    held[name] = hash_of(connection, f"read_parquet('{path}') AS t", ["t"])
                case ".csv":
                    held[name] = _hash(b"\n".join(sorted(path.read_bytes().splitlines())))
                case ".duckdb":
                    held[name] = _database(path)
                case ".xlsx":
                    held[name] = _hash(path.read_bytes())
    return held


def _database(path: Path) -> dict[str, Any]:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS held (READ_ONLY)")
        return {
            f"{schema}.{table}": hash_of(connection, f'held.{schema}."{table}" AS t', ["t"])
            for schema, table in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'held'"
            ).fetchall()
        }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def left(home: Path) -> dict[str, Any]:
    """What lies in the home: names without what is random in them → how many; how many files of
    the lake no snapshot knows; and which databases of ours are damaged."""
    names = Counter(
        RANDOM.sub("#", name)
        for path in home.rglob("*")
        if not (name := path.relative_to(home).as_posix()).startswith(VOLATILE)
    )
    settings = Settings()
    connection = open_duckdb(settings)
    try:
        attach(connection, settings)
        orphans = connection.execute(
            "CALL ducklake_delete_orphaned_files('lake', cleanup_all => true, dry_run => true)"
        ).fetchall()
    finally:
        connection.close()
    damaged = []
    for path in home.rglob("*.sqlite"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                damaged.append(path.name)
    return {"names": names, "orphans": len(orphans), "damaged": damaged}


def write_every_way(home: Path) -> int:
    """Every kind of write call once. Returns how many were made."""
    folder = home / secrets.token_hex(4)
    os.mkdir(folder)
    inner = os.open(folder, os.O_RDONLY)
    os.mkdir("made", dir_fd=inner)
    file = os.open(folder / "file", os.O_CREAT | os.O_RDWR)
    os.write(file, b"twelve bytes")
    os.pwrite(file, b"more", 100)
    os.writev(file, [b"one", b"two"])
    os.pwritev(file, [b"one", b"two"], 200)
    os.ftruncate(file, 300)
    os.truncate(folder / "file", 400)
    os.posix_fallocate(file, 0, 500)
    os.fsync(file)
    os.fdatasync(file)
    os.fchmod(file, 0o600)
    os.chmod(folder / "file", 0o640)
    os.utime(folder / "file")
    other = os.open("other", os.O_CREAT | os.O_WRONLY, dir_fd=inner)
    os.lseek(file, 0, os.SEEK_SET)
    os.copy_file_range(file, other, 100)
    os.sendfile(other, file, 0, 100)
    os.rename(folder / "file", folder / "renamed")
    os.rename("renamed", "again", src_dir_fd=inner, dst_dir_fd=inner)
    os.link(folder / "again", folder / "link")
    os.symlink("again", folder / "symlink")
    os.close(os.open(folder / "again", os.O_WRONLY | os.O_TRUNC))
    os.unlink(folder / "link")
    os.unlink("symlink", dir_fd=inner)
    os.rmdir(folder / "made")
    child = [sys.executable, "-c", f"import os; os.mkdir({str(folder / 'child')!r})"]
    subprocess.run(child, check=True)
    return 27


def write_sqlite(home: Path) -> None:
    with closing(sqlite3.connect(home / "python.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        connection.execute("INSERT INTO t VALUES (1)")


def write_lake(home: Path) -> None:
    settings = Settings()
    connection = open_duckdb(settings)
    connection.execute(
        f"ATTACH {literal(f'ducklake:sqlite:{home}/of.sqlite')} AS lake "
        f"(DATA_PATH {literal(f'{home}/of')}, DATA_INLINING_ROW_LIMIT 0)"
    )
    connection.execute("CREATE OR REPLACE TABLE lake.main.t AS SELECT 1 AS a")
    connection.close()


def write_parquet_by_arrow(home: Path) -> None:
    rows = pa.table({"a": list(range(1000))})
    for number in range(3):
        pq.write_table(rows, home / f"{number}.parquet")


def overwrite_and_delete(home: Path) -> None:
    """What a full disk still allows; a file that grows is refused."""
    path = home / "old"
    with path.open("r+b", buffering=0) as file:
        file.write(b"y" * 100)
        with pytest.raises(OSError, match="No space left"):
            file.write(b"y")
    path.unlink()


QUESTIONS = {
    one.__name__: one
    for one in (
        someone, version, lake, loaded, deliveries, left, write_every_way, write_sqlite,
        write_lake, write_parquet_by_arrow, overwrite_and_delete,
    )
}  # fmt: skip
"""What is asked of a home by its folder, answered as JSON."""

"""What is left of somebody below a home, byte by byte and row by row. It knows nothing of how Muara
erases: it opens what it finds, with the keys that lie in the lake's own catalog."""

import gzip
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb

AGENCIES = ("city",)
"""The sample agencies' own systems, which still hold everybody."""


def left(home: Path, values: set[str]) -> dict[str, set[str]]:
    """File → the values that stand in it. Values are capitals and digits."""
    keys = _keys(home)
    found: dict[str, set[str]] = {}
    for path in sorted(home.rglob("*")):
        where = path.relative_to(home)
        if path.is_symlink() or not path.is_file() or where.parts[0] in AGENCIES:
            continue
        here = {value for text in _texts(path) for value in values if value.encode() in text}
        if path.suffix == ".parquet":
            here |= _in_parquet(path, keys.get(path.name), values)
        elif path.suffix == ".duckdb":
            here |= _in_duckdb(path, values)
        if here:
            found[str(where)] = here
    return found


def _keys(home: Path) -> dict[str, str]:
    """File of the lake → its key, also of files that only an old snapshot knows."""
    with closing(sqlite3.connect(home / "lake" / "catalog.sqlite")) as catalog:
        return {
            Path(path).name: key
            for table in ("ducklake_data_file", "ducklake_delete_file")
            for path, key in catalog.execute(f"SELECT path, encryption_key FROM {table}")
        }


def _texts(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content.upper()
    yield content.replace(b"\x00", b"").upper()
    if content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            yield "\n".join(store.iterdump()).encode().upper()
    elif content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content).upper()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                yield archive.read(member).upper()


def _in_parquet(path: Path, key: str | None, values: set[str]) -> set[str]:
    """Nobody can read an encrypted file whose key the catalog has forgotten."""
    if key is None and path.read_bytes()[:4] == b"PARE":
        return set()
    config = f", encryption_config={{footer_key_value: from_base64('{key}')}}" if key else ""
    with duckdb.connect() as connection:
        return _standing(connection, f"read_parquet('{path}'{config})", values)


def _in_duckdb(path: Path, values: set[str]) -> set[str]:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables()"
        ).fetchall()
        return {value for (name,) in tables for value in _standing(connection, name, values)}


def _standing(connection: duckdb.DuckDBPyConnection, relation: str, values: set[str]) -> set[str]:
    return {
        value
        for (value,) in connection.execute(
            f"SELECT DISTINCT unnest(list_filter(?, lambda one: contains(line, one))) FROM "
            f"(SELECT upper(CAST(whole AS VARCHAR)) AS line FROM {relation} AS whole)",
            [sorted(values)],
        ).fetchall()
    }


def canaries(connection) -> tuple[set[str], list[str]]:
    """Every NIK of the registry, and 500 names long enough not to be ordinary words."""
    of_people = "FROM lake.core.person_identity"
    niks = connection.execute(f"SELECT DISTINCT nik {of_people}").fetchall()
    names = connection.execute(
        f"SELECT DISTINCT person_name {of_people} WHERE length(person_name) >= 14 "
        "ORDER BY hash(person_name) LIMIT 500"
    ).fetchall()
    return {nik for (nik,) in niks}, [name for (name,) in names]

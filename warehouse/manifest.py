"""Deliveries: a folder of files that is there whole or not at all, and its manifest, which says
what it holds so that anyone can check that it still does."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from common.errors import ExtractFault

NAME = "manifest.json"


@contextmanager
def delivery(final: Path) -> Iterator[Path]:
    """A folder to fill and describe; verified, it takes the place of `final`.

    Only its owner can read it. Deliveries beside each other wait for one another, and what killed
    ones left there is removed. Raises ExtractFault when it is not as its manifest says.
    """
    home = final.parent
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in home.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        building = home / f".building-{secrets.token_hex(4)}"
        building.mkdir(mode=0o700)
        yield building
        verify(building)
        for file in building.iterdir():
            file.chmod(0o600)
        old = home / f".old-{secrets.token_hex(4)}"
        if final.exists():
            final.rename(old)
        building.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(lock)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Describe every file of the folder: path, bytes, SHA-256. Stable for equal content."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    ]
    text = json.dumps({**facts, "files": files}, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; empty when there is none."""
    path = folder / NAME
    return json.loads(path.read_text()) if path.exists() else {}


def verify(folder: Path) -> dict[str, Any]:
    """Re-compute every hash and row count. Returns the manifest; raises ExtractFault."""
    manifest = read_manifest(folder)
    if not manifest:
        raise ExtractFault(
            "there is no manifest",
            where=folder.name,
            next_step="deliver again: `muara extract` (for published/: `muara publish`).",
        )
    faults = []
    listed = {entry["path"] for entry in manifest["files"]}
    present = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != NAME
    }
    faults += [f"{name} is missing" for name in sorted(listed - present)]
    faults += [f"{name} is not in the manifest" for name in sorted(present - listed)]
    for entry in manifest["files"]:
        file = folder / entry["path"]
        if file.exists() and sha256_of(file) != entry["sha256"]:
            faults.append(f"{entry['path']} was changed")
    for name, dataset in manifest.get("datasets", {}).items():
        for kind in dataset["formats"]:
            file = folder / f"{name}.{kind}"
            if file.exists() and f"{file.name} was changed" not in faults:
                found = _rows(file, kind)
                if found != dataset["rows"]:
                    faults.append(f"{file.name} holds {found} rows, not {dataset['rows']}")
    if faults:
        raise ExtractFault(
            "; ".join(faults),
            where=folder.name,
            next_step="deliver again: `muara extract` (for published/: `muara publish`).",
        )
    return manifest


def _rows(file: Path, kind: str) -> int:
    reader = {"parquet": "read_parquet('{}')", "csv": "read_csv('{}', all_varchar=true)"}[kind]
    row = duckdb.sql(f"SELECT count(*) FROM {reader.format(file)}").fetchone()
    assert row is not None
    return int(row[0])

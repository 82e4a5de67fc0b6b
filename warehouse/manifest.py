"""Deliveries: a folder of files that is there whole or not at all, and its manifest, which says
what it holds so that anyone can check that it still does.

A manifest's facts declare files: `tables` those of a publication, `datasets` those of an extract,
`workbook` that of rejected rows. It lists these and no others, and a file that is declared and not
there, or there and not declared, is a fault when it is written and whenever it is verified.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from common.definition_files import faults_of
from common.errors import ExtractFault, HomeFault
from common.home_files import take_place
from common.lock import alone
from common.settings import Settings

NAME = "manifest.json"
DATABASE = "warehouse.duckdb"
AGAIN = "deliver again: `muara extract` (for published/: `muara publish`)."


@contextmanager
def leaving(settings: Settings) -> Iterator[None]:
    """The lock of whoever builds what leaves: publication, share, extract, rejected rows, Data
    Docs. What lies half built beside them is nobody's while it is held.

    Raises WarehouseBusy after `lock_timeout_seconds`.
    """
    with alone(
        settings,
        "leaving",
        what="another publication or delivery",
        next_step="wait for it to end, then run this again.",
    ):
        yield


@contextmanager
def building(home: Path) -> Iterator[Path]:
    """A new folder below `home`, which only its owner can read, to fill and move away; what is
    left of it goes, and what killed ones left goes first. Hold `leaving`."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in home.glob(".*"):
        remove(leftover)
    folder = home / f".building-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        remove(folder)


def point_current_to(folder: Path) -> None:
    """Swap in the link `current` beside the folder. Hold `leaving`. Raises HomeFault where
    something else than a link has that name."""
    require_link(folder.parent)
    link = folder.with_name(f".current-{secrets.token_hex(4)}")
    link.symlink_to(folder.name)
    link.replace(folder.with_name("current"))


def require_link(home: Path) -> None:
    """Raises HomeFault where `current` is a folder or a file, as a copy of a home may have made
    it."""
    current = home / "current"
    if current.exists() and not current.is_symlink():
        raise HomeFault(
            "this is a link to the newest of its kind, and something else stands in its place",
            where=str(current),
            next_step=f"move it away (`mv {current} {home / 'before'}`) and run this again.",
        )


def remove(path: Path) -> None:
    """A folder with all it holds, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def delivery(final: Path) -> Iterator[Path]:
    """A folder to fill and describe; verified, it takes the place of `final`. Hold `leaving`.

    Raises ExtractFault when it is not as declared.
    """
    home = final.parent
    with building(home) as folder:
        yield folder
        verify(folder)
        for file in folder.iterdir():
            file.chmod(0o600)
        take_place(folder, final)


def parquet_of(table: str) -> str:
    """Where a publication holds a table, given its full name."""
    return f"parquet/{table.replace('.', '/')}.parquet"


def declared(facts: dict[str, Any]) -> set[str]:
    """The files that a manifest's facts declare."""
    files = {parquet_of(table) for table in facts.get("tables", ())}
    files |= {DATABASE} if "tables" in facts else set()
    files |= {
        f"{name}.{kind}"
        for name, dataset in facts.get("datasets", {}).items()
        for kind in dataset["formats"]
    }
    return files | ({facts["workbook"]} if "workbook" in facts else set())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Describe the declared files: path, bytes, SHA-256. Raises ExtractFault when the folder does
    not hold exactly those."""
    names = declared(facts)
    if faults := _strangers(names, _files(folder)):
        raise ExtractFault("; ".join(faults), where=folder.name, next_step=AGAIN)
    files = [
        {
            "path": name,
            "bytes": (folder / name).stat().st_size,
            "sha256": sha256_of(folder / name),
        }
        for name in sorted(names)
    ]
    text = json.dumps({**facts, "files": files}, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def _strangers(wanted: set[str], present: set[str]) -> list[str]:
    return [
        *(f"{name} is missing" for name in sorted(wanted - present)),
        *(f"{name} is not in the manifest" for name in sorted(present - wanted)),
    ]


def _files(folder: Path) -> set[str]:
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if not file.is_dir() and file.relative_to(folder).as_posix() != NAME
    }


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        raise ValueError("leaves the folder")
    return path


Inside = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
Rows = Annotated[int, Field(ge=0)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    path: Inside
    bytes: Rows
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Dataset(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    rows: Rows
    columns: list[str]
    formats: list[str]


class _Manifest(BaseModel):
    """What must be so before it is believed; facts beside these are free."""

    model_config = ConfigDict(extra="allow", strict=True)

    night: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    files: list[_File]
    snapshot: int = 0
    tables: dict[Inside, Rows] = {}
    datasets: dict[Inside, _Dataset] = {}
    workbook: Inside = "-"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; empty when there is none. Raises ExtractFault for what is none."""
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        _Manifest.model_validate(content)
    except ValidationError as error:
        fault = f"the manifest is damaged: {'; '.join(faults_of(error)[:3])}"
    except (ValueError, RecursionError, IsADirectoryError):
        fault = "the manifest is damaged: no JSON"
    else:
        return content
    raise ExtractFault(fault, where=folder.name, next_step=AGAIN)


def verify(folder: Path, expected: set[str] | None = None) -> dict[str, Any]:
    """Re-compute every hash and row count. Returns the manifest.

    Raises ExtractFault when a file is not as the manifest says, when one that it declares, or that
    is `expected` by whoever asks, is not in it or not there, and when there is any other.
    """
    manifest = read_manifest(folder)
    if not manifest:
        raise ExtractFault("there is no manifest", where=folder.name, next_step=AGAIN)
    listed = [entry["path"] for entry in manifest["files"]]
    promised = declared(manifest) | (expected or set())
    faults = [f"the manifest lacks {name}" for name in sorted(promised - set(listed))]
    if expected is not None:
        faults += [f"{name} is more than is declared" for name in sorted(set(listed) - expected)]
    faults += _strangers(set(listed), _files(folder))
    for entry in manifest["files"]:
        file = folder / entry["path"]
        if file.is_symlink():
            faults.append(f"{entry['path']} is a link")
        elif file.is_file() and sha256_of(file) != entry["sha256"]:
            faults.append(f"{entry['path']} was changed")
    if not faults:
        faults = list(_wrong_counts(folder, manifest))
    if faults:
        raise ExtractFault("; ".join(faults), where=folder.name, next_step=AGAIN)
    return manifest


def _wrong_counts(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    counted = {parquet_of(table): rows for table, rows in manifest.get("tables", {}).items()} | {
        f"{name}.{kind}": dataset["rows"]
        for name, dataset in manifest.get("datasets", {}).items()
        for kind in dataset["formats"]
    }
    import duckdb  # not for who only reads a manifest, as Airflow's door does

    with duckdb.connect() as connection:
        for name, rows in counted.items():
            reader = "read_csv(?, all_varchar=true)" if name.endswith(".csv") else "read_parquet(?)"
            asked = f"SELECT count(*) FROM {reader}"
            try:
                found = connection.execute(asked, [str(folder / name)]).fetchall()[0][0]
            except duckdb.Error:
                found = "no table"
            if found != rows:
                yield f"{name} holds {found} rows, not {rows}"

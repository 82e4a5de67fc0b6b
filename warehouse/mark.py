"""The mark of a lake: a small file beside its data files, `lake/data/lake.json`.

It names the lake that the files belong to, as the catalog does, and the newest snapshot and night
that are known to have been committed. A catalog that is lost, of another lake, or older than its
data is noticed by it before anything is written.
"""

import hmac
import json
import os
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import duckdb

KEY = "muara_lake"
"""Under this key the catalog's metadata names the lake."""
SURROGATES = "muara_key"
"""And under this one what tells the key of its surrogates."""
CATALOG = "__ducklake_metadata_lake"
"""The catalog's own tables, of a connection to which the lake is attached."""


@dataclass(frozen=True)
class Mark:
    """`lake` is a random id; `snapshot` was made at `committed`; `night` is the newest one that was
    worked on. A writer that was killed after its commit leaves them one commit behind."""

    lake: str
    snapshot: int = 0
    committed: str = ""
    night: date | None = None


def read_mark(data: Path) -> Mark | None:
    """The mark in the data folder; None where there is none that can be read."""
    try:
        held = json.loads((data / "lake.json").read_text())
        night = held["night"] and date.fromisoformat(held["night"])
        return Mark(str(held["lake"]), int(held["snapshot"]), str(held["committed"]), night)
    except (OSError, ValueError, TypeError, LookupError):
        return None


def write_mark(data: Path, mark: Mark) -> None:
    """Replace the mark at once. Hold the writer's lock."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = data / ".lake.json"
    fresh.touch(mode=0o600)
    held = {**asdict(mark), "night": mark.night and str(mark.night)}
    fresh.write_text(json.dumps(held) + "\n")
    os.replace(fresh, data / "lake.json")


def named_lake(connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG) -> str | None:
    """The id of the lake that the catalog belongs to; None when it was made before there were
    marks."""
    found = connection.execute(
        f"SELECT value FROM {catalog}.ducklake_metadata WHERE key = ?", [KEY]
    ).fetchone()
    return found[0] if found else None


def name_lake(connection: duckdb.DuckDBPyConnection, lake: str, catalog: str = CATALOG) -> None:
    connection.execute(
        f"INSERT INTO {catalog}.ducklake_metadata (key, value) VALUES (?, ?)", [KEY, lake]
    )


def named_key(connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG) -> str | None:
    """What tells the pseudonym key by which the lake's surrogates were made; None before it was
    noted."""
    found = connection.execute(
        f"SELECT value FROM {catalog}.ducklake_metadata WHERE key = ?", [SURROGATES]
    ).fetchone()
    return found[0] if found else None


def name_key(connection: duckdb.DuckDBPyConnection, key: str, catalog: str = CATALOG) -> None:
    connection.execute(
        f"INSERT INTO {catalog}.ducklake_metadata (key, value) VALUES (?, ?)",
        [SURROGATES, told_of(key)],
    )


def told_of(key: str) -> str:
    """Tells one key from another, and nothing else: the key has 256 random bits."""
    return hmac.new(key.encode(), b"muara lake", sha256).hexdigest()


def newest_snapshot(
    connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG
) -> tuple[int, str]:
    """The newest snapshot that the catalog knows, and when it was committed."""
    number, committed = connection.execute(
        f"SELECT snapshot_id, CAST(snapshot_time AS VARCHAR) FROM {catalog}.ducklake_snapshot "
        "ORDER BY snapshot_id DESC LIMIT 1"
    ).fetchall()[0]
    return int(number), str(committed)


def newest_night(connection: duckdb.DuckDBPyConnection, catalog: str = CATALOG) -> date | None:
    """The newest night of the ledger, from what the catalog notes of each file: no data is read."""
    ((newest,),) = connection.execute(
        f"""
        SELECT max(max_value) FROM {catalog}.ducklake_file_column_stats
        SEMI JOIN (FROM {catalog}.ducklake_data_file WHERE end_snapshot IS NULL)
            USING (data_file_id)
        SEMI JOIN (FROM {catalog}.ducklake_column WHERE column_name = 'night')
            USING (table_id, column_id)
        SEMI JOIN (
            FROM {catalog}.ducklake_table JOIN {catalog}.ducklake_schema USING (schema_id)
            WHERE schema_name = 'ops' AND table_name = 'ledger') USING (table_id)
        """
    ).fetchall()
    return newest and date.fromisoformat(newest)


def mark_of(connection: duckdb.DuckDBPyConnection, lake: str, catalog: str = CATALOG) -> Mark:
    """The mark that fits a catalog."""
    newest, committed = newest_snapshot(connection, catalog)
    return Mark(lake, newest, committed, newest_night(connection, catalog))


def disagreement(
    connection: duckdb.DuckDBPyConnection, mark: Mark, catalog: str = CATALOG
) -> str | None:
    """Why this catalog and the marked data folder do not belong together; None when they do.

    Read the mark first: a writer may commit in between, and the mark only says the least.
    """
    if named_lake(connection, catalog) != mark.lake:
        return "the catalog is that of another lake"
    newest, _ = newest_snapshot(connection, catalog)
    if newest < mark.snapshot:
        return (
            f"the catalog is older than its data: it ends with snapshot {newest}, "
            f"snapshot {mark.snapshot} was committed"
        )
    same = connection.execute(
        f"SELECT CAST(snapshot_time AS VARCHAR) FROM {catalog}.ducklake_snapshot "
        "WHERE snapshot_id = ?",
        [mark.snapshot],
    ).fetchone()
    if same and mark.committed and same[0] != mark.committed:
        return f"the catalog has another snapshot {mark.snapshot} than the one that was committed"
    return None

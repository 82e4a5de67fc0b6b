"""What judged every batch, part by part: a verdict that changed though its row did not is explained
by the parts that did."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import duckdb
import pyarrow as pa

SCHEMA = pa.schema(
    [("kind", pa.string()), ("name", pa.string()), ("hash", pa.string()),
     ("looks_at", pa.list_(pa.string()))]
)  # fmt: skip


class Batch(Protocol):
    """What of a ledger row is needed to tell which batch was judged."""

    source: str
    stream: str
    batch_id: int


@dataclass(frozen=True)
class Part:
    """One part of what judges a stream; kinds are in `warehouse.changes.CAUSES`. A rule also
    `looks_at` others, each as kind:name."""

    kind: str
    name: str
    hash: str | None
    looks_at: tuple[str, ...] = ()


def parts_before(
    connection: duckdb.DuckDBPyConnection, source: str, stream: str, batch_id: int
) -> dict[tuple[str, str], Part]:
    """What judged the stream just before a batch: (kind, name) → its part."""
    rows = connection.execute(
        """
        SELECT kind, name, hash, looks_at FROM lake.ops.fingerprint
        WHERE source = ? AND stream = ? AND batch_id < ?
        QUALIFY row_number() OVER (PARTITION BY kind, name ORDER BY batch_id DESC) = 1
        """,
        [source, stream, batch_id],
    ).fetchall()
    return {
        (kind, name): Part(kind, name, found, tuple(looks_at))
        for kind, name, found, looks_at in rows
        if found is not None
    }


def write(connection: duckdb.DuckDBPyConnection, batch: Batch, parts: Sequence[Part]) -> None:
    """What is new, other or gone since the stream's batch before; in the batch's transaction."""
    before = parts_before(connection, batch.source, batch.stream, batch.batch_id)
    now = {(part.kind, part.name): part for part in parts}
    changed = [part for place, part in now.items() if before.get(place) != part]
    changed += [Part(kind, name, None) for kind, name in sorted(before.keys() - now.keys())]
    if changed:
        fresh = pa.Table.from_pylist([asdict(part) for part in changed], SCHEMA)
        connection.register("fresh_part", fresh)
        connection.execute(
            "INSERT INTO lake.ops.fingerprint "
            "SELECT ?, ?, ?, kind, name, hash, looks_at FROM fresh_part",
            [batch.batch_id, batch.source, batch.stream],
        )
        connection.unregister("fresh_part")

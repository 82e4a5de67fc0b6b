"""Where a table as it is now differs from what is held of it, without reading it.

The database sums its rows per bucket, once over; a bucket is the leading bits of the content of a
row (40 bits of the MD5 of its whole text), so a row costs one MD5 and a changed value shows in two
buckets: the one it left and the one it came to. Only rows of buckets that differ are pulled, in
the same session and so in the same snapshot. Where very much differs all rows are.

Buckets are flat and hold about `ROWS_PER_BUCKET` rows: the numbers of 65,536 of them travel in a
tenth of a second, less than a second scan of a large table would take.
"""

import math
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from connectors.readers.pull import Piece, Pull, Sums
from connectors.readers.sql import Summed, Table, among, buckets, paced, read, session, sums_of
from connectors.readers.sql.dialect import CONTENT_BITS, Mariadb, SummingDialect
from connectors.readers.sql.routes import Route

ROWS_PER_BUCKET = 32
MOST_BITS = 18
WORTH_CHOOSING = 1 / 4
"""Where more than this share of buckets differs, all rows are read."""
MOST_BUCKETS_NAMED = 2**14


def bits_for(rows: int) -> int:
    """How many bits a bucket has for a table of so many rows."""
    return max(4, min(MOST_BITS, math.ceil(math.log2(max(rows, 1) / ROWS_PER_BUCKET))))


def differing(pull: Pull, held: Sums) -> Iterator[Piece]:
    """Yields the rows of every bucket whose sum is not the one that is held.

    Notes on the pull: `present`, the rows there are, and the buckets asked for (`scope` is `all`
    when all rows were). Raises as `read` does.
    """
    with session(pull) as table:
        if isinstance(table.dialect, SummingDialect):
            condition = _condition(pull, table, table.dialect, held)
            if condition is None:
                return
            if condition:
                rows = table.route.fetch(table.texts, f"{table.name}{condition}")
                yield from paced(pull, rows)
                return
    yield from read(pull)
    pull.present = pull.extracted


def _condition(pull: Pull, table: Table, dialect: SummingDialect, held: Sums) -> str | None:
    """The condition that leaves the rows to pull; '' for all, None for none."""
    if isinstance(dialect, Mariadb):
        # The fast route takes a connection, and so a snapshot, of its own.
        table.route = Route(table.connection, dialect, pull.settings.batch_rows)
    content = dialect.content(dialect.joined(table.columns))
    bucket = f">> {CONTENT_BITS - held.bits}"
    once = dialect.once(f"SELECT {content} AS hash FROM {table.name}")
    there = sums_of(table, f"SELECT hash {bucket} AS bucket, hash FROM ({once}) AS once")
    pull.present = sum(there.column("rows").to_pylist())
    unequal = _unequal(held.table, there)
    if len(unequal) > min(MOST_BUCKETS_NAMED, WORTH_CHOOSING * 2**held.bits):
        return ""
    pull.scope, pull.buckets = "buckets", unequal
    return f" WHERE {among(f'({content}) {bucket}', unequal)}" if unequal else None


def _unequal(ours: pa.Table, theirs: pa.Table) -> list[int]:
    with duckdb.connect() as database:
        database.register("ours", ours)
        database.register("theirs", theirs)
        found = database.execute(
            "SELECT bucket FROM ours FULL JOIN theirs USING (bucket) "
            "WHERE ours.rows IS DISTINCT FROM theirs.rows "
            "OR CAST(ours.sum AS HUGEINT) IS DISTINCT FROM CAST(theirs.sum AS HUGEINT) "
            "ORDER BY bucket"
        )
        return [bucket for (bucket,) in found.fetchall()]


def moved(pull: Pull, asked: list[int]) -> list[int] | None:
    """Of some buckets of keys, those that the source no longer sums as it did when a batch of
    strategy `checksum` last read it: there it changed since. None when no sums are comparable.

    Raises as `read` does.
    """
    before = pull.progress.sums
    if before is None:
        return None
    with session(pull) as table:
        summed = Summed(pull, table)
        if before.shape != summed.shape:
            return None
        few = len(asked) <= MOST_BUCKETS_NAMED
        now = summed.ask(before.bits, asked if few else None, before.bits)
    unequal = _unequal(before.table, now)
    return sorted(set(asked).intersection(unequal))

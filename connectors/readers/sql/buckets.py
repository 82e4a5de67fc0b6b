"""`checksum`: a table without a usable timestamp, read at the price of its change.

The database sums row hashes per bucket of keys (a sum and a count: XOR would cancel a doubled row)
and only those numbers travel. They are compared with its own previous sums; where a wide bucket
differs, its narrow ones are asked for; only rows of narrow buckets that differ are pulled. So
inserts, updates and deletions are seen without any timestamp.

A bucket is the leading bits of the MD5 of a key's text, which DuckDB computes alike, so the
warehouse knows which of its own records a bucket holds. Sums are taken before rows: a row that
changes in between makes its bucket differ next night, never unseen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from connectors.readers.pull import Sums

ROWS_PER_BUCKET = 4
WIDE_BITS = 7
"""A wide bucket holds 2^7 narrow ones."""
WORTH_ASKING = 0.5
"""Where more than this share of wide buckets differs, all narrow ones are asked for at once."""
OUTGROWN = 4
"""A table of so many times the rows its buckets were made for is read whole, once."""
SCHEMA = pa.schema([("bucket", pa.int64()), ("rows", pa.int64()), ("sum", pa.string())])

Ask = Callable[[int, list[int] | None, int], pa.Table]
"""(bits, wide buckets or None for all, their bits) → table of SCHEMA: the source's sums now."""


@dataclass(frozen=True)
class Comparison:
    """`changed`: narrow buckets whose rows must be pulled. `sums`: what the source says of them
    now (a bucket that is gone is not among them). `outgrown`: the table has become too large for
    buckets of this width."""

    changed: list[int]
    sums: pa.Table
    outgrown: bool = False


def bits_for(rows: int) -> int:
    """How many bits a narrow bucket has, so that it holds about `ROWS_PER_BUCKET` rows."""
    return max(4, min(28, math.ceil(math.log2(max(rows, 1) / ROWS_PER_BUCKET))))


def compare(before: Sums, ask: Ask) -> Comparison:
    """Ask for wide buckets, then for the narrow ones of those that differ."""
    wide_bits = max(0, before.bits - WIDE_BITS)
    with duckdb.connect() as database:
        database.register("before", before.table)
        database.register("wide", ask(wide_bits, None, wide_bits))
        differing = _column(
            database,
            f"""
            WITH was AS (
                SELECT bucket >> {before.bits - wide_bits} AS bucket, sum(rows) AS rows,
                    sum(CAST(sum AS HUGEINT)) AS sum
                FROM before GROUP BY 1)
            SELECT bucket FROM was FULL JOIN wide USING (bucket)
            WHERE was.rows IS DISTINCT FROM wide.rows
                OR was.sum IS DISTINCT FROM CAST(wide.sum AS HUGEINT)
            ORDER BY bucket
            """,
        )
        rows = int(database.sql("SELECT coalesce(sum(rows), 0) FROM wide").fetchall()[0][0])
        if rows > OUTGROWN * ROWS_PER_BUCKET * 2**before.bits:
            return Comparison([], SCHEMA.empty_table(), outgrown=True)
        if not differing:
            return Comparison([], SCHEMA.empty_table())
        everywhere = len(differing) > WORTH_ASKING * 2**wide_bits
        database.register("now", ask(before.bits, None if everywhere else differing, wide_bits))
        database.register("differing", pa.table({"wide": pa.array(differing, pa.int64())}))
        changed = _column(
            database,
            f"""
            WITH was AS (
                SELECT * FROM before WHERE bucket >> {before.bits - wide_bits} IN
                    (SELECT wide FROM differing))
            SELECT bucket FROM was FULL JOIN now USING (bucket)
            WHERE was.rows IS DISTINCT FROM now.rows
                OR CAST(was.sum AS HUGEINT) IS DISTINCT FROM CAST(now.sum AS HUGEINT)
            ORDER BY bucket
            """,
        )
        database.register("changed", pa.table({"bucket": pa.array(changed, pa.int64())}))
        sums = database.execute("FROM now WHERE bucket IN (SELECT bucket FROM changed)")
        return Comparison(changed, sums.to_arrow_table().cast(SCHEMA))


def _column(database: duckdb.DuckDBPyConnection, query: str) -> list[int]:
    return [int(value) for (value,) in database.execute(query).fetchall()]

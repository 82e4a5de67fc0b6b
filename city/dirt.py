"""Faults: which there are, and how they get into the rows.

`dirt.yml` is the fixed table of faults. Sound rows live in schema `sound`; a row with a fault stands, as
it is sent, in schema `bad` with its fault, the day since when, and for an extra copy whose copy it is.
What a system shows is the view in schema `sent`: the bad rows, and the sound ones that are not bad.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import groupby

import duckdb
import numpy as np
import pyarrow as pa

from city import names
from city.places import settings

EXTRA_ROWS = 1_000_000_000  # row_id of rows that exist only as a fault: copies and the like
VERDICTS = {"reject": "rejected", "flag": "flagged", "exclude": "excluded", "undecidable": "undecidable"}


@dataclass(frozen=True)
class Fault:
    """One line of the table of faults (`dirt.yml` explains the fields)."""

    system: str
    table: str
    code: str
    rate: float
    verdict: str
    reason: str
    where: str = "true"
    set: dict[str, str] = field(default_factory=dict)
    by: str = "change"
    unique: str | None = None
    daily: bool = False
    least: int = 2

    @property
    def row(self) -> str:
        """SQL: the sound row with this fault (columns of `sound.<table>`, dice, today)."""
        changes = ", ".join(f'{expression} AS "{column}"' for column, expression in self.set.items())
        return f"* EXCLUDE (dice, today) REPLACE ({changes})" if changes else "* EXCLUDE (dice, today)"


@cache
def faults() -> tuple[Fault, ...]:
    """Every fault, in the order they are put in."""
    return tuple(
        Fault(system=system, table=table, **line)
        for system, tables in settings("dirt").items()
        for table, lines in tables.items()
        for line in lines
    )


def soil(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, today: date) -> None:
    """Puts every fault into its share of the sound rows; no row gets two."""
    names.create_variant_macro(con)
    for table, of_table in groupby(faults(), key=lambda fault: fault.table):
        _throw_dice(con, rng, table, today)
        count = con.execute(f"SELECT count(*) FROM sound.{table}").fetchone()[0]
        for fault in of_table:
            _put(con, fault, max(fault.least, round(fault.rate * count)), today)


def worsen_and_mend(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, today: date) -> None:
    """Of each daily fault: one sound row catches it, and one that has had it for longer is mended."""
    daily = (fault for fault in faults() if fault.daily)
    for table, of_table in groupby(daily, key=lambda fault: fault.table):
        ill = con.execute(
            f"SELECT fault, list(row_id ORDER BY row_id) FROM bad.{table} WHERE since < DATE '{today}' GROUP BY ALL"
        ).fetchall()
        _throw_dice(con, rng, table, today)
        for fault in of_table:
            if rows := dict(ill).get(fault.code):
                con.execute(f"DELETE FROM bad.{table} WHERE row_id = {rng.choice(rows)}")
            _put(con, fault, 1, today)


def _throw_dice(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, table: str, today: date) -> None:
    """Table dice: a random order and a random number for each sound row that may still catch a fault."""
    rows = con.execute(
        f"""SELECT row_id FROM sound.{table} WHERE row_id NOT IN (SELECT row_id FROM bad.{table})
        AND row_id NOT IN (SELECT copy_of FROM bad.{table} WHERE copy_of IS NOT NULL) ORDER BY row_id"""
    ).fetchnumpy()["row_id"]
    drawn = {
        "row_id": rows,
        "rank": rng.permutation(len(rows)),
        "dice": rng.integers(0, 2**31, len(rows)),
    }
    con.register("thrown", pa.table(drawn))
    con.execute(f"CREATE OR REPLACE TEMP TABLE dice AS SELECT *, DATE '{today}' AS today FROM thrown")
    con.unregister("thrown")


def _put(con: duckdb.DuckDBPyConnection, fault: Fault, count: int, today: date) -> None:
    """Puts a fault into `count` rows of those that still have dice, and takes their dice away."""
    table, put = fault.table, {"change": _change, "copy": _copy, "extra": _copy, "pair": _pair}[fault.by]
    put(con, fault, count, today)
    if fault.by == "copy":
        con.execute(f"DELETE FROM dice WHERE row_id IN (SELECT copy_of FROM bad.{table} WHERE fault = '{fault.code}')")
    con.execute(f"DELETE FROM dice WHERE row_id IN (SELECT row_id FROM bad.{table} WHERE fault = '{fault.code}')")
    found = con.execute(f"SELECT count(*) FROM bad.{table} WHERE fault = '{fault.code}' AND since = DATE '{today}'").fetchone()[0]
    if found < count:
        raise RuntimeError(f"{fault.code}: only {found} of {count} rows of {table} can have it")


def _change(con: duckdb.DuckDBPyConnection, fault: Fault, count: int, today: date) -> None:
    table = fault.table
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS SELECT row_id, rank, dice, today FROM sound.{table} JOIN dice USING (row_id)
        WHERE {fault.where} ORDER BY rank LIMIT {count * 3 + 20 if fault.unique else count}"""
    )
    unique = ""
    if column := fault.unique:
        unique = (
            f"WHERE {column} NOT IN (SELECT {column} FROM sound.{table})"
            f" AND {column} NOT IN (SELECT {column} FROM bad.{table} WHERE {column} IS NOT NULL)"
            f" QUALIFY row_number() OVER (PARTITION BY {column} ORDER BY rank) = 1 ORDER BY rank LIMIT {count}"
        )
    con.execute(
        f"""INSERT INTO bad.{table} BY NAME
        SELECT * EXCLUDE (rank), '{fault.code}' AS fault, DATE '{today}' AS since, NULL::BIGINT AS copy_of
        FROM (SELECT {fault.row} FROM sound.{table} JOIN chosen USING (row_id)) {unique}"""
    )


def _copy(con: duckdb.DuckDBPyConnection, fault: Fault, count: int, today: date) -> None:
    """Extra rows: exact copies of sound ones, or (`extra`) rows made from them that belong to nobody."""
    table = fault.table
    con.execute(
        f"""INSERT INTO bad.{table} BY NAME
        SELECT * EXCLUDE (rank) REPLACE ({EXTRA_ROWS} + (SELECT count(*) FROM bad.{table}) + row_number() OVER (ORDER BY rank) AS row_id),
            '{fault.code}' AS fault, DATE '{today}' AS since, {"row_id" if fault.by == "copy" else "NULL::BIGINT"} AS copy_of
        FROM (SELECT {fault.row} FROM sound.{table} JOIN dice USING (row_id) WHERE {fault.where} ORDER BY rank LIMIT {count})"""
    )


def _pair(con: duckdb.DuckDBPyConnection, fault: Fault, count: int, today: date) -> None:
    """Two people of different families, of one sex and birth date and first registered in one place,
    hold the NIK of the first: both rows are faulty."""
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS
        SELECT unnest(two) AS row_id, nik FROM (
            SELECT [row_id, lead(row_id) OVER same_day] AS two, nik, rank FROM sound.biodata_wni JOIN dice USING (row_id)
            WINDOW same_day AS (PARTITION BY nik[:12] ORDER BY rank)
            QUALIFY row_number() OVER same_day = 1 AND lead(no_kk) OVER same_day <> no_kk ORDER BY rank LIMIT {(count + 1) // 2}
        )"""
    )
    con.execute(
        f"""INSERT INTO bad.biodata_wni BY NAME
        SELECT s.* REPLACE (chosen.nik AS nik), '{fault.code}' AS fault, DATE '{today}' AS since, NULL::BIGINT AS copy_of
        FROM sound.biodata_wni s JOIN chosen USING (row_id)"""
    )


def verdict_of(column: str) -> str:
    """SQL: what a row's fault (NULL if sound) makes of it: sound, rejected, flagged, excluded, undecidable."""
    cases = " ".join(f"WHEN '{fault.code}' THEN '{VERDICTS[fault.verdict]}'" for fault in faults())
    return f"(CASE {column} {cases} ELSE 'sound' END)"


def tables_of_faults() -> Iterator[tuple[str, str]]:
    """Every (system, table) that can have faults."""
    yield from dict.fromkeys((fault.system, fault.table) for fault in faults())

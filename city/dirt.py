"""Faults: which there are, and how they get into the rows.

`dirt.yml` is the fixed table of faults. Sound rows live in schema `sound`; a row with a fault stands, as
it is sent, in schema `bad` with its fault, the day since when, and for an extra copy whose copy it is.
What a system shows is the view in schema `sent`: the bad rows, and the sound ones that are not bad.
"""

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
        rows = _throw_dice(con, rng, table, today)
        chosen = list(of_table)
        for fault in chosen:
            _pick(con, fault, max(fault.least, round(fault.rate * rows)))
        _spoil(con, table, chosen, today)


def worsen_and_mend(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, today: date) -> None:
    """Of each daily fault: one sound row catches it, and one that has had it for longer is mended."""
    names.create_variant_macro(con)
    daily = (fault for fault in faults() if fault.daily)
    for table, of_table in groupby(daily, key=lambda fault: fault.table):
        ill = con.execute(f"SELECT fault, list(row_id ORDER BY row_id) FROM bad.{table} GROUP BY ALL").fetchall()
        _throw_dice(con, rng, table, today)
        chosen = list(of_table)
        for fault in chosen:
            if rows := dict(ill).get(fault.code):
                con.execute(f"DELETE FROM bad.{table} WHERE row_id = {rng.choice(rows)}")
            _pick(con, fault, 1)
        _spoil(con, table, chosen, today)


def _throw_dice(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, table: str, today: date) -> int:
    """Table dice: a random order and a random number for each sound row that may still catch a fault.
    Returns how many there are."""
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
    con.execute("CREATE OR REPLACE TEMP TABLE picked (row_id BIGINT, fault VARCHAR, dice BIGINT, today DATE, value VARCHAR)")
    con.unregister("thrown")
    return len(rows)


def _pick(con: duckdb.DuckDBPyConnection, fault: Fault, count: int) -> None:
    """Adds `count` rows to table picked (row_id, fault, dice, today, value): those that shall have the
    fault. `value` is the new value of a column that must stay unique."""
    rows = PAIRS if fault.by == "pair" else _candidates(fault, count)
    found = con.execute(f"INSERT INTO picked SELECT row_id, '{fault.code}', dice, today, value FROM ({rows}) ORDER BY rank, row_id LIMIT {count}").fetchone()
    if found != (count,):
        raise RuntimeError(f"{fault.code}: only {found} of {count} rows of {fault.table} can have it")


def _candidates(fault: Fault, count: int) -> str:
    """SQL: the first rows by rank that can have the fault."""
    column = fault.unique
    value = fault.set[column] if column else "NULL"
    rows = f"""SELECT row_id, rank, dice, today, {value} AS value FROM sound.{fault.table} JOIN dice USING (row_id)
        WHERE ({fault.where}) AND row_id NOT IN (SELECT row_id FROM picked) ORDER BY rank LIMIT {count * 3 + 20 if column else count}"""
    if not column:
        return rows
    return f"""FROM ({rows}) WHERE value NOT IN (SELECT {column} FROM sound.{fault.table})
        AND value NOT IN (SELECT value FROM picked WHERE value IS NOT NULL) QUALIFY row_number() OVER (PARTITION BY value ORDER BY rank) = 1"""


# Two people of different families, of one sex and birth date and first registered in one place: both will
# hold the NIK of the first.
PAIRS = """
    SELECT unnest(two) AS row_id, rank, dice, today, nik AS value FROM (
        SELECT [row_id, lead(row_id) OVER same_day] AS two, nik, rank, dice, today FROM sound.biodata_wni JOIN dice USING (row_id)
        WINDOW same_day AS (PARTITION BY nik[:12] ORDER BY rank)
        QUALIFY row_number() OVER same_day = 1 AND lead(no_kk) OVER same_day <> no_kk)"""


def _spoil(con: duckdb.DuckDBPyConnection, table: str, chosen: list[Fault], today: date) -> None:
    """Writes the picked rows, as they will be sent, to `bad`; the sound ones stay as they are. Copies and
    `extra` rows (made from a sound row, belonging to nobody) get a row_id of their own."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE ill AS SELECT * FROM sound.{table} JOIN picked USING (row_id)")
    for fault in chosen:
        changes = {"nik": "value"} if fault.by == "pair" else dict(fault.set)
        copy_of = "row_id" if fault.by == "copy" else "NULL::BIGINT"
        replaced = ", ".join(f'{expression} AS "{column}"' for column, expression in changes.items())
        if fault.by in ("copy", "extra"):
            own_id = f"{EXTRA_ROWS} + (SELECT count(*) FROM bad.{table}) + row_number() OVER (ORDER BY row_id) AS row_id"
            replaced = ", ".join(filter(None, [replaced, own_id]))
        con.execute(
            f"""INSERT INTO bad.{table} BY NAME
            SELECT * EXCLUDE (dice, today, value) REPLACE ({replaced}), DATE '{today}' AS since, {copy_of} AS copy_of
            FROM ill WHERE fault = '{fault.code}'"""
        )


def verdict_of(column: str) -> str:
    """SQL: what a row's fault (NULL if sound) makes of it: sound, rejected, flagged, excluded, undecidable."""
    cases = " ".join(f"WHEN '{fault.code}' THEN '{VERDICTS[fault.verdict]}'" for fault in faults())
    return f"(CASE {column} {cases} ELSE 'sound' END)"

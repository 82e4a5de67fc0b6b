"""Faults: which there are, and how they get into the rows.

`dirt.yml` is the fixed table of faults. Sound rows live in schema `sound`; a row with a fault
stands, as it is sent, in schema `bad` with its fault, the day since when, and for an extra copy
whose copy it is. What a system shows is the view in schema `sent`: the bad rows, and the sound ones
that are not bad.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import groupby

from city import names
from city.places import settings
from city.sql import Con, Rng, column, feeding, untouched, value

SMALL_TABLE, SAMPLE, DAILY_SAMPLE = 20_000, 0.3, 2_000  # rows, share, rows: where faults fall
EXTRA_ROWS = 1_000_000_000  # row_id of rows that exist only as a fault: copies and the like
VERDICTS = {
    "reject": "rejected",
    "flag": "flagged",
    "exclude": "excluded",
    "undecidable": "undecidable",
}


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


def soil(con: Con, rng: Rng, today: date, chosen: Iterable[Fault]) -> None:
    """Puts each of these faults into its share of the sound rows; no row gets two."""
    names.create_variant_macro(con)
    for table, of_table in groupby(chosen, key=lambda fault: fault.table):
        count = value(con, f"SELECT count(*) FROM sound.{table}")
        _throw_dice(
            con, rng, table, untouched(table), max(SMALL_TABLE, round(count * SAMPLE)), today
        )
        of_one = list(of_table)
        for fault in of_one:
            _pick(con, fault, max(fault.least, round(fault.rate * count)))
        _spoil(con, table, of_one, today)


def worsen_and_mend(con: Con, rng: Rng, today: date) -> None:
    """Of each daily fault: one row that was sound yesterday catches it, and one that had it is
    mended."""
    names.create_variant_macro(con)
    daily = (fault for fault in faults() if fault.daily)
    for table, of_table in groupby(daily, key=lambda fault: fault.table):
        ill = con.execute(
            f"SELECT fault, list(row_id ORDER BY row_id) FROM bad.{table} GROUP BY ALL"
        ).fetchall()
        known = f"SELECT row_id FROM shown WHERE table_name = '{table}'"
        rows = f"{untouched(table)} AND row_id IN ({known})"
        _throw_dice(con, rng, table, rows, DAILY_SAMPLE, today)
        chosen = list(of_table)
        for fault in chosen:
            if faulty := dict(ill).get(fault.code):
                con.execute(f"DELETE FROM bad.{table} WHERE row_id = {rng.choice(faulty)}")
            _pick(con, fault, 1)
        _spoil(con, table, chosen, today)


def _throw_dice(con: Con, rng: Rng, table: str, rows: str, most: int, today: date) -> None:
    """Table dice: at most this many of the sound `rows` (SQL) that may catch a fault, each with a
    random rank and a random number. Table picked: none of them yet."""
    sample = rng.permutation(column(con, rows))[:most]
    drawn = {
        "row_id": sample,
        "rank": range(len(sample)),
        "dice": rng.integers(0, 2**31, len(sample)),
    }
    with feeding(con, "thrown", drawn):
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE dice AS
            SELECT *, DATE '{today}' AS today FROM sound.{table} JOIN thrown USING (row_id)
            """
        )
    con.execute("CREATE OR REPLACE TEMP TABLE picked (row_id BIGINT, fault VARCHAR, value VARCHAR)")


def _pick(con: Con, fault: Fault, count: int) -> None:
    """Adds `count` rows to table picked (row_id, fault, value): those that shall have the fault; in
    a hamlet that has fewer for it, those. `value` is the new value of a column that must stay
    unique."""
    rows = PAIRS if fault.by == "pair" else _candidates(fault, count)
    found = con.execute(
        f"""
        INSERT INTO picked
        SELECT row_id, '{fault.code}', value FROM ({rows}) ORDER BY rank, row_id LIMIT {count}
        """
    ).fetchone()
    if found != (count,) and count > fault.least:
        raise RuntimeError(f"{fault.code}: {fault.table} has {found}, not {count} rows for it")


def _candidates(fault: Fault, count: int) -> str:
    """SQL: the first rows by rank that can have the fault."""
    column = fault.unique
    rows = f"""
        SELECT row_id, rank, {fault.set[column] if column else "NULL"} AS value FROM dice
        WHERE ({fault.where}) AND row_id NOT IN (SELECT row_id FROM picked)
        ORDER BY rank LIMIT {count * 3 + 20 if column else count}"""
    if not column:
        return rows
    return f"""
        FROM ({rows})
        WHERE value NOT IN (SELECT {column} FROM sound.{fault.table})
            AND value NOT IN (SELECT value FROM picked WHERE value IS NOT NULL)
        QUALIFY row_number() OVER (PARTITION BY value ORDER BY rank) = 1"""


# Two people of different families, of one sex and birth date and first registered in one place:
# both will hold the NIK of the first.
PAIRS = """
    SELECT unnest(two) AS row_id, rank, nik AS value FROM (
        SELECT [row_id, lead(row_id) OVER same_day] AS two, nik, rank FROM dice
        WINDOW same_day AS (PARTITION BY nik[:12] ORDER BY rank)
        QUALIFY row_number() OVER same_day = 1 AND lead(no_kk) OVER same_day <> no_kk)"""


def _spoil(con: Con, table: str, chosen: list[Fault], today: date) -> None:
    """Writes the picked rows, as they will be sent, to `bad`; the sound ones stay as they are.
    Copies and `extra` rows (made from a sound one, of nobody) get a row_id of their own."""
    own_id = f"""{EXTRA_ROWS} + (SELECT count(*) FROM bad.{table})
        + row_number() OVER (ORDER BY row_id)"""
    for fault in chosen:
        changes = {"nik": "value"} if fault.by == "pair" else dict(fault.set)
        if fault.by in ("copy", "extra"):
            changes["row_id"] = own_id
        replaced = ", ".join(f'{made} AS "{column}"' for column, made in changes.items())
        con.execute(
            f"""
            INSERT INTO bad.{table} BY NAME
            SELECT * EXCLUDE (rank, dice, today, value) REPLACE ({replaced}),
                DATE '{today}' AS since, {"row_id" if fault.by == "copy" else "NULL"} AS copy_of
            FROM dice JOIN picked USING (row_id) WHERE fault = '{fault.code}'
            """
        )


def verdict_of(column: str) -> str:
    """SQL: what a row's fault (NULL if sound) makes of it: sound, rejected, flagged, excluded,
    undecidable."""
    cases = " ".join(f"WHEN '{fault.code}' THEN '{VERDICTS[fault.verdict]}'" for fault in faults())
    return f"(CASE {column} {cases} ELSE 'sound' END)"

"""Quarantine: how entries open and close, and how people let one pass.

An entry is one version of a row with the critical rules it broke. It is stored once while it stays
so, and a batch closes it, in one of these states:

- `fixed_at_source`: a sound version of its record came
- `withdrawn`: the source no longer sends it
- `replayed`: the same row became sound: a rule, a code list or another table changed
- `waived`: the same row was let pass by a person
- `superseded`: a newer version of its record, or a newer verdict on it, took its place
"""

import json
from dataclasses import dataclass
from datetime import date

import duckdb

from common.errors import DefinitionError
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.catalog import reading, transaction, writing
from warehouse.staging import SUPERSEDED, Staging

WAIVED = "waived"
NEVER_WAIVED = ("key_missing", "key_shared")
"""Without a key of its own a row cannot be followed, whoever vouches for it."""


def find_waived(area: Staging, night: date) -> None:
    """Make `let_pass`: the rows of `judged` whose every broken critical rule is waived tonight, for
    that record and that version of it."""
    area.connection.execute(
        f"""
        CREATE TABLE let_pass AS
        SELECT DISTINCT _row FROM judged JOIN staged USING (_row) JOIN (
            SELECT source_record_id AS _record_id, row_hash AS _row_hash, waiver.rules AS allowed
            FROM lake.quarantine.waiver WHERE {area.here} AND {in_force(night)}
        ) AS waiver USING (_record_id, _row_hash)
        WHERE len(judged.rules) > 0 AND list_has_all(allowed, judged.rules)
        """
    )


def in_force(night: date) -> str:
    """SQL: a waiver holds tonight."""
    return f"(undone_night IS NULL AND until_night >= DATE {literal(night)})"


def close_and_open(area: Staging, batch_id: int, night: date, *, absent: str) -> None:
    """Bring the entries of the stream up to `verdict`, in the batch's transaction.

    `absent`: SQL over `open_entry`, true of an entry that is withdrawn when its record did not
    come. A replay closes only entries that it read.
    """
    connection = area.connection
    is_replay = "EXISTS (FROM past)"
    connection.execute(
        f"""
        CREATE TEMP TABLE open_entry AS
        SELECT quarantine_id, source_record_id AS _record_id, row_hash AS _row_hash, rules, origin,
            row_as_sent
        FROM lake.quarantine.row WHERE {area.here} AND state = 'open'
            AND (NOT {is_replay} OR quarantine_id IN (SELECT _entry FROM past));
        CREATE TEMP TABLE answered AS
        SELECT open_entry.quarantine_id, verdict.home, verdict.waived, verdict._excluded,
            verdict._row_hash = open_entry._row_hash
                AND NOT list_contains(open_entry.rules, 'key_shared') AS same_row,
            verdict._row_hash = open_entry._row_hash AND verdict.rules = open_entry.rules
                AND verdict.home = 'quarantined' AS still
        FROM open_entry JOIN verdict USING (_record_id) WHERE verdict._entry IS NULL
        UNION ALL
        SELECT open_entry.quarantine_id, verdict.home, verdict.waived, verdict._excluded, true,
            verdict._record_id = open_entry._record_id AND verdict.rules = open_entry.rules
                AND verdict.home = 'quarantined'
        FROM open_entry JOIN verdict ON verdict._entry = open_entry.quarantine_id;
        CREATE TEMP TABLE ending AS
        SELECT quarantine_id, CASE
            WHEN bool_or(home = 'sound' AND same_row AND waived) THEN {literal(WAIVED)}
            WHEN bool_or(home = 'sound' AND same_row) THEN 'replayed'
            WHEN bool_or(home = 'sound') THEN 'fixed_at_source'
            WHEN bool_or(home = 'quarantined' OR _excluded = {literal(SUPERSEDED)})
                THEN 'superseded'
            ELSE 'withdrawn' END AS state
        FROM answered GROUP BY quarantine_id HAVING NOT bool_or(still)
        UNION ALL
        SELECT quarantine_id, 'withdrawn' FROM open_entry
        WHERE quarantine_id NOT IN (SELECT quarantine_id FROM answered) AND ({absent})
        """
    )
    if connection.execute("SELECT 1 FROM ending LIMIT 1").fetchone():
        connection.execute(
            f"""
            UPDATE lake.quarantine.row AS entry
            SET state = ending.state, closed_batch_id = {batch_id},
                closed_night = DATE {literal(night)}
            FROM ending WHERE entry.quarantine_id = ending.quarantine_id
            """
        )
    if not connection.execute(
        "SELECT 1 FROM verdict WHERE home = 'quarantined' LIMIT 1"
    ).fetchone():
        return
    as_sent = ", ".join(
        f"{identifier(name)} := raw.{identifier(name)}" for name in area.stream.names
    )
    connection.execute(
        f"""
        INSERT INTO lake.quarantine.row
        SELECT gen_random_uuid(), {literal(area.source.name)}, {literal(area.stream.name)},
            verdict._record_id, verdict._row_hash, verdict.rules, raw._origin,
            coalesce(past._place, raw._row),
            CAST(to_json(struct_pack({as_sent})) AS VARCHAR),
            {batch_id}, DATE {literal(night)}, NULL, NULL, 'open'
        FROM verdict JOIN raw USING (_row) LEFT JOIN past USING (_row)
        WHERE verdict.home = 'quarantined' AND NOT EXISTS (
            SELECT 1 FROM open_entry WHERE open_entry._record_id = verdict._record_id
                AND open_entry._row_hash = verdict._row_hash AND open_entry.rules = verdict.rules)
        """
    )


@dataclass(frozen=True)
class Count:
    """Entries of one stream that broke one rule and are in one state."""

    source: str
    stream: str
    rule: str
    state: str
    entries: int
    oldest: date


def counts(
    connection: duckdb.DuckDBPyConnection, source: str | None = None, stream: str | None = None
) -> list[Count]:
    """By stream, rule and state; an entry that broke two rules counts in each."""
    rows = connection.execute(
        """
        WITH broken AS (
            SELECT source, stream, unnest(rules) AS rule, state, first_night
            FROM lake.quarantine.row
            WHERE source = coalesce(?, source) AND stream = coalesce(?, stream))
        SELECT source, stream, rule, state, count(*), min(first_night) FROM broken
        GROUP BY ALL ORDER BY ALL
        """,
        [source, stream],
    ).fetchall()
    return [Count(*row) for row in rows]


@dataclass(frozen=True)
class Waiver:
    """A person's decision to let an entry's row pass."""

    waiver_id: str
    rules: list[str]
    waived_by: str
    why: str
    until_night: date
    decided_night: date
    undone_night: date | None


@dataclass(frozen=True)
class Entry:
    """One entry, without the values of its row."""

    waivers: list[Waiver]
    quarantine_id: str
    source: str
    stream: str
    source_record_id: str
    rules: list[str]
    state: str
    origin: str | None
    row_number: int
    first_batch_id: int
    first_night: date
    last_seen: date
    closed_batch_id: int | None
    closed_night: date | None


def entry_of(connection: duckdb.DuckDBPyConnection, entry: str) -> Entry:
    """One entry and the waivers decided on it; `last_seen` is the last night it was known to be so.

    Raises DefinitionError when there is none.
    """
    row = connection.execute(
        """
        SELECT CAST(quarantine_id AS VARCHAR), source, stream, CAST(source_record_id AS VARCHAR),
            rules, state, origin, row_number, first_batch_id, first_night, coalesce((
                SELECT max(night) FROM lake.ops.ledger AS batch
                WHERE batch.source = entry.source AND batch.stream = entry.stream
                    AND outcome = 'loaded' AND batch_id >= first_batch_id
                    AND batch_id < coalesce(closed_batch_id, batch_id + 1)), first_night),
            closed_batch_id, closed_night
        FROM lake.quarantine.row AS entry WHERE quarantine_id = TRY_CAST(? AS UUID)
        """,
        [entry],
    ).fetchone()
    if row is None:
        raise DefinitionError(
            "no entry of quarantine has this id",
            next_step="`muara quarantine SOURCE STREAM` lists the open ones.",
        )
    waivers = connection.execute(
        """
        SELECT CAST(waiver_id AS VARCHAR), rules, waived_by, why, until_night, decided_night,
            undone_night
        FROM lake.quarantine.waiver WHERE quarantine_id = CAST(? AS UUID) ORDER BY decided_night
        """,
        [entry],
    ).fetchall()
    return Entry([Waiver(*one) for one in waivers], *row)


def values_of(connection: duckdb.DuckDBPyConnection, entry: str) -> dict[str, str | None]:
    """The row of an entry as sent: person data, for the eyes of whoever asked only."""
    ((text,),) = connection.execute(
        "SELECT row_as_sent FROM lake.quarantine.row WHERE quarantine_id = CAST(? AS UUID)",
        [entry],
    ).fetchall()
    return json.loads(text)


def open_entries(
    connection: duckdb.DuckDBPyConnection, source: str, stream: str, at_most: int
) -> list[Entry]:
    """The oldest open entries of a stream."""
    ids = connection.execute(
        "SELECT CAST(quarantine_id AS VARCHAR) FROM lake.quarantine.row "
        "WHERE source = ? AND stream = ? AND state = 'open' "
        "ORDER BY first_batch_id, origin, row_number LIMIT ?",
        [source, stream, at_most],
    ).fetchall()
    return [entry_of(connection, one) for (one,) in ids]


def waive(settings: Settings, entry: str, *, by: str, why: str, until: date, night: date) -> Entry:
    """Let the row of an open entry pass from the next sync or replay on, up to the night `until`.

    Raises DefinitionError when the entry is not open, is waived already, broke a rule that nobody
    can waive, or the date has passed.
    """
    with writing(settings) as connection, transaction(connection):
        found = entry_of(connection, entry)
        _require_waivable(found, until, night)
        connection.execute(
            """
            INSERT INTO lake.quarantine.waiver
            SELECT gen_random_uuid(), quarantine_id, source, stream, source_record_id, row_hash,
                rules, ?, ?, ?, ?, NULL
            FROM lake.quarantine.row WHERE quarantine_id = CAST(? AS UUID)
            """,
            [by, why, until, night, entry],
        )
        return entry_of(connection, entry)


def _require_waivable(entry: Entry, until: date, night: date) -> None:
    fault = None
    if entry.state != "open":
        fault = f"it is closed ({entry.state})"
    elif any(one.undone_night is None and one.until_night >= night for one in entry.waivers):
        fault = "it is waived already; undo that first"
    elif structural := sorted(set(entry.rules) & set(NEVER_WAIVED)):
        fault = f"{', '.join(structural)} cannot be waived: the row has no key of its own"
    elif until < night:
        fault = f"{until} has passed"
    if fault:
        raise DefinitionError(
            fault,
            where=f"{entry.source}.{entry.stream} {entry.quarantine_id}",
            next_step=f"see `muara quarantine --entry {entry.quarantine_id}`.",
        )


def undo_waiver(settings: Settings, entry: str, *, night: date) -> Entry:
    """Take back what was decided on an entry: its row is judged again by the next sync or replay.

    Raises DefinitionError when no waiver on the entry is in force.
    """
    with writing(settings) as connection, transaction(connection):
        found = entry_of(connection, entry)
        chosen = f"quarantine_id = CAST(? AS UUID) AND {in_force(night)}"
        (count,) = connection.execute(
            f"SELECT count(*) FROM lake.quarantine.waiver WHERE {chosen}", [entry]
        ).fetchone() or (0,)
        if not count:
            raise DefinitionError(
                "no waiver is in force on it",
                where=f"{found.source}.{found.stream} {entry}",
                next_step=f"see `muara quarantine --entry {entry}`.",
            )
        connection.execute(
            f"UPDATE lake.quarantine.waiver SET undone_night = ? WHERE {chosen}", [night, entry]
        )
        return entry_of(connection, entry)


def rename_old_state(settings: Settings) -> None:
    """Entries closed before there were five ways to close carry `gone_from_source`, which did not
    tell whether a sound row or none came; `withdrawn` is what is certain of them."""
    old = "state = 'gone_from_source'"
    with reading(settings) as connection:
        if not connection.execute(f"SELECT 1 FROM lake.quarantine.row WHERE {old}").fetchone():
            return
    with writing(settings, "upkeep") as connection, transaction(connection):
        connection.execute(f"UPDATE lake.quarantine.row SET state = 'withdrawn' WHERE {old}")

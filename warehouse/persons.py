"""Permanent ids of persons: given once, kept through every run, never of another meaning.

Mentions of people are grouped anew each time (`transforms/identity`); here each group gets the id
of the person whose mentions it holds most of. An id that loses its group was merged into the one
that has most of its mentions; a group without an id was split from the person it came from, or is
new. Ids are random; what happened to each is in `core.person_history`, and the mentions of each,
with the nights they held, in `core.person_mention`.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import duckdb

from common.quoting import literal


def holders(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `holder` (mention_id, person_id): who has each mention now."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE holder AS
        SELECT role || ':' || source_record_id AS mention_id, person_id
        FROM lake.core.person_mention WHERE valid_to IS NULL
        """
    )


def past(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `past` (mention_id, person_id, now, place): who has, or once had, each mention that is
    `concerned`; `place` is that of the link in the order in which links were written."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE past AS
        SELECT role || ':' || source_record_id AS mention_id, person_id, valid_to IS NULL AS now,
            rowid AS place
        FROM lake.core.person_mention
        WHERE source_record_id IN (SELECT split_part(mention_id, ':', 2)::UUID FROM concerned)
            AND mention_id IN (FROM concerned)
        """
    )


def succeed(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `successor` (mention_id, person_id): mentions whose record is new while another, the
    same in all but its number, is gone: a number was corrected in a register.

    The same are role, name, birth date, sex, and household or mother; one new and one gone, no
    more. `gone` is as the golden record knew it: of those whose leading record is gone. Table
    `concerned` (mention_id) holds all mentions, also those gone, of the persons that may change.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE successor AS
        WITH fresh AS (FROM mention ANTI JOIN past USING (mention_id)),
        gone AS (
            FROM lake.core.golden_record JOIN lake.core.golden_record_identity
                USING (person_id, source_record_id)
            WHERE role || ':' || source_record_id IN (FROM concerned)
                AND role || ':' || source_record_id NOT IN (SELECT mention_id FROM mention))
        SELECT mention_id, person_id FROM fresh JOIN gone USING (role, person_name, birth_date, sex)
        WHERE fresh.household_number = gone.household_number OR fresh.mother_nik = gone.mother_nik
        QUALIFY count(*) OVER (PARTITION BY mention_id) = 1
            AND count(*) OVER (PARTITION BY person_id) = 1
        """
    )


def assign(connection: duckdb.DuckDBPyConnection) -> None:
    """Table `assigned` (cluster, person_id, event, other_person_id) from tables `member`
    (mention_id, cluster), `successor`, `concerned`, `past` and `holder`. Who holds a mention that
    is not concerned keeps the id.

    Largest overlap first, then whose mention had the id first, then the older id. What a person
    once held counts after what it holds now, so that who returns, or is parted again, is who was
    there. `first` is the place of a link in the order in which links were written, which is that
    of mentions within a run: nothing depends on the order of rows.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE held AS
        SELECT mention_id, person_id, bool_or(now) AS now, min(place) AS first
        FROM past
        WHERE person_id NOT IN (
            SELECT person_id FROM holder WHERE mention_id NOT IN (FROM concerned))
        GROUP BY ALL
        UNION ALL SELECT mention_id, person_id, true, -1 FROM successor;
        CREATE OR REPLACE TEMP TABLE overlap AS
        SELECT cluster, person_id, count(*) FILTER (now) AS now, count(*) AS ever,
            min(first) AS first, since
        FROM member JOIN held USING (mention_id) JOIN (
            SELECT person_id, min(night) AS since FROM lake.core.person_history GROUP BY ALL)
            USING (person_id)
        GROUP BY ALL;
        CREATE OR REPLACE TEMP TABLE rest AS FROM overlap;
        CREATE OR REPLACE TEMP TABLE assigned (
            cluster VARCHAR, person_id UUID, event VARCHAR, other_person_id UUID)
        """
    )
    while True:
        connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE chosen AS
            SELECT cluster, person_id FROM rest
            QUALIFY row_number() OVER (
                    PARTITION BY cluster ORDER BY now DESC, ever DESC, since, first, person_id) = 1
                AND row_number() OVER (
                    PARTITION BY person_id ORDER BY now DESC, ever DESC, first, cluster) = 1
            """
        )
        if not connection.execute("SELECT count(*) FROM chosen").fetchall()[0][0]:
            break
        connection.execute(
            """
            INSERT INTO assigned SELECT cluster, person_id, NULL, NULL FROM chosen;
            DELETE FROM rest WHERE cluster IN (SELECT cluster FROM chosen)
                OR person_id IN (SELECT person_id FROM chosen)
            """
        )
    connection.execute(
        """
        INSERT INTO assigned
        SELECT cluster, uuid(), if(any_value(person_id) IS NULL, 'created', 'split_from'),
            arg_min(person_id, (-now, -ever, since, first, person_id))
        FROM (SELECT DISTINCT cluster FROM member ANTI JOIN assigned USING (cluster))
        LEFT JOIN overlap USING (cluster) GROUP BY cluster
        """
    )


def record(connection: duckdb.DuckDBPyConnection, night: date, model: str) -> dict[str, int]:
    """Write what `assigned` says into the lake, in the caller's transaction. Returns events →
    how many; nothing is written where nothing changed."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE linked AS
        SELECT source_record_id, role, person_id, how, probability
        FROM member JOIN mention USING (mention_id) JOIN assigned USING (cluster)
        JOIN reason USING (mention_id);
        CREATE OR REPLACE TEMP TABLE current AS
        SELECT source_record_id, role, person_id FROM lake.core.person_mention
        WHERE valid_to IS NULL AND role || ':' || source_record_id IN (FROM concerned);
        CREATE OR REPLACE TEMP TABLE closing AS
        FROM current ANTI JOIN linked USING (source_record_id, role, person_id);
        CREATE OR REPLACE TEMP TABLE opening AS
        FROM linked ANTI JOIN current USING (source_record_id, role, person_id);
        CREATE OR REPLACE TEMP TABLE happened AS
        SELECT person_id, event, other_person_id FROM assigned WHERE event IS NOT NULL
        UNION ALL
        SELECT person_id, if(other IS NULL, 'ended', 'merged_into'), other FROM (
            SELECT held.person_id, arg_max(assigned.person_id, (now, cluster)) AS other
            FROM (SELECT DISTINCT person_id FROM closing ANTI JOIN linked USING (person_id)) AS held
            LEFT JOIN (FROM overlap WHERE now > 0) USING (person_id)
            LEFT JOIN assigned USING (cluster)
            GROUP BY held.person_id)
        UNION ALL
        SELECT DISTINCT person_id, 'returned', NULL::UUID FROM linked
        ANTI JOIN current USING (person_id)
        SEMI JOIN (SELECT person_id FROM assigned WHERE event IS NULL) USING (person_id)
        """
    )
    if _any(connection, "closing"):
        connection.execute(
            f"""
            UPDATE lake.core.person_mention AS held SET valid_to = DATE {literal(night)}
            FROM closing
            WHERE held.valid_to IS NULL
                AND held.source_record_id = closing.source_record_id AND held.role = closing.role;
            """
        )
    if _any(connection, "opening"):
        connection.execute(
            f"""
            INSERT INTO lake.core.person_mention
            SELECT source_record_id, role, person_id, how, probability, {literal(model)},
                DATE {literal(night)}, NULL
            FROM opening ORDER BY source_record_id, role
            """
        )
    if _any(connection, "happened"):
        connection.execute(
            f"""
            INSERT INTO lake.core.person_history
            SELECT person_id, DATE {literal(night)}, event, other_person_id, {literal(model)}
            FROM happened
            """
        )
    return dict(connection.execute("SELECT event, count(*) FROM happened GROUP BY ALL").fetchall())


def _any(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


@dataclass(frozen=True)
class Person:
    """What an id stands for: `person_id` is the one that holds its mentions now, after merges.
    `golden`: status and leading record of the golden record; `origins`: the values that other
    records give."""

    asked: UUID
    person_id: UUID
    mentions: list[dict[str, Any]]
    history: list[dict[str, Any]]
    golden: dict[str, Any]
    origins: list[dict[str, Any]]


def find(
    connection: duckdb.DuckDBPyConnection, person_id: UUID, as_of: date | None = None
) -> Person | None:
    """Whom an id stands for on a night (now when none is given); None where it was never given.
    The golden record is that of now: for a night it is empty (`pipeline.past` makes it again).

    An id without mentions of its own is followed into the person it was merged into.
    """
    night = as_of or date.max
    asked, seen = person_id, set()
    while person_id not in seen:
        seen.add(person_id)
        mentions = _rows(
            connection,
            """
            SELECT source_record_id, role, how, probability, model_version, valid_from
            FROM lake.core.person_mention
            WHERE person_id = ? AND valid_from <= ? AND (valid_to IS NULL OR valid_to > ?)
            ORDER BY role, source_record_id
            """,
            [person_id, night, night],
        )
        merged = connection.execute(
            """
            SELECT other_person_id FROM lake.core.person_history
            WHERE person_id = ? AND event = 'merged_into' AND night <= ?
            ORDER BY night DESC, rowid DESC LIMIT 1
            """,
            [person_id, night],
        ).fetchall()
        if mentions or not merged:
            break
        person_id = merged[0][0]
    history = _rows(
        connection,
        """
        SELECT night, event, person_id, other_person_id FROM lake.core.person_history
        WHERE night <= ? AND (person_id IN (SELECT unnest(?)) OR other_person_id IN
            (SELECT unnest(?)))
        ORDER BY night, event, person_id
        """,
        [night, list(seen), list(seen)],
    )
    golden: list[dict[str, Any]] = []
    origins: list[dict[str, Any]] = []
    if as_of is None:
        golden, origins = (
            _rows(
                connection,
                f"SELECT {columns} FROM lake.core.{table} WHERE person_id = ? ORDER BY ALL",
                [person_id],
            )
            for table, columns in (
                ("golden_record", "status, role, source_record_id"),
                ("golden_origin", "attribute, role, source_record_id"),
            )
        )
    return (
        Person(asked, person_id, mentions, history, golden[0] if golden else {}, origins)
        if history
        else None
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[dict]:
    return connection.execute(query, values).to_arrow_table().to_pylist()

"""What people decided about two mentions: they are one person, or they are not.

A decision binds every run until somebody undoes it; both stay on record with who and why. Those
that stand never contradict each other: one that would is refused when it is made.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import duckdb

from common.errors import DefinitionError
from common.settings import Settings
from warehouse.catalog import transaction, writing

STANDING = "undone_night IS NULL"
UNDONE = f"SELECT decision_id FROM lake.core.person_decision WHERE NOT ({STANDING})"


@dataclass(frozen=True)
class Mention:
    """One person in one record."""

    role: str
    source_record_id: UUID

    @classmethod
    def read(cls, text: str) -> "Mention":
        """From `role:source_record_id`, as `muara person show` writes it."""
        role, _, record = text.partition(":")
        try:
            return cls(role, UUID(record))
        except ValueError:
            raise DefinitionError(
                "a mention is written role:source_record_id",
                where=text,
                next_step="copy it from `muara person show`.",
            ) from None

    def __str__(self) -> str:
        return f"{self.role}:{self.source_record_id}"


def decide(
    settings: Settings,
    one: Mention,
    other: Mention,
    *,
    is_same: bool,
    by: str,
    why: str,
    night: date,
) -> UUID:
    """`record` in a transaction of its own."""
    with writing(settings) as connection, transaction(connection):
        return record(connection, one, other, is_same=is_same, by=by, why=why, night=night)


def record(
    connection: duckdb.DuckDBPyConnection,
    one: Mention,
    other: Mention,
    *,
    is_same: bool,
    by: str,
    why: str,
    night: date,
) -> UUID:
    """Record that two mentions are one person, or are not, in the caller's transaction. Returns the
    decision's id.

    Raises DefinitionError for a mention that no record has, for the same mention twice, for a pair
    on which a decision stands, and for one that contradicts those that stand.
    """
    one, other = sorted((one, other), key=str)
    _require_known(connection, one, other)
    _require_consistent(connection, one, other, is_same)
    decision = uuid4()
    connection.execute(
        "INSERT INTO lake.core.person_decision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
        [decision, one.source_record_id, one.role, other.source_record_id, other.role, is_same,
         by, why, night],
    )  # fmt: skip
    return decision


def undo(settings: Settings, decision: UUID, *, by: str, night: date) -> None:
    """`revoke` in a transaction of its own."""
    with writing(settings) as connection, transaction(connection):
        revoke(connection, decision, by=by, night=night)


def revoke(connection: duckdb.DuckDBPyConnection, decision: UUID, *, by: str, night: date) -> None:
    """Take a decision back from the next run on, in the caller's transaction. Raises
    DefinitionError when none such stands."""
    found = connection.execute(
        f"SELECT count(*) FROM lake.core.person_decision WHERE decision_id = ? AND {STANDING}",
        [decision],
    ).fetchall()
    if found == [(0,)]:
        raise DefinitionError(
            "no such decision stands",
            where=str(decision),
            next_step="see `muara person decisions`.",
        )
    connection.execute(
        "UPDATE lake.core.person_decision SET undone_by = ?, undone_night = ? "
        "WHERE decision_id = ?",
        [by, night, decision],
    )


def decisions(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """All decisions, newest first, those that stand before those that were undone."""
    return (
        connection.execute(
            f"""
            SELECT decision_id, role || ':' || source_record_id AS mention,
                other_role || ':' || other_source_record_id AS other_mention, is_same, decided_by,
                reason, decided_night, undone_by, undone_night
            FROM lake.core.person_decision
            ORDER BY {STANDING} DESC, decided_night DESC, decision_id
            """
        )
        .to_arrow_table()
        .to_pylist()
    )


def standing(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables `decision` (a, b, is_same), the mention_ids of the decisions that bind, and `decided`
    (mention_id), those of all that ever did."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE ever_decided AS
        SELECT role || ':' || source_record_id AS a,
            other_role || ':' || other_source_record_id AS b, is_same, {STANDING} AS binds
        FROM lake.core.person_decision;
        CREATE OR REPLACE TEMP TABLE decision AS
        SELECT a, b, is_same FROM ever_decided WHERE binds;
        CREATE OR REPLACE TEMP TABLE decided AS
        SELECT a AS mention_id FROM ever_decided UNION SELECT b FROM ever_decided
        """
    )


def _require_known(connection: duckdb.DuckDBPyConnection, *mentions: Mention) -> None:
    if mentions[0] == mentions[1]:
        raise DefinitionError("both are the same mention", where=str(mentions[0]))
    for one in mentions:
        found = connection.execute(
            "SELECT count(*) FROM lake.core.person_mention "
            "WHERE source_record_id = ? AND role = ? AND valid_to IS NULL",
            [one.source_record_id, one.role],
        ).fetchall()
        if found == [(0,)]:
            raise DefinitionError(
                "no record speaks so of a person",
                where=str(one),
                next_step="mentions are in lake.core.person_mention; `muara link` finds them.",
            )


def _require_consistent(
    connection: duckdb.DuckDBPyConnection, one: Mention, other: Mention, is_same: bool
) -> None:
    standing(connection)
    pairs = connection.execute("SELECT a, b, is_same FROM decision").fetchall()
    connection.execute("DROP TABLE decision")
    pair = (str(one), str(other))
    fault = None
    if pair in {(a, b) for a, b, _ in pairs}:
        fault = "a decision on these two stands"
    else:
        pairs.append((*pair, is_same))
        group: dict[str, set[str]] = {name: {name} for a, b, _ in pairs for name in (a, b)}
        for a, b, same in pairs:
            if same and group[a] is not group[b]:
                joined = group[a] | group[b]
                for name in joined:
                    group[name] = joined
        if any(group[a] is group[b] for a, b, same in pairs if not same):
            fault = "it contradicts decisions that stand"
    if fault:
        raise DefinitionError(
            fault,
            where=" and ".join(pair),
            next_step="undo one first: `muara person decisions`, `muara person undo ID`.",
        )

"""Questions about pairs that only people can answer, their answers, and what follows.

A question is a pair of `ops.person_pair` on which no decision stands, and of kind
- `uncertain`: neither nearly sure nor nearly excluded, and two persons now;
- `cut`: the model would join what a constraint keeps apart;
- `two_numbers`: two residents of the registry who may be one;
- `sample`: drawn by chance from each stratum of probabilities, to measure the model.

Who answers alone decides. Two are needed, the second blind, when the first asks for it or is
unsure, when two residents would become one, and when a sampled answer contradicts what the model
is sure of. Two who differ, or are both unsure, wait for a supervisor,
who leaves it as it is when unsure, too.

An answer can be taken back. It counts no more, and the decision that rests on it is undone: that of
the supervisor's answer, else of all that said the same. Answers on which an undone decision rested
count no more either, whoever undid it, so that the pair is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal
from uuid import UUID, uuid4

import duckdb

from common.errors import DefinitionError
from common.quoting import literal
from transforms.identity.mentions import REGISTRY
from transforms.identity.partition import CERTAIN
from warehouse import decisions
from warehouse.decisions import Mention

Answer = Literal["same", "different", "unsure"]
EXCLUDED = 0.01
"""Below this probability a pair is no question, as it is none from CERTAIN on."""
SAMPLED, ONE_IN = 100, 10
"""Most pairs drawn from each stratum (accepted, doubtful, rejected), and one of how many: a small
city keeps its questions."""
TELLING = ("nik", "birth_date", "household_number", "address", "partner_nik", "mother_nik",
           "mother_sound", "father_nik", "father_sound", "phone", "birth_time")  # fmt: skip
STRATUM = f"""CASE WHEN probability >= {CERTAIN} THEN 'accepted'
    WHEN probability < {EXCLUDED} THEN 'rejected' ELSE 'doubtful' END"""
NEWEST = 50
"""Answers that are listed."""
QUESTION = "one, other, kind, weight, probability, worth, rivals, state, same, different, unsure"


class Answered(DefinitionError):
    """Somebody was faster: with an answer, or with taking one back."""


@dataclass(frozen=True)
class Question:
    """A pair to answer. `one` and `other` are mentions, role and record; `rivals`: other residents
    whom the mention may be; `state`: open, second (another reviewer is to answer blind),
    differing (for the supervisor) or answered (by whoever looks at it); `same`, `different`,
    `unsure`: answers so far."""

    one: str
    other: str
    kind: str
    weight: float
    probability: float
    worth: float
    rivals: int
    state: str
    same: int
    different: int
    unsure: int

    @property
    def is_blind(self) -> bool:
        """Whether weights and other answers are hidden until it is answered."""
        return self.kind == "sample" or self.state == "second"


def gather(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables `question` (one, other, kind, weight, probability, worth, rivals, tells) and `stratum`
    (name, pairs) of the newest linking.

    `worth` is what a decision is worth: the variance of the answer times the pairs of mentions that
    it joins or parts. Where the model and a rule that knows better disagree, nobody can say which
    is right before asking, so the variance is the greatest there is, a quarter; of two residents,
    as far as the model believes it. `tells`: whether both records say anything beside a name that
    people can hold against each other; who shares no more comes last, for people know no more than
    the model.
    """
    registry = literal(REGISTRY)
    tells = " OR ".join(
        f"(first.{name} IS NOT NULL AND second.{name} IS NOT NULL)" for name in TELLING
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE holder AS
        SELECT role || ':' || source_record_id AS mention, person_id,
            count(*) OVER (PARTITION BY person_id) AS mentions
        FROM lake.core.person_mention WHERE valid_to IS NULL;
        CREATE OR REPLACE TEMP TABLE candidate AS
        SELECT role || ':' || source_record_id AS one,
            other_role || ':' || other_source_record_id AS other, weight, probability,
            role = {registry} AND other_role = {registry} AS of_residents, {STRATUM} AS stratum,
            if(other_role = {registry} AND role <> {registry}, count(*) FILTER (
                other_role = {registry} AND probability >= {EXCLUDED}) OVER (PARTITION BY one)
                - (probability >= {EXCLUDED})::INT, 0) AS rivals
        FROM lake.ops.person_pair;
        CREATE OR REPLACE TEMP TABLE drawn AS
        SELECT one, other,
            row_number() OVER (PARTITION BY stratum ORDER BY keyed(one || other)) - 1 AS place
        FROM candidate WHERE NOT of_residents
        QUALIFY place < least({SAMPLED}, count(*) OVER (PARTITION BY stratum) / {ONE_IN});
        CREATE OR REPLACE TEMP TABLE stratum AS
        SELECT stratum AS name, count(*) AS pairs FROM candidate WHERE NOT of_residents
        GROUP BY ALL;
        CREATE OR REPLACE TEMP TABLE question AS
        WITH kinds AS (
            SELECT candidate.*, a.mentions * b.mentions AS joined, place IS NOT NULL AS is_drawn,
                CASE WHEN probability < {EXCLUDED} OR a.person_id = b.person_id THEN NULL
                    WHEN of_residents THEN 'two_numbers'
                    WHEN probability >= {CERTAIN} THEN 'cut' ELSE 'uncertain' END AS kind
            FROM candidate JOIN holder a ON a.mention = one JOIN holder b ON b.mention = other
            LEFT JOIN drawn USING (one, other))
        SELECT one, other, if(is_drawn, 'sample', kind) AS kind, weight, probability,
            joined * CASE kind WHEN 'cut' THEN 0.25 WHEN 'two_numbers' THEN 0.25 * probability
                ELSE probability * (1 - probability) END AS worth, rivals, {tells} AS tells
        FROM kinds
        LEFT JOIN lake.core.mention_identity AS first
            ON first.role || ':' || first.source_record_id = one
        LEFT JOIN lake.core.mention_identity AS second
            ON second.role || ':' || second.source_record_id = other
        WHERE is_drawn OR kind IS NOT NULL
        """
    )


@dataclass(frozen=True)
class Given:
    """An answer on record. `said_in` and `other_said_in`: where the mentions stand, None for one
    that is gone; `became`: withdrawn, stands (as a decision), undone, decided (the pair, not by
    this answer), else the state of the pair."""

    answer_id: UUID
    one: str
    said_in: str | None
    other: str
    other_said_in: str | None
    kind: str
    answer: Answer
    reviewer: str
    answered_at: datetime
    became: str
    withdrawn_by: str | None

    @property
    def counts(self) -> bool:
        return self.became not in ("withdrawn", "undone")


ANSWERS = f"""
    SELECT role || ':' || source_record_id AS one,
        other_role || ':' || other_source_record_id AS other, kind, probability, answer,
        wants_second, settles, reviewer, answered_at,
        max(withdrawn_at) OVER (PARTITION BY one, other) AS reopened_at
    FROM lake.core.person_answer ANTI JOIN ({decisions.UNDONE}) USING (decision_id)
    QUALIFY withdrawn_at IS NULL"""
"""Those that count. What was taken back asks for an answer after it: those that stay close no pair
alone."""
STATES = f"""
    SELECT one, other, arg_min(kind, answered_at) AS kind,
        arg_min(probability, answered_at) AS probability,
        list(reviewer) AS reviewers,
        count(*) FILTER (answer = 'same') AS same,
        count(*) FILTER (answer = 'different') AS different,
        count(*) FILTER (answer = 'unsure') AS unsure,
        any_value(kind) = 'two_numbers' OR bool_or(wants_second) OR any_value(kind) = 'sample' AND (
            same > 0 AND min(probability) < {EXCLUDED}
            OR different > 0 AND max(probability) >= {CERTAIN}) AS needs_two,
        CASE WHEN bool_or(settles) THEN 'closed'
            WHEN same > 0 AND different > 0 OR unsure > 1 THEN 'differing'
            WHEN max(answered_at) < max(reopened_at) THEN 'second'
            WHEN same + different > needs_two::INT THEN 'closed' ELSE 'second' END AS state,
        coalesce(arg_max(answer, answered_at) FILTER (settles),
            if(same > different, 'same', if(different > same, 'different', NULL))) AS outcome
    FROM ({ANSWERS}) GROUP BY one, other"""
DECIDED = f"""
    SELECT (role || ':' || source_record_id, other_role || ':' || other_source_record_id)
    FROM lake.core.person_decision WHERE {decisions.STANDING}"""


def waiting(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], int]:
    """(kind, state) → how many questions wait. After `gather`."""
    rows = connection.execute(
        f"SELECT kind, state, count(*) FROM ({_open()}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return {(kind, state): count for kind, state, count in rows}


def following(
    connection: duckdb.DuckDBPyConnection,
    reviewer: str,
    *,
    is_sample: bool = False,
    is_supervisor: bool = False,
    skipped: Sequence[tuple[str, str]] = (),
) -> Question | None:
    """The question that is worth most for this reviewer, who never answers the same one twice; a
    supervisor's are those on which reviewers differ. After `gather`."""
    state = "state = 'differing'" if is_supervisor else "state <> 'differing'"
    kind = "" if is_supervisor else f"AND (kind = 'sample') = {is_sample}"
    rows = connection.execute(
        f"""
        SELECT {QUESTION} FROM ({_open()})
        WHERE {state} {kind} AND NOT list_contains(reviewers, ?)
            AND NOT list_contains(?::VARCHAR[], one || other)
        ORDER BY tells DESC, worth DESC, one, other LIMIT 1
        """,
        [reviewer, [one + other for one, other in skipped]],
    ).fetchall()
    return Question(*rows[0]) if rows else None


def _open() -> str:
    return f"""
        SELECT question.*, coalesce(state, 'open') AS state, coalesce(reviewers, []) AS reviewers,
            coalesce(same, 0) AS same, coalesce(different, 0) AS different,
            coalesce(unsure, 0) AS unsure
        FROM question LEFT JOIN (
            SELECT * EXCLUDE (kind, probability) FROM ({STATES})) USING (one, other)
        WHERE coalesce(state, 'open') <> 'closed'
            AND (least(one, other), greatest(one, other)) NOT IN ({DECIDED})"""


def answer(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    given: Answer,
    *,
    reviewer: str,
    reason: str,
    wants_second: bool,
    settles: bool,
    night: date,
) -> tuple[UUID, UUID | None]:
    """Record an answer in the caller's transaction, and the decision that it completes. Returns
    the ids of both. Raises Answered where the pair was answered meanwhile or by the same reviewer
    before, and DefinitionError where the decision contradicts those that stand."""
    one, other = Mention.read(question.one), Mention.read(question.other)
    ((state, reviewers),) = connection.execute(
        f"SELECT coalesce(any_value(state), 'open'), coalesce(any_value(reviewers), []) "
        f"FROM ({STATES}) WHERE one = ? AND other = ?",
        [question.one, question.other],
    ).fetchall()
    if state != question.state or reviewer in reviewers:
        raise Answered("this pair was answered meanwhile", next_step="go on with the next.")
    answer_id = uuid4()
    connection.execute(
        "INSERT INTO lake.core.person_answer VALUES "
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
        [answer_id, one.source_record_id, one.role, other.source_record_id, other.role,
         question.kind, question.probability, given, wants_second, settles, question.is_blind,
         reviewer, reason, _utc_now(), night],
    )  # fmt: skip
    ((state, outcome, is_one),) = connection.execute(
        f"""
        SELECT state, outcome, (
            SELECT count(DISTINCT person_id) = 1 FROM lake.core.person_mention
            WHERE valid_to IS NULL AND role || ':' || source_record_id IN (one, other))
        FROM ({STATES}) WHERE one = ? AND other = ?
        """,
        [question.one, question.other],
    ).fetchall()
    is_sure = not EXCLUDED <= question.probability < CERTAIN
    is_known = question.kind == "sample" and is_sure and (outcome == "same") == is_one
    if state != "closed" or outcome not in ("same", "different") or is_known:
        return answer_id, None
    decision = decisions.record(
        connection, one, other, is_same=outcome == "same", by=reviewer,
        why=reason or f"meja pemeriksaan: {question.kind}", night=night,
    )  # fmt: skip
    connection.execute(
        """
        UPDATE lake.core.person_answer SET decision_id = ?
        WHERE source_record_id = ? AND role = ? AND other_source_record_id = ? AND other_role = ?
            AND answer = ? AND settles = ? AND decision_id IS NULL AND withdrawn_at IS NULL
        """,
        [decision, one.source_record_id, one.role, other.source_record_id, other.role, outcome,
         settles],
    )  # fmt: skip
    return answer_id, decision


def given(connection: duckdb.DuckDBPyConnection, reviewer: str | None = None) -> list[Given]:
    """The newest answers, of one reviewer or of all, newest first."""
    return _given(connection, "reviewer = coalesce(?, reviewer)", reviewer)


def one_given(connection: duckdb.DuckDBPyConnection, answer_id: UUID) -> Given | None:
    """One answer; None for an id that is none's."""
    return next(iter(_given(connection, "answer_id = ?", answer_id)), None)


def _given(
    connection: duckdb.DuckDBPyConnection, which: str, value: UUID | str | None
) -> list[Given]:
    rows = connection.execute(
        f"""
        WITH asked AS (
            SELECT *, role || ':' || source_record_id AS one,
                other_role || ':' || other_source_record_id AS other
            FROM lake.core.person_answer WHERE {which}
            ORDER BY answered_at DESC LIMIT {NEWEST})
        SELECT answer_id, one, first.said_in, other, second.said_in, asked.kind, answer, reviewer,
            answered_at,
            CASE WHEN withdrawn_at IS NOT NULL THEN 'withdrawn'
                WHEN decision_id IN ({decisions.UNDONE}) THEN 'undone'
                WHEN decision_id IS NOT NULL THEN 'stands'
                WHEN (least(one, other), greatest(one, other)) IN ({DECIDED}) THEN 'decided'
                ELSE state END,
            withdrawn_by
        FROM asked LEFT JOIN ({STATES}) USING (one, other)
        LEFT JOIN lake.core.mention_identity AS first
            ON (first.source_record_id, first.role) = (asked.source_record_id, asked.role)
        LEFT JOIN lake.core.mention_identity AS second
            ON (second.source_record_id, second.role) = (other_source_record_id, other_role)
        ORDER BY answered_at DESC
        """,
        [value],
    ).fetchall()
    return [Given(*row) for row in rows]


def again(connection: duckdb.DuckDBPyConnection, given: Given) -> Question | None:
    """The question of an answer as the newest linking weighs it; None where that no longer compares
    the two. After `gather`."""
    rows = connection.execute(
        """
        SELECT one, other, ?, weight, probability, 0, rivals, 'answered', 0, 0, 0
        FROM candidate WHERE one = ? AND other = ?
        """,
        [given.kind, given.one, given.other],
    ).fetchall()
    return Question(*rows[0]) if rows else None


def withdraw(
    connection: duckdb.DuckDBPyConnection, answer_id: UUID, *, by: str, night: date
) -> UUID | None:
    """Take an answer back in the caller's transaction, and undo the decision that rests on it,
    whose id is returned. Raises Answered where it counts no more."""
    found = connection.execute(
        f"""
        SELECT decision_id FROM lake.core.person_answer
        ANTI JOIN ({decisions.UNDONE}) USING (decision_id)
        WHERE answer_id = ? AND withdrawn_at IS NULL
        """,
        [answer_id],
    ).fetchall()
    if not found:
        raise Answered("this answer counts no more", next_step="go on with another.")
    connection.execute(
        "UPDATE lake.core.person_answer SET withdrawn_by = ?, withdrawn_at = ? WHERE answer_id = ?",
        [by, _utc_now(), answer_id],
    )
    ((decision,),) = found
    if decision:
        decisions.revoke(connection, decision, by=by, night=night)
    return decision


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)

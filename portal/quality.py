"""How good the linking is and how well reviewers agree, measured from their answers.

Precision and recall are of the pairs that were compared, estimated from the sample alone: the share
of pairs that people call one person in each stratum, times the stratum's size. An answer counts in
the stratum in which the pair was when it was asked, for a decision that follows moves the pair.
Pairs that no blocking rule proposes are not seen, so recall is that of the model, not of the
blocking.
"""

from dataclasses import dataclass
from math import sqrt

import duckdb

from portal.review import ANSWERS, STATES, STRATUM

FEWEST = 30
"""Answers of a stratum from which on a share is told."""
Z = 1.96
"""Of an interval of 95 %."""


@dataclass(frozen=True)
class Share:
    """A share with Wilson's interval (Wilson 1927); `of` answers."""

    value: float
    low: float
    high: float
    of: int


@dataclass(frozen=True)
class Quality:
    """`agreement` of the first two answers to the same pairs, and Cohen's kappa (Cohen 1960) of
    them; None where there are too few answers."""

    answers: int
    pairs_of_two: int
    agreement: float | None
    kappa: float | None
    precision: Share | None
    recall: float | None
    strata: dict[str, tuple[int, int, int]]
    """Stratum → pairs of it, answers to sampled ones, of these one person."""


def measure(connection: duckdb.DuckDBPyConnection) -> Quality:
    """After `review.gather`."""
    ((answers,),) = connection.execute(f"SELECT count(*) FROM ({ANSWERS})").fetchall()
    both = connection.execute(
        f"""
        SELECT first, second, count(*) FROM (
            SELECT answer AS first, lead(answer) OVER of_pair AS second,
                row_number() OVER of_pair AS place
            FROM ({ANSWERS}) WHERE NOT settles
            WINDOW of_pair AS (PARTITION BY one, other ORDER BY answered_at))
        WHERE place = 1 AND second IS NOT NULL GROUP BY ALL
        """
    ).fetchall()
    agreement, kappa = _agreement(both)
    strata = {
        name: (pairs, answered, one)
        for name, pairs, answered, one in connection.execute(
            f"""
            SELECT stratum.name, any_value(pairs), count(outcome),
                count(*) FILTER (outcome = 'same')
            FROM stratum LEFT JOIN (
                SELECT {STRATUM} AS name, outcome FROM ({STATES}) WHERE kind = 'sample')
                USING (name)
            GROUP BY ALL ORDER BY ALL
            """
        ).fetchall()
    }
    _, answered, one = strata.get("accepted", (0, 0, 0))
    return Quality(
        answers=answers,
        pairs_of_two=sum(count for *_, count in both),
        agreement=agreement,
        kappa=kappa,
        precision=wilson(one, answered) if answered >= FEWEST else None,
        recall=_recall(strata),
        strata=strata,
    )


def wilson(hits: int, of: int) -> Share:
    """The share of `hits` and its interval."""
    share = hits / of
    middle = (share + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return Share(share, max(middle - half, 0), min(middle + half, 1), of)


def _recall(strata: dict[str, tuple[int, int, int]]) -> float | None:
    if not strata or any(answered < min(FEWEST, pairs) for pairs, answered, _ in strata.values()):
        return None
    true = {name: pairs * one / answered for name, (pairs, answered, one) in strata.items()}
    return true.get("accepted", 0) / sum(true.values()) if sum(true.values()) else None


def _agreement(both: list[tuple[str, str, int]]) -> tuple[float | None, float | None]:
    of = sum(count for *_, count in both)
    if not of:
        return None, None
    agreed = sum(count for first, second, count in both if first == second) / of
    by_chance = 0.0
    for answer in {answer for first, second, _ in both for answer in (first, second)}:
        first = sum(count for one, _, count in both if one == answer) / of
        second = sum(count for _, other, count in both if other == answer) / of
        by_chance += first * second
    return agreed, (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0

"""The review desk without its pages: which pair is next, what is shown of it, what an answer does.

One connection reads the lake for all visitors; the questions are gathered again when a linking has
changed anything.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from threading import Lock
from typing import Any
from uuid import UUID

import duckdb

from common import clock
from common.errors import DefinitionError, WarehouseFault
from common.quoting import literal
from common.settings import Settings
from portal import quality, review
from portal.words import strength, title, words
from transforms.identity import explanation
from warehouse import linking, models
from warehouse.catalog import attach, naming_damage, open_duckdb, reading, transaction, writing
from warehouse.decisions import Mention

WRITE_WITHIN_SECONDS = 15
"""How long an answer, or taking one back, waits for a load that is writing."""
NAMES = ("person_name", "mother_name", "father_name")
LONG_NUMBER = re.compile(r"\d[\d .-]{7,}\d")
ALIKE = 0.6
"""Share of letters in common from which on the differing ones are marked, not the whole value."""
Piece = tuple[str, bool]
"""A part of a value, and whether the other side has it otherwise."""


@dataclass(frozen=True)
class Line:
    """One attribute on both sides; `verdict`: same, differs, or unknown where a side is silent."""

    label: str
    one: list[Piece]
    other: list[Piece]
    verdict: str


@dataclass(frozen=True)
class Reason:
    """One comparison as it is told: what was found, its bits and what they say."""

    comparison: str
    level: str
    bits: float
    says: str


@dataclass(frozen=True)
class Shown:
    """A question with what a reviewer sees of it."""

    question: review.Question
    titles: list[str]
    lines: list[Line]
    reasons: list[Reason]
    prior: float


class Desk:
    """Raises WarehouseFault where there is no lake or nobody was linked yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._run: UUID | None = None
        self._model: dict[str, Any] = {}

    def close(self) -> None:
        if self._connection:
            self._connection.close()

    @contextmanager
    def _lake(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock, naming_damage(self._settings):
            if self._connection is None:
                connection = open_duckdb(self._settings)
                try:
                    attach(connection, self._settings, read_only=True)
                except BaseException:
                    connection.close()
                    raise
                connection.execute("USE memory.main")
                self._connection = connection
            newest = linking.newest(self._connection)
            if newest is None:
                raise WarehouseFault("nobody was linked yet", next_step="run `muara link`.")
            if newest.run != self._run:
                review.gather(self._connection)
                self._connection.execute("DROP TABLE IF EXISTS term")
                self._model = models.load(self._connection, newest.model_version)
                self._run = newest.run
            yield self._connection

    def waiting(self) -> dict[tuple[str, str], int]:
        """(kind, state) → questions."""
        with self._lake() as connection:
            return review.waiting(connection)

    def measure(self) -> quality.Quality:
        with self._lake() as connection:
            return quality.measure(connection)

    def following(self, reviewer: str, **which: Any) -> review.Question | None:
        """As `review.following`."""
        with self._lake() as connection:
            return review.following(connection, reviewer, **which)

    def show(self, question: review.Question) -> Shown:
        """Both records side by side, and why the model weighs them so."""
        with self._lake() as connection:
            sides = _sides(connection, question)
            explanation.explain(connection, self._model)
            evidence = connection.execute(
                "SELECT comparison, level, bits FROM evidence WHERE bits IS NOT NULL "
                "ORDER BY abs(bits) DESC"
            ).fetchall()
        said = words()
        return Shown(
            question,
            [title(side["role"], side["said_in"]) for side in sides],
            list(_lines(*sides)),
            [
                Reason(said["comparisons"][comparison], said["levels"][level], bits, strength(bits))
                for comparison, level, bits in evidence
            ],
            explanation.prior(self._model),
        )

    def show_again(self, given: review.Given) -> Shown | None:
        """What was answered, as `show`; None where a record of the pair is gone, or the linking no
        longer compares them."""
        with self._lake() as connection:
            question = review.again(connection, given)
        return self.show(question) if question and given.said_in and given.other_said_in else None

    def answers(self, reviewer: str | None) -> list[review.Given]:
        """As `review.given`."""
        with self._lake() as connection:
            return review.given(connection, reviewer)

    def one_given(self, answer_id: UUID) -> review.Given | None:
        """As `review.one_given`."""
        with self._lake() as connection:
            return review.one_given(connection, answer_id)

    def answer(
        self,
        question: review.Question,
        given: review.Answer,
        *,
        reviewer: str,
        reason: str,
        wants_second: bool,
        settles: bool,
    ) -> tuple[UUID, UUID | None]:
        """Record an answer; returns its id and that of the decision that it completes.

        Raises what `review.answer` does, DefinitionError for a reason that may name somebody, and
        WarehouseBusy when a load keeps writing.
        """
        with self._lake() as connection:
            if LONG_NUMBER.search(reason) or _names(_sides(connection, question), reason):
                raise DefinitionError("a reason names nobody", where="alasan")
        with self._writing() as connection:
            return review.answer(
                connection, question, given, reviewer=reviewer, reason=reason,
                wants_second=wants_second, settles=settles, night=clock.today(self._settings),
            )  # fmt: skip

    def withdraw(self, answer_id: UUID, *, by: str) -> UUID | None:
        """As `review.withdraw`. Raises WarehouseBusy, too, when a load keeps writing."""
        with self._writing() as connection:
            return review.withdraw(connection, answer_id, by=by, night=clock.today(self._settings))

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        soon = self._settings.model_copy(update={"lock_timeout_seconds": WRITE_WITHIN_SECONDS})
        with writing(soon) as connection, transaction(connection):
            yield connection


def open_counts(settings: Settings) -> dict[str, Any]:
    """How many questions wait, by `kinds` and in all (`pairs`), and the address of the `desk`;
    empty where none waits or nobody was linked yet."""
    with reading(settings) as connection:
        if linking.newest(connection) is None:
            return {}
    desk = Desk(settings)
    try:
        waiting = desk.waiting()
    finally:
        desk.close()
    kinds: dict[str, int] = {}
    for (kind, _), count in waiting.items():
        kinds[kind] = kinds.get(kind, 0) + count
    if not kinds:
        return {}
    return {"pairs": sum(kinds.values()), "kinds": kinds, "desk": settings.portal_address}


def _sides(
    connection: duckdb.DuckDBPyConnection, question: review.Question
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both mentions, in tables `mention` and `asked` too. Raises WarehouseFault when a record is
    gone since the questions were gathered."""
    both = [Mention.read(one) for one in (question.one, question.other)]
    # One after the other: a single equality is found in the files, an IN reads them whole.
    records = " UNION ALL ".join(
        f"FROM lake.core.mention_identity WHERE source_record_id = {literal(one.source_record_id)}"
        for one in both
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE mention AS
        SELECT DISTINCT role || ':' || source_record_id AS mention_id, said.*, region_name
        FROM ({records}) AS said LEFT JOIN lake.ref.region USING (region_code)
        """
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE asked AS SELECT ? AS mention_id_l, ? AS mention_id_r",
        [question.one, question.other],
    )
    rows = connection.execute("FROM mention").to_arrow_table().to_pylist()
    found = {row["mention_id"]: row for row in rows}
    if len(found) < 2:
        raise WarehouseFault("a record of this pair is gone", next_step="run `muara link`.")
    return found[question.one], found[question.other]


def _names(sides: tuple[dict[str, Any], dict[str, Any]], reason: str) -> bool:
    """Whether a reason has a word of a name that either record says."""
    said = {word for side in sides for name in NAMES for word in (side[name] or "").upper().split()}
    return any(len(word) > 2 and word in said for word in re.findall(r"\w+", reason.upper()))


def _lines(one: dict[str, Any], other: dict[str, Any]) -> Iterator[Line]:
    said = words()
    for column, (label, compared) in said["attributes"].items():
        texts = [_text(column, side[column]) for side in (one, other)]
        if not any(texts):
            continue
        if not all(texts):
            verdict = "unknown"
        else:
            verdict = "same" if one[compared] == other[compared] else "differs"
        yield Line(label, *_pieces(*texts), verdict)


def _text(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        return value.strftime("%d-%m-%Y")
    return words()["values"].get(column, {}).get(value, str(value))


def _pieces(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    if not one or not other:
        return [(one, False)], [(other, False)]
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.ratio() < ALIKE:
        return [(one, True)], [(other, True)]
    left: list[Piece] = []
    right: list[Piece] = []
    for what, a, b, c, d in matcher.get_opcodes():
        left.append((one[a:b], what != "equal"))
        right.append((other[c:d], what != "equal"))
    return [piece for piece in left if piece[0]], [piece for piece in right if piece[0]]

"""Which pair lies before whom, and who left which out: known to the process and gone with it."""

import secrets
import time
from dataclasses import dataclass

from portal.review import Question

AT_MOST = 200
"""Pairs that all visitors together may have open; the oldest is forgotten first."""
KEPT_SECONDS = 600
"""How long a pair that lies before somebody is given to nobody else."""


@dataclass(frozen=True)
class Dealt:
    """A pair that lies before somebody since `at`, by the clock of this process."""

    name: str
    question: Question
    at: float


class Dealer:
    """A pair is known to its form by a token of chance, which holds for one visitor and once."""

    def __init__(self) -> None:
        self._dealt: dict[str, Dealt] = {}
        self._skipped: dict[str, list[tuple[str, str]]] = {}

    def deal(self, name: str, question: Question) -> str:
        """Lay a pair before somebody; its token."""
        token = secrets.token_urlsafe(16)
        self._dealt[token] = Dealt(name, question, time.monotonic())
        while len(self._dealt) > AT_MOST:
            self._dealt.pop(next(iter(self._dealt)))
        return token

    def take(self, token: str, name: str) -> Question | None:
        """The pair of this token, if it lies before this visitor; it lies there no more."""
        dealt = self._dealt.pop(token, None)
        return dealt.question if dealt and dealt.name == name else None

    def not_for(self, name: str) -> list[tuple[str, str]]:
        """The pairs that this visitor left out, and those that lie before others."""
        before_others = [
            (one.question.one, one.question.other)
            for one in list(self._dealt.values())
            if one.name != name and time.monotonic() - one.at < KEPT_SECONDS
        ]
        return self._skipped.get(name, []) + before_others

    def skip(self, name: str, question: Question) -> None:
        self._skipped.setdefault(name, []).append((question.one, question.other))

    def forget_skipped(self, name: str) -> bool:
        """What was left out comes again; whether anything was."""
        return bool(self._skipped.pop(name, []))

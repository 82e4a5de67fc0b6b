"""The shape of a source, and where it differs from its definition: drift.

A shape is names and types of columns, never a value. Whether a column that is gone lives on under
another name is judged by the name, the declared type and the place between its neighbours.
"""

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from common.access import INSTEAD
from common.definition import Stream

Shape = dict[str, str]
"""Column → type as the source declares it ('' where it declares none), in the source's order."""

Kind = Literal["new", "missing", "renamed", "retyped", "unseen_code"]
STOPPING: tuple[Kind, ...] = ("missing", "renamed")
LIKELY = 1.0
CLEARLY = 0.1
"""By so much the likeliest name must be ahead of the next, or people decide."""


@dataclass(frozen=True)
class Drift:
    """One difference. `column` is the source's name as declared (of a new one: as it came),
    `likely` what a renamed one is called now and `why`; of one that is gone, `candidates`: names
    that are as likely as each other. `rows`: how many broke a rule because of it."""

    kind: Kind
    column: str
    likely: str | None = None
    was: str = ""
    now: str = ""
    rows: int | None = None
    why: str = field(default="", compare=False)
    candidates: tuple[str, ...] = field(default=(), compare=False)

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """Equal from one night to the next for what is the same drift."""
        return (self.kind, self.column, self.likely or self.now or None)


def compare(stream: Stream, shape: Shape, before: Shape) -> list[Drift]:
    """How `shape` differs from the definition and, in its types, from the shape `before` (empty
    when none was recorded), in the order of the definition, then of the source."""
    gone = [name for name in stream.columns if name not in shape]
    new = [name for name in shape if name not in stream.columns and name not in stream.ignore]
    pairs, ties = _likely(gone, [name for name in new if INSTEAD not in name], shape, before)
    found = []
    for name in stream.columns:
        was, now = before.get(name, ""), shape.get(name, "")
        if name in pairs:
            likely = pairs[name]
            why = ", ".join(_signs(name, likely, shape, before)) or "its name is alike"
            found.append(Drift("renamed", name, likely, was, shape[likely], why=why))
        elif name not in shape:
            found.append(Drift("missing", name, None, was, candidates=ties.get(name, ())))
        elif was and now and was != now:
            found.append(Drift("retyped", name, None, was, now))
    rest = [name for name in new if name not in pairs.values()]
    return found + [Drift("new", name, None, "", shape[name]) for name in rest]


def _likely(
    gone: list[str], new: list[str], shape: Shape, before: Shape
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Gone column → new column that likely is the same: each is the other's likeliest, clearly.
    And gone column → the new ones among which that cannot be told."""
    scores = {(old, name): _likeness(old, name, shape, before) for old in gone for name in new}
    likely = {pair: score for pair, score in scores.items() if score >= LIKELY}
    pairs: dict[str, str] = {}
    ties: dict[str, tuple[str, ...]] = {}
    for old in gone:
        mine = {name: likely[old, name] for name in new if (old, name) in likely}
        if not mine:
            continue
        best = max(mine, key=lambda name: mine[name])
        rivals = [
            score for (other, name), score in likely.items() if (other == old) != (name == best)
        ]
        if mine[best] - max(rivals, default=0.0) >= CLEARLY:
            pairs[old] = best
        else:
            ties[old] = tuple(name for name in mine if mine[best] - mine[name] < CLEARLY)
    return pairs, ties


def _likeness(old: str, name: str, shape: Shape, before: Shape) -> float:
    """0 to 2: how alike the names are, and half a point each for type and place."""
    alike = SequenceMatcher(None, old.lower(), name.lower()).ratio()
    return alike + len(_signs(old, name, shape, before)) / 2


def _signs(old: str, name: str, shape: Shape, before: Shape) -> list[str]:
    """What beside its name speaks for a new column."""
    if old not in before:
        return []
    same = {
        "the same type": before[old] == shape[name] != "",
        "the same place": _neighbours(before, old) == _neighbours(shape, name),
    }
    return [sign for sign, holds in same.items() if holds]


def _neighbours(shape: Shape, name: str) -> tuple[str | None, str | None]:
    names = [None, *shape, None]
    place = names.index(name)
    return names[place - 1], names[place + 1]

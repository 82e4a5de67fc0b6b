"""The shape of a source, and where it differs from its definition: drift.

A shape is names and types of columns, never a value. Whether a column that is gone lives on under
another name is judged by the name, the declared type and the place between its neighbours.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from common.access import INSTEAD
from common.definition import Stream

Shape = dict[str, str]
"""Column → type as the source declares it ('' where it declares none), in the source's order."""

Kind = Literal["new", "missing", "renamed", "retyped", "unseen_code"]
STOPPING: tuple[Kind, ...] = ("missing", "renamed")
LIKELY = 1.0


@dataclass(frozen=True)
class Drift:
    """One difference. `column` is the source's name as declared (of a new one: as it came),
    `likely` what a renamed one is called now, `rows` how many broke a rule because of it."""

    kind: Kind
    column: str
    likely: str | None = None
    was: str = ""
    now: str = ""
    rows: int | None = None

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """Equal from one night to the next for what is the same drift."""
        return (self.kind, self.column, self.likely or self.now or None)


def compare(stream: Stream, shape: Shape, before: Shape) -> list[Drift]:
    """How `shape` differs from the definition and, in its types, from the shape `before` (empty
    when none was recorded), in the order of the definition, then of the source."""
    gone = [name for name in stream.columns if name not in shape]
    new = [name for name in shape if name not in stream.columns and name not in stream.ignore]
    pairs = _likely(gone, [name for name in new if INSTEAD not in name], shape, before)
    found = []
    for name in stream.columns:
        was, now = before.get(name, ""), shape.get(name, "")
        if name in pairs:
            likely = pairs[name]
            found.append(Drift("renamed", name, likely, was, shape[likely]))
        elif name not in shape:
            found.append(Drift("missing", name, None, was))
        elif was and now and was != now:
            found.append(Drift("retyped", name, None, was, now))
    rest = [name for name in new if name not in pairs.values()]
    return found + [Drift("new", name, None, "", shape[name]) for name in rest]


def _likely(gone: list[str], new: list[str], shape: Shape, before: Shape) -> dict[str, str]:
    """Gone column → new column that likely is the same, the most alike first, each used once."""
    scores = sorted(
        ((_likeness(old, name, shape, before), old, name) for old in gone for name in new),
        key=lambda one: (-one[0], one[1:]),
    )
    pairs: dict[str, str] = {}
    for score, old, name in scores:
        if score >= LIKELY and old not in pairs and name not in pairs.values():
            pairs[old] = name
    return pairs


def _likeness(old: str, name: str, shape: Shape, before: Shape) -> float:
    """0 to 2: how alike the names are, and half a point each for type and place."""
    alike = SequenceMatcher(None, old.lower(), name.lower()).ratio()
    if old not in before:
        return alike
    same_type = before[old] == shape[name] != ""
    same_place = _neighbours(before, old) == _neighbours(shape, name)
    return alike + same_type / 2 + same_place / 2


def _neighbours(shape: Shape, name: str) -> tuple[str | None, str | None]:
    names = [None, *shape, None]
    place = names.index(name)
    return names[place - 1], names[place + 1]

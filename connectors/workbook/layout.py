"""Where people stand on a sheet: its header found by declaration, and every row below sorted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.access import Layout
from connectors.workbook import Refusal, SheetFinding, Task
from connectors.workbook.cells import BLANKS, Cell, text_of

SEARCHED_ROWS = 60
PIECE = 8192
FULL_NUMBER = r"^[0-9]{16}$"


@dataclass(frozen=True)
class Header:
    """A header that was found: the layout's name, its first row (from 0), position → heading, and
    the texts of its rows, which are repeated on every printed page."""

    name: str
    layout: Layout
    row: int
    headings: dict[int, str]
    lines: pa.Array

    @property
    def positions(self) -> dict[str, int]:
        """Source column → its position on the sheet."""
        wanted = {plain(heading): sent for heading, sent in self.layout.columns.items()}
        return {wanted[text]: at for at, text in self.headings.items() if text in wanted}

    @property
    def undeclared(self) -> list[str]:
        known = set(map(plain, self.layout.columns))
        return [text for text in self.headings.values() if text not in known]


def plain(text: Cell) -> str:
    """A heading as it is compared."""
    return " ".join(normalize("NFKC", str(text)).split()).casefold()


def find_header(layouts: dict[str, Layout], rows: Sequence[Sequence[Cell]]) -> Header | str:
    """The header with the most declared headings, or what the nearest layout misses."""
    found: list[Header] = []
    misses: list[tuple[int, str]] = []
    for name, layout in layouts.items():
        wanted = set(map(plain, layout.columns))
        for row in range(len(rows) - layout.header_rows + 1):
            above = rows[row : row + layout.header_rows]
            headings = _headings(above)
            texts = list(headings.values())
            missing = [text for text in layout.columns if plain(text) not in texts]
            twice = [text for text in layout.columns if texts.count(plain(text)) > 1]
            if not missing and not twice:
                found.append(Header(name, layout, row, headings, _lines(above)))
            elif len(missing) < len(wanted):
                what = (
                    f"misses {', '.join(map(repr, missing))}"
                    if missing
                    else f"has twice {', '.join(map(repr, twice))}"
                )
                misses.append((len(missing), f"the nearest, {name}, {what} in row {row + 1}"))
    if found:
        return max(found, key=lambda one: (len(one.layout.columns), -one.row))
    return min(misses)[1] if misses else "no heading of any is there"


def _headings(rows: Sequence[Sequence[Cell]]) -> dict[int, str]:
    """Position → heading. A text above blank cells stands above all of them that have one below."""
    texts = [list(map(plain, row)) for row in rows]
    headings = {}
    above = [""] * len(rows)
    for at in range(max(map(len, texts), default=0)):
        column = [row[at] if at < len(row) else "" for row in texts]
        if any(column):
            first = next(level for level, text in enumerate(column) if text)
            column = [*above[:first], *column[first:]]
            above = [text or old for text, old in zip(column, above, strict=True)]
            above[first + 1 :] = column[first + 1 :]
            headings[at] = " > ".join(filter(None, column))
    return headings


def _lines(rows: Sequence[Sequence[Cell]]) -> pa.Array:
    texts = [[str(cell).strip(BLANKS) for cell in row] for row in rows]
    return pa.array([" ".join(filter(None, row)) for row in texts])


class People:
    """The people below a header, and the account of every other row."""

    def __init__(self, task: Task, header: Header, finding: SheetFinding, is_1904: bool) -> None:
        self.task, self.header, self.finding, self.is_1904 = task, header, finding, is_1904
        self.ended = False
        self.family: dict[str, str | None] = {}

    def read(self, rows: Iterator[Sequence[Cell]]) -> Iterator[pa.RecordBatch]:
        """Batches with the task's columns. `rows` begin after the header. Raises Refusal naming the
        first row that is neither a person nor of a declared kind."""
        first = self.header.row + self.header.layout.header_rows + 1
        while piece := list(islice(rows, PIECE)):
            if people := self._sort(piece, first):
                yield people
            first += len(piece)

    def _sort(self, rows: list[Sequence[Cell]], first: int) -> pa.RecordBatch | None:
        sent = self._texts(rows)
        if not sent:
            return None
        # Arrow 26 drops rows of nothing but NULL, so each begins with an empty text.
        begun = pa.array([""] * len(rows))
        joined = pc.utf8_slice_codeunits(
            pc.binary_join_element_wise(begun, *sent.values(), " ", null_handling="skip"), 1
        )
        layout, positions = self.header.layout, self.header.positions
        empty = pa.nulls(len(rows), pa.string())
        column = {name: sent.get(at, empty) for name, at in positions.items()}

        def like(pattern: str | None, text: pa.Array = joined) -> np.ndarray:
            if pattern is None:
                return np.zeros(len(rows), bool)
            return np.array(pc.fill_null(pc.match_substring_regex(text, pattern), False))

        blank = np.array(pc.equal(joined, ""))
        family = like(layout.family) & ~blank
        numbered = np.logical_or.reduce(
            [like(FULL_NUMBER, column[name]) for name in self.task.format.identity
             if name in column] or [like(None)]
        ) & ~family  # fmt: skip
        open_ = ~blank & ~family & ~numbered
        ended = self._ended(open_ & like(layout.end))
        if (lost := (numbered | family) & ended).any():
            self._refuse(
                first, lost, "stands after the end of the table, and seems to be of people"
            )
        kinds = {"family": family, "after_end": ended & ~blank}
        for name, pattern in layout.left_out.items():
            kinds[name] = open_ & like(pattern)
        kinds["header"] = open_ & np.array(pc.is_in(joined, self.header.lines))
        left = np.logical_or.reduce(list(kinds.values()))
        filled = np.logical_or.reduce(
            [np.array(pc.is_valid(column[name])) for name in self.task.format.person
             if name in column]
        )  # fmt: skip
        people = numbered | (filled & ~blank & ~left)
        if (unknown := ~blank & ~left & ~people).any():
            self._refuse(
                first, unknown, "is neither a person nor of a kind that the layout leaves out"
            )
        self._count(kinds, blank, people, sent)
        told = self._families(family, joined)
        batch = pa.RecordBatch.from_arrays(
            [told.get(name, column.get(name, empty)) for name in self.task.columns],
            names=list(self.task.columns),
        )
        return batch.filter(pa.array(people))

    def _texts(self, rows: list[Sequence[Cell]]) -> dict[int, pa.Array]:
        """Position → text, of columns that are not empty."""
        names = {at: name for name, at in self.header.positions.items()}
        return {
            at: text_of(
                cells,
                is_identity=names.get(at) in self.task.format.identity,
                is_dated=names.get(at) in self.task.dated,
                is_1904=self.is_1904,
            )
            for at, cells in enumerate(zip(*rows, strict=True))
            if cells.count("") < len(cells)
        }

    def _ended(self, ends: np.ndarray) -> np.ndarray:
        """Which rows come after the end of the table; its own row is one of them."""
        after = np.logical_or.accumulate(ends) | self.ended
        self.ended = bool(after[-1])
        return after

    def _families(self, lines: np.ndarray, joined: pa.Array) -> dict[str, pa.Array]:
        """Source column → what the newest family line above each row says."""
        pattern = self.header.layout.family
        if pattern is None:
            return {}
        found = pc.extract_regex(joined, pattern)
        names = [field.name for field in found.type]
        newest = np.maximum.accumulate(np.where(lines, np.arange(len(lines)) + 1, 0))
        told = {}
        for name in names:
            value = pc.utf8_trim_whitespace(pc.struct_field(found, name))
            value = pc.if_else(pc.equal(value, ""), pa.scalar(None, pa.string()), value)
            before = pa.array([self.family.get(name)], pa.string())
            told[name] = pa.concat_arrays([before, value]).take(pa.array(newest))
            self.family[name] = told[name][-1].as_py()
        return told

    def _count(
        self,
        kinds: dict[str, np.ndarray],
        blank: np.ndarray,
        people: np.ndarray,
        sent: dict[int, pa.Array],
    ) -> None:
        left_out = self.finding.left_out
        seen = people | blank
        for name, rows in kinds.items():
            if count := int((rows & ~seen).sum()):
                left_out[name] = left_out.get(name, 0) + count
            seen = seen | rows
        self.finding.people += int(people.sum())
        for at, text in sent.items():
            if at not in self.header.headings:
                filled = np.array(pc.is_valid(text))
                self.finding.cells_under_no_heading += int((filled & people).sum())

    def _refuse(self, first: int, rows: np.ndarray, why: str) -> None:
        row = first + int(np.argmax(rows))
        raise Refusal(f"has a row that {why}: row {row} of sheet {self.finding.number}")

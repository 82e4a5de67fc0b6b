"""Workbooks in which every cell is text: nothing in them is a formula, a link or a number that
loses digits. Rows are written one after the other; memory does not grow with them.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from math import ceil
from pathlib import Path

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

SHEET_ROWS = 1_048_576
SHEET_NAME = 31
CELL_UNITS = 32_767
"""Excel's limits; a cell's in UTF-16 units."""

LINE_HEIGHT = 15
CUT = " … (dipotong)"
TEXT = {"num_format": "@", "valign": "top"}
# A quote prefix keeps text text, also when someone edits the cell.
SENT = {**TEXT, "quote_prefix": True}
FORMATS = {
    "text": {**TEXT, "text_wrap": True},
    "title": {"bold": True, "font_size": 16},
    "heading": {"bold": True, "font_size": 12},
    "head": {**TEXT, "text_wrap": True, "bold": True, "bg_color": "#D9E2EC", "bottom": 1},
    "number": {"num_format": "0", "valign": "top", "align": "center"},
    "sent": SENT,
    "marked": {**SENT, "bg_color": "#FFC7CE", "font_color": "#7A0010", "bold": True, "border": 1},
}


class Sheet:
    """One worksheet, filled from the top; goes on in another when it is full."""

    def __init__(
        self, book: "Workbook", name: str, widths: Sequence[int], head: Sequence[str] = ()
    ) -> None:
        self.book, self.name, self.widths, self.head = book, name, widths, head
        self.part = 0
        self._begin()

    def _begin(self) -> None:
        self.part += 1
        self.page: Worksheet = self.book.page(self.name, self.part)
        self.row = 0
        for place, width in enumerate(self.widths):
            self.page.set_column(place, place, width)
        if self.head:
            self.append(self.head, "head")
            self.page.freeze_panes(1, 0)
            self.page.repeat_rows(0)

    def append(
        self,
        cells: Sequence[str | int | None],
        styles: str | Sequence[str] = "text",
        marked: Collection[int] = (),
    ) -> None:
        """Write the next row; None is an empty cell. `styles` is one for all or one for each."""
        if self.row == self.book.sheet_rows:
            self._begin()
        chosen = [styles] * len(cells) if isinstance(styles, str) else styles
        self._set_height(cells, chosen)
        for place, cell in enumerate(cells):
            self._write(place, cell, "marked" if place in marked else chosen[place])
        self.row += 1

    def _set_height(self, cells: Sequence[str | int | None], styles: Sequence[str]) -> None:
        """Room for the text that wraps; what was sent keeps to one line."""
        lines = [
            sum(ceil(len(line) / width) for line in cell.split("\n"))
            for cell, style, width in zip(cells, styles, self.widths, strict=False)
            if isinstance(cell, str) and style in ("text", "head")
        ]
        if (most := max(lines, default=1)) > 1:
            self.page.set_row(self.row, LINE_HEIGHT * most)

    def paragraph(self, text: str) -> None:
        """A row with one text across the sheet's width."""
        last = len(self.widths) - 1
        self.page.set_row(self.row, LINE_HEIGHT * ceil(len(text) / sum(self.widths)))
        self.page.merge_range(self.row, 0, self.row, last, text, self.book.formats["text"])
        self.row += 1

    def _write(self, place: int, cell: str | int | None, style: str) -> None:
        if cell is None:
            self.page.write_blank(self.row, place, None, self.book.formats[style])
        elif isinstance(cell, int):
            self.page.write_number(self.row, place, cell, self.book.formats["number"])
        else:
            self.page.write_string(self.row, place, _fitting(cell), self.book.formats[style])


class Workbook:
    """The open file; see `workbook`."""

    def __init__(self, file: xlsxwriter.Workbook, sheet_rows: int) -> None:
        self.file, self.sheet_rows = file, sheet_rows
        self.formats: dict[str, Format] = {
            name: file.add_format(facts) for name, facts in FORMATS.items()
        }

    def page(self, name: str, part: int) -> Worksheet:
        page = self.file.add_worksheet(self._free_name(name, part))
        page.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        page.set_landscape()
        page.set_paper(9)
        page.fit_to_pages(1, 0)
        return page

    def _free_name(self, name: str, part: int) -> str:
        """Excel's rules: 31 characters, none of []:*?/\\, no quote at the ends, never twice."""
        clean = re.sub(r"[\[\]:*?/\\]+", "_", name).strip("_'") or "_"
        taken = {one.get_name().lower() for one in self.file.worksheets()}
        while True:
            end = f" ({part})" if part > 1 else ""
            chosen = clean[: SHEET_NAME - len(end)] + end
            if chosen.lower() not in taken:
                return chosen
            part += 1


@contextmanager
def workbook(path: Path, made: date, sheet_rows: int = SHEET_ROWS) -> Iterator[Workbook]:
    """A new workbook at `path`, closed at the end. Equal content gives equal bytes."""
    options = {
        "constant_memory": True,
        "tmpdir": str(path.parent),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    file = xlsxwriter.Workbook(str(path), options)
    try:
        file.set_properties({"created": datetime.combine(made, time(), UTC)})
        yield Workbook(file, sheet_rows)
    finally:
        file.close()
    path.chmod(0o600)


def _fitting(text: str) -> str:
    """The text, cut where a cell ends."""
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * CELL_UNITS:
        return text
    return units[: 2 * (CELL_UNITS - len(CUT))].decode("utf-16-le", "ignore") + CUT

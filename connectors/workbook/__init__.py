"""One workbook read in a process of its own: whatever is in the file, it takes no more memory and
time than that process may, and takes nobody with it.

`python -m connectors.workbook FILE` reads a `Task` (JSON) from standard input and writes the people
of the workbook to standard output, as an Arrow stream. The last line of standard error is a
`Finding` or a `Refusal`.
"""

from dataclasses import dataclass, field

from common.access import Strict, Workbook


class Task(Strict):
    """What to look for: `columns` are the stream's source columns to bring, in order; of those that
    are `dated` a number is a day."""

    format: Workbook
    columns: tuple[str, ...]
    dated: tuple[str, ...]


@dataclass
class SheetFinding:
    """What was found in one sheet: `number` from 1, the row of the header, people, rows left out by
    kind, and cells under no heading."""

    number: int
    layout: str
    header_row: int
    people: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    cells_under_no_heading: int = 0


@dataclass
class Finding:
    """What was found in a workbook. `other_sheets`: number of each sheet of no known layout → its
    rows that are not blank. `headings`: those that no layout declares."""

    sheets: list[SheetFinding] = field(default_factory=list)
    other_sheets: dict[int, int] = field(default_factory=dict)
    headings: list[str] = field(default_factory=list)


class Refusal(Exception):
    """Why a workbook is not read. Never holds a value of a cell."""

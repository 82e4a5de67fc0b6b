"""From cells to text."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Cell = str | float | int | bool | date | datetime | time | timedelta
BLANKS = " \t\r\n\u00a0"
EXACT_DIGITS = 15
"""Excel keeps no more of a number; the rest becomes zeros."""
LARGEST_INTEGER = 2**53
"""From here on not every whole number has a double of its own."""
LAST_SERIAL = 2_958_465
"""31 December 9999."""


def text_of(
    cells: Sequence[Cell],
    *,
    is_identity: bool = False,
    is_dated: bool = False,
    is_1904: bool = False,
) -> pa.Array:
    """The cells of a column as text, without blanks at the ends; an empty one is NULL.

    Numbers keep their exact digits. Of an identity number what Excel may have rounded is written
    with an exponent, so that nobody takes it for one. Days are ISO 8601; in a dated column numbers
    are days as well.
    """
    kinds = set(map(type, cells))
    if kinds == {float} and not is_dated:
        numbers = np.array(cells)
        exact = (np.abs(numbers) < LARGEST_INTEGER) & (numbers == np.trunc(numbers))
        if is_identity:
            exact &= (np.abs(numbers) < 10**EXACT_DIGITS) | (numbers % 10 != 0)
        if exact.all():
            return pa.array(numbers.astype(np.int64)).cast(pa.string())
    if kinds == {date}:
        return pa.array(cells, pa.date32()).cast(pa.string())
    if kinds - {str}:

        def said(cell: Cell) -> str:
            match cell:
                case str():
                    return cell
                case bool():
                    return "true" if cell else "false"
                case float() | int() if is_dated:
                    return day_of(cell, is_1904)
                case float() | int():
                    return digits_of(cell, is_identity)
                case datetime() if cell.time() != time():
                    return cell.isoformat(sep=" ")
                case datetime():
                    return cell.date().isoformat()
                case date() | time():
                    return cell.isoformat()
            return str(cell)

        cells = list(map(said, cells))
    text = pc.utf8_trim(pa.array(cells, pa.string()), BLANKS)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def digits_of(number: float, is_identity: bool) -> str:
    """The number's digits; with an exponent when it is an identity number that may be rounded."""
    if number != number or number in (float("inf"), float("-inf")) or number != int(number):
        return repr(float(number))
    whole = int(number)
    doubtful = len(str(abs(whole))) > EXACT_DIGITS and (
        abs(whole) >= LARGEST_INTEGER or whole % 10 == 0
    )
    return f"{whole:.14E}" if is_identity and doubtful else str(whole)


def day_of(serial: float, is_1904: bool) -> str:
    """A day by its number. In the 1900 system 60 is the 29th of February 1900, a day that Lotus
    1-2-3 invented; like what is no day at all it stays unreadable."""
    if not 0 <= serial <= LAST_SERIAL:
        return digits_of(serial, is_identity=False)
    whole = int(serial)
    if is_1904:
        day = date(1904, 1, 1) + timedelta(days=whole)
    elif whole == 0:
        return "1900-01-00"
    elif whole == 60:
        return "1900-02-29"
    else:
        day = date(1899, 12, 31 if whole < 60 else 30) + timedelta(days=whole)
    seconds = round((serial - whole) * 86_400)
    return (
        day.isoformat()
        if not seconds
        else f"{datetime(*day.timetuple()[:3]) + timedelta(seconds=seconds)}"
    )

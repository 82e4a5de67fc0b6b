"""The written form of each declared type: what does not match it exactly is no value of that type.

Patterns are of RE2 and match a whole text. They say how a value is spelt; whether there is such a
day, or room for such a number, is asked when it is read.
"""

import re
from typing import Literal

ColumnType = Literal["text", "integer", "decimal", "date", "timestamp", "boolean", "json"]
MOST_PLACES = 18
"""Digits after the point that a decimal can hold; of 38 in all."""

INTEGER = r"[+-]?[0-9]+(\.0+)?"
DEGREES = r"[+-]?[0-9]{1,3}(\.[0-9]+)?"
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
MIDNIGHT = rf"{DAY}[T ]00:00(:00(\.0+)?)?"
TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0*)?)?"
OFFSET = r"([01][0-9]|2[0-3])(:?[0-5][0-9])?"
LOCAL = rf"{DAY}([T ]{TIME})?"
ZONED = rf"{DAY}[T ]{TIME} ?(Z|[+-]{OFFSET})"
"""ISO 8601 as databases and services write it; no names of zones."""
BOOLEANS = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}
"""Whatever the case."""


def fraction(places: int, point: str = r"\.") -> str:
    """Nothing, or at most so many digits after the point that are not idle zeros."""
    return rf"({point}[0-9]{{1,{places}}}0*)?" if places else rf"({point}0+)?"


SCIENTIFIC = r"[+-]?[0-9](\.[0-9]+)?[eE][+-]?[0-9]{1,2}"
"""As databases print floating-point numbers that are very small or large."""


def decimal(places: int, *, comma: bool = False) -> str:
    """1234.5 or .5; with `comma` 1.234,5 or 1234,5, whose points stand before three digits each."""
    if comma:
        return rf"[+-]?([1-9][0-9]{{0,2}}(\.[0-9]{{3}})+|[0-9]+){fraction(places, ',')}"
    return rf"[+-]?([0-9]+{fraction(places)}|{fraction(places)[:-1]})"


NUMBERS = {"m": "[0-9]{1,2}", "d": "[0-9]{1,2}", "H": "[0-9]{1,2}", "I": "[0-9]{1,2}",
           "M": "[0-9]{1,2}", "S": "[0-9]{1,2}", "Y": "[0-9]{4}", "y": "[0-9]{2}",
           "j": "[0-9]{1,3}", "f": "[0-9]{1,6}"}  # fmt: skip
OTHERS = {"b": "[A-Za-z]{3}", "B": "[A-Za-z]+", "p": "[AaPp][Mm]", "z": rf"[+-]{OFFSET}",
          "%": "%"}  # fmt: skip
WIDE = {"[0-9]{1,2}": "[0-9]{2}", "[0-9]{1,3}": "[0-9]{3}"}
"""Of numbers that stand next to each other each is written in full, or nobody can part them."""
DIRECTIVE = re.compile("%-?(.)", re.DOTALL)


def of_format(form: str) -> str:
    """The texts that a strptime format reads: a year has four digits under %Y and two under %y,
    other numbers one or two, blanks are as they stand there.

    Raises ValueError for what a date cannot be told by.
    """
    names = DIRECTIVE.findall(form)
    if odd := sorted({name for name in names if name not in NUMBERS and name not in OTHERS}):
        raise ValueError(
            f"format {form}: %{odd[0]} cannot be read; there are "
            + ", ".join(f"%{name}" for name in (*NUMBERS, *OTHERS))
        )
    if twice := sorted({name for name in names if name != "%" and names.count(name) > 1}):
        raise ValueError(f"format {form}: %{twice[0]} stands there twice")
    told = set(names)
    if not told & {"Y", "y"} or not ("j" in told or ("d" in told and told & {"m", "b", "B"})):
        raise ValueError(f"format {form}: it does not tell year, month and day")
    if ("I" in told) != ("p" in told):
        raise ValueError(f"format {form}: %I and %p go together")
    if "%" in DIRECTIVE.sub("", form):
        raise ValueError(f"format {form}: a % at its end")
    parts, end, was_number = [], 0, False
    found = list(DIRECTIVE.finditer(form))
    for place, one in enumerate(found):
        parts.append(re.escape(form[end : one.start()]))
        pattern = NUMBERS.get(one[1]) or OTHERS[one[1]]
        follows = found[place + 1] if place + 1 < len(found) else None
        touches_next = follows and follows.start() == one.end() and follows[1] in NUMBERS
        touches_last = was_number and one.start() == end
        parts.append(WIDE.get(pattern, pattern) if touches_next or touches_last else pattern)
        end, was_number = one.end(), one[1] in NUMBERS
    return "".join([*parts, re.escape(form[end:])])


def described(kind: ColumnType, formats: tuple[str, ...], places: int, *, comma: bool) -> str:
    """The form in words, for who has to correct a value."""
    match kind:
        case "integer":
            return "integer: digits, with a sign or without"
        case "decimal":
            return f"decimal such as {'1.234,5' if comma else '1234.5'}, at most {places} places"
        case "date" | "timestamp" if formats:
            return f"{kind} as {' or '.join(formats)}"
        case "date":
            return "date as YYYY-MM-DD"
        case "timestamp":
            return "timestamp as YYYY-MM-DD HH:MM:SS, with an offset such as +07:00 or without"
        case "boolean":
            return f"boolean: {', '.join(BOOLEANS)}"
    return kind

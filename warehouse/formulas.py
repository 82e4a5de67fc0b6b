"""Text that a spreadsheet would run as a formula, made harmless in CSV, and back.

A spreadsheet takes a cell for a formula that begins with = + - @ (also in full width), or with a
tab or the end of a line before that. One that expects another separator than the comma begins a
cell after each semicolon and each end of a line as well, quotes or not. Before such a beginning a
`'` is put, and one more where some stand there already, so that taking one away always gives the
text as it was. Numbers are numbers and stay as they are.
"""

SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
NOTE = (
    "In CSV a ' stands before = + - @, a tab or the end of a line where a text, or what follows "
    "a ; or the end of a line in it, begins with it; take that one ' away to have the text as it "
    "is. Numbers and Parquet are exact."
)
_FIRST = f"^( *)%('*[{SIGNS}\\t\\r\\n])"
_LATER = f"([\\r\\n;] *)%('*[{SIGNS}])"


def neutral(text: str) -> str:
    """SQL of a text that no spreadsheet runs."""
    later = f"regexp_replace({text}, {_sql(_LATER, '')}, '\\1''\\2', 'g')"
    return f"regexp_replace({later}, {_sql(_FIRST, '')}, '\\1''\\2')"


def original(text: str) -> str:
    """SQL of what a text was before `neutral`."""
    later = f"regexp_replace({text}, {_sql(_FIRST, chr(39))}, '\\1\\2')"
    return f"regexp_replace({later}, {_sql(_LATER, chr(39))}, '\\1\\2', 'g')"


def _sql(pattern: str, mark: str) -> str:
    return "'" + pattern.replace("%", mark).replace("'", "''") + "'"

"""What an error of a database means, by the database's own codes.

PostgreSQL: SQLSTATE (its manual, appendix A); MariaDB and MySQL: error numbers; SQLite: names of
result codes. Words are looked at only where there is no code: of a connection that never came
about, and of routes that pass on text. What nothing tells is `other`, never `gone`: only a refused
or broken connection is worth trying again.
"""

import re
from typing import Literal

from connectors.readers.sql.routes import RouteBroken

Family = Literal[
    "login", "right", "certificate", "database", "shape", "slow", "gone", "malformed", "other"
]

SQLSTATES: dict[str, Family] = {
    "28": "login", "42501": "right", "3D000": "database", "3F000": "database",
    "42P01": "shape", "42703": "shape", "42883": "shape", "42809": "shape",
    "22": "malformed", "57014": "slow", "08": "gone", "53": "gone", "57P": "gone", "58": "gone",
    "40": "gone", "55P03": "slow",
}  # fmt: skip
"""SQLSTATE or its beginning; the longest that fits holds."""
NUMBERS: dict[Family, frozenset[int]] = {
    "login": frozenset({1045, 1130, 1251, 1698, 1820, 1862, 3118, 4151}),
    "right": frozenset({1044, 1142, 1143, 1227, 1345, 1370}),
    "database": frozenset({1049}),
    "shape": frozenset({1051, 1054, 1109, 1146, 1347, 1356, 1449}),
    "slow": frozenset({1205, 1317, 1969, 3024}),
    "gone": frozenset({1040, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1213, 1226,
                       1927, 2002, 2003, 2005, 2006, 2013, 2055}),
    "certificate": frozenset({2026}),
    "malformed": frozenset({1267, 1300, 1366, 3854}),
}  # fmt: skip
NAMES: dict[str, Family] = {
    "SQLITE_AUTH": "right", "SQLITE_PERM": "right", "SQLITE_READONLY": "right",
    "SQLITE_BUSY": "gone", "SQLITE_LOCKED": "gone", "SQLITE_IOERR": "gone",
    "SQLITE_CANTOPEN": "gone", "SQLITE_NOTADB": "malformed", "SQLITE_CORRUPT": "malformed",
    "SQLITE_INTERRUPT": "slow",
}  # fmt: skip
WORDS: dict[Family, str] = {
    "malformed": "invalid byte sequence|decode to utf-8|invalid unicode|not valid utf",
    "slow": "statement timeout|max_statement_time|maximum statement execution time",
    "login": r'password|access denied|authentication|no pg_hba\.conf|role ".*" does not exist',
    "right": "permission denied|not authorized",
    "database": 'database ".*" does not exist',
    "shape": 'no such (table|column)|(relation|column) ".*" does not exist',
    "gone": "refused|closed|reset|broken pipe|timed? ?out|terminat|starting up|shutting down|"
    "too many|connect|lost|resolve|name or service|network|eof|no route|i/o error|ioerror",
}
UNSEALED = ("certificate", "ssl error", "no such file or directory", "tls")


def family_of(error: Exception, *, has_tls: bool) -> Family:
    """What kind of failure it is. `has_tls`: the connection asks for certificates."""
    cause = getattr(error, "orig", None) or error
    if found := _by_code(cause):
        return found
    said = str(cause).lower()
    if has_tls and any(sign in said for sign in UNSEALED):
        return "certificate"
    if isinstance(cause, OSError):
        return "gone"
    return next((one for one, words in WORDS.items() if re.search(words, said)), "other")


def told(error: Exception) -> str:
    """Class and code, never the database's words, which may quote a row."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    number = _number(cause)
    return " ".join([type(cause).__name__, *filter(None, [code, str(number or "")])])


def _by_code(cause: BaseException) -> Family | None:
    number = _number(cause)
    if found := next((one for one, numbers in NUMBERS.items() if number in numbers), None):
        return found
    if state := getattr(cause, "sqlstate", None):
        fitting = [one for one in SQLSTATES if state.startswith(one)]
        return SQLSTATES[max(fitting, key=len)] if fitting else None
    name = getattr(cause, "sqlite_errorname", None) or ""
    return next((NAMES[one] for one in NAMES if name.startswith(one)), None)


def _number(cause: BaseException) -> int | None:
    """The number of MariaDB's or MySQL's error; ConnectorX passes it on as `ERROR 1142 (42000)`."""
    if isinstance(cause, RouteBroken):
        found = re.search(r"\b(?:ERROR|error) (\d{4})\b", str(cause))
        return int(found[1]) if found else None
    first = cause.args[0] if cause.args else None
    return first if isinstance(first, int) and not isinstance(cause, OSError) else None

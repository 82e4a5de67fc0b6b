"""SQL that somebody gives us: one SELECT, or one expression, of what it may see and nothing else.

DuckDB parses it without running it. Of what it finds only what is known here may pass: kinds of
tables and expressions, functions by name (`safe_functions.txt`), tables by the caller's word. What
DuckDB learns tomorrow is refused until somebody lets it in.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from common.errors import QueryRefused

LONGEST = 100_000
QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
ROWS = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT",
        "SHOW_REF"}  # fmt: skip
OTHERS = {"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
          "ORDER_DEFAULT", "ASCENDING", "DESCENDING"}  # fmt: skip
EXPRESSIONS = {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION",
               "CONSTANT", "DEFAULT", "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR",
               "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW"}  # fmt: skip
SETS = {"unnest", "range", "generate_series"}
"""Functions that give rows of what they are given."""
SHOWN = {"", '"tables"', "__show_tables_expanded"}


class TableName(NamedTuple):
    """How a query names a table, in lower case; what it leaves out is empty."""

    catalog: str
    schema: str
    name: str


def check_query(
    text: str, sees: Callable[[TableName], bool], functions: frozenset[str] = frozenset()
) -> None:
    """Let one SELECT pass whose tables it `sees`; it may take rows from these `functions`, written
    as they are called. Raises QueryRefused."""
    statements = _parsed(text)
    if len(statements) != 1:
        raise _refused("it is not one statement")
    for fault in _faults(statements[0]["node"], frozenset(), sees, functions):
        raise _refused(fault)


def check_expression(text: str, sees: Callable[[TableName], bool] = lambda table: False) -> None:
    """Let one expression pass that stays one wherever it is put between parentheses, and whose
    subqueries read only tables it `sees`. Raises QueryRefused."""
    # Alone it may not close a parenthesis that is not its own, within it may add no clause.
    for statements in (_parsed(f"SELECT {text}"), _parsed(f"SELECT ({text})")):
        node = statements[0]["node"]
        if len(statements) != 1 or len(node.get("select_list", [])) != 1:
            raise _refused("it is not one expression")
    for fault in _faults(node, frozenset(), sees, frozenset()):
        raise _refused(fault)


def _refused(fault: str) -> QueryRefused:
    return QueryRefused(
        fault,
        where="query",
        next_step="write one SELECT of tables named like lake.core.person; files, other databases, "
        "settings and statements that change something are not to be had.",
    )


def _parsed(text: str) -> list[dict[str, Any]]:
    if len(text) > LONGEST:
        raise _refused(f"it is longer than {LONGEST} characters")
    if "\0" in text:
        raise _refused("it has a control character")
    try:
        with _parser(os.getpid()).cursor() as parser:
            said = parser.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0]
        tree = json.loads(said)
    except (duckdb.Error, RecursionError, UnicodeError):
        raise _refused("it cannot be read as SQL") from None
    if tree["error"]:
        is_other = tree["error_type"] == "not implemented"
        raise _refused("it is no SELECT" if is_other else f"{tree['error_message']}")
    return list(tree["statements"])


@cache
def _parser(process: int) -> duckdb.DuckDBPyConnection:
    """Of each process its own; it holds nothing and runs nothing of what it parses."""
    return duckdb.connect(config={"threads": 1})


def _faults(
    node: Any, named: frozenset[str], sees: Callable[[TableName], bool], functions: frozenset[str]
) -> Iterator[str]:
    """What is not allowed in a part of the tree; `named`: the names that WITH has given."""
    waiting = [(node, named)]
    while waiting:
        part, known = waiting.pop()
        if isinstance(part, list):
            waiting += [(one, known) for one in part]
            continue
        if not isinstance(part, dict):
            continue
        below = list(part.values())
        kind = part["type"] if isinstance(part.get("type"), str) else None
        if "class" in part:
            if part["class"] not in EXPRESSIONS:
                yield f"an expression of kind {part['class']} is not allowed"
            if "function_name" in part and part["function_name"].lower() not in safe_functions():
                yield f"function {part['function_name']} is not allowed"
        elif kind in QUERIES:
            known |= {_plain(one["key"]) for one in part["cte_map"]["map"]}
        elif kind in ROWS:
            yield from _faults_of_rows(part, known, sees, functions)
            if kind == "TABLE_FUNCTION":
                below = [part["function"]["children"]]
        elif kind and kind not in OTHERS and not kind.endswith("TYPE_INFO"):
            yield f"{kind} is not allowed"
        waiting += [(one, known) for one in below]


def _faults_of_rows(
    part: dict[str, Any],
    known: frozenset[str],
    sees: Callable[[TableName], bool],
    functions: frozenset[str],
) -> Iterator[str]:
    kind = part["type"]
    if kind == "BASE_TABLE":
        names = (part["catalog_name"], part["schema_name"], part["table_name"])
        table = TableName(*(name.lower() for name in names))
        is_named = table.name in known and not table.schema and not table.catalog
        if not is_named and not sees(table):
            yield f"table {'.'.join(filter(None, names))} is not one that it may see"
    elif kind == "TABLE_FUNCTION":
        call = part["function"]
        called = ".".join(filter(None, (call["catalog"], call["schema"], call["function_name"])))
        if called.lower() not in SETS | functions:
            yield f"function {called} is not allowed"
    elif kind == "SHOW_REF":
        place = TableName(part["catalog_name"].lower(), part["schema_name"].lower(), "")
        if part["table_name"] not in SHOWN or (any(place) and not sees(place)):
            yield "it may not SHOW that"


def _plain(name: str) -> str:
    """A name that WITH gives must be one, not a file's."""
    if not re.fullmatch(r"\w+", name):
        raise _refused("a name after WITH has other characters than letters and digits")
    return name.lower()


@cache
def safe_functions() -> frozenset[str]:
    """The names in `safe_functions.txt`."""
    lines = Path(__file__).with_name("safe_functions.txt").read_text().splitlines()
    return frozenset(name for line in lines if not line.startswith("#") for name in line.split())

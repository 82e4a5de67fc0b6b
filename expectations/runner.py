"""Run a suite inside DuckDB on a staged batch; no row passes through Python.

The conditions that Great Expectations writes for the rules are asked together in one pass, which
writes row numbers to `broken`. Results keep counts only, never values.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from common.errors import QueryRefused, TooFewRows
from common.given_sql import check_query
from common.quoting import identifier, literal
from expectations.queries import queries
from expectations.suite import AllButOne, Rule, cannot_be_run, may_judge_by

ROW_CONDITION = re.compile(r"SELECT _row(, \w+)+ \nFROM typed \nWHERE (?P<condition>.+)", re.DOTALL)
"""How Great Expectations asks for the rows that break a rule about single rows."""
SUBQUERY = re.compile(r"\bSELECT\b", re.IGNORECASE)
RULES_IN_ONE_PASS = 62  # bits of a BIGINT


@dataclass(frozen=True)
class Finding:
    """How one rule fared: counts only."""

    rule: str
    severity: str
    rows_broken: int


def validate(
    connection: duckdb.DuckDBPyConnection,
    rules: list[Rule],
    *,
    where: str,
    whole: bool = True,
    kept: Path | None = None,
) -> list[Finding]:
    """Fill the tables `broken` (_row, rule, severity) and `finding` (what every rule asked found)
    from the views `typed` and, for rules across rows, `known`. `kept`: see `queries`.

    Rules about the table as a whole are asked only when the batch is the `whole` of it; they raise
    TooFewRows when they are critical and fail. Raises DefinitionError when a rule cannot be run (a
    column it names is not there).
    """
    connection.execute("CREATE TABLE broken (_row BIGINT, rule VARCHAR, severity VARCHAR)")
    has_rows = connection.execute("SELECT 1 FROM staged LIMIT 1").fetchone() is not None
    rules = [rule for rule in rules if (has_rows if rule.is_about_rows else whole)]
    about_rows = [rule for rule in rules if rule.is_about_rows]
    failed_as_a_whole = _ask_whole(
        connection, [rule for rule in rules if not rule.is_about_rows], where
    )
    if about_rows:
        written = queries(connection, about_rows, where=where, path=kept)
        _note_broken(connection, list(zip(about_rows, written, strict=True)), where)
    for rule in about_rows:
        if rule.implicates != "all":
            _spare(connection, rule, rule.implicates)
        if "mostly" in rule.arguments:
            _tolerate(connection, rule)
    _count(connection, rules, failed_as_a_whole)
    return [
        Finding(*row)
        for row in connection.execute(
            "SELECT rule, severity, rows_broken FROM finding ORDER BY place"
        ).fetchall()
    ]


def _ask_whole(connection: duckdb.DuckDBPyConnection, rules: list[Rule], where: str) -> set[str]:
    """Names of the rules about the table as a whole that fail; raises TooFewRows for a critical
    one."""
    if not rules:
        return set()
    from expectations.engine import ask

    answers = ask(connection, rules, where=where)
    failed = [rule for rule, one in zip(rules, answers, strict=True) if not one.success]
    for rule in failed:
        if rule.severity == "critical":
            rows = connection.execute("SELECT count(*) FROM typed").fetchall()[0][0]
            raise TooFewRows(
                f"rule {rule.rule} failed: {rows} rows",
                where=where,
                next_step="ask the owner whether the source is complete; nothing was loaded.",
            )
    return {rule.rule for rule in failed}


def _count(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], failed_as_a_whole: set[str]
) -> None:
    """Fill the table `finding` (place, rule, severity, rows_asked, rows_broken)."""
    asked = pa.table(
        {
            "place": range(len(rules)),
            "rule": [rule.rule for rule in rules],
            "severity": [rule.severity for rule in rules],
            "failed_as_a_whole": [rule.rule in failed_as_a_whole for rule in rules],
        }
    )
    connection.register("rules_asked", asked)
    connection.execute(
        """
        CREATE TABLE finding AS
        SELECT place, rule, rules_asked.severity, rows_asked,
            if(failed_as_a_whole, rows_asked, coalesce(rows_broken, 0)) AS rows_broken
        FROM rules_asked
        LEFT JOIN (SELECT rule, count(*) AS rows_broken FROM broken GROUP BY rule) USING (rule)
        CROSS JOIN (SELECT count(*) AS rows_asked FROM typed)
        """
    )
    connection.unregister("rules_asked")


def _note_broken(
    connection: duckdb.DuckDBPyConnection, asked: list[tuple[Rule, str]], where: str
) -> None:
    """Add the rows that break the rules to `broken`: one pass for all rules that are a condition on
    a row alone, one for each of the others, for each has a hash table of its own and together they
    would need all memory at once. Raises DefinitionError for a rule that cannot be run."""
    conditions, others = [], []
    for rule, query in asked:
        try:
            check_query(query, may_judge_by)
        except QueryRefused as refused:
            raise cannot_be_run(rule, refused.what, where) from None
        found = ROW_CONDITION.fullmatch(query)
        if found and not SUBQUERY.search(found["condition"]):
            conditions.append((rule, found["condition"]))
        else:
            others.append((rule, query))
    try:
        for rule, query in others:
            connection.execute(
                f"INSERT INTO broken SELECT DISTINCT _row, ?, ? FROM ({query}) AS bad",
                [rule.rule, rule.severity],
            )
        for first in range(0, len(conditions), RULES_IN_ONE_PASS):
            _note_conditions(connection, conditions[first : first + RULES_IN_ONE_PASS])
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        for rule, query in asked:
            try:
                connection.execute(f"SELECT count(*) FROM ({query})")
            except duckdb.Error as error:
                raise cannot_be_run(rule, type(error).__name__, where) from None
        raise


def _note_conditions(
    connection: duckdb.DuckDBPyConnection, conditions: list[tuple[Rule, str]]
) -> None:
    bits = " | ".join(
        f"CASE WHEN {condition} THEN {1 << bit} ELSE 0 END"
        for bit, (_, condition) in enumerate(conditions)
    )
    names = ", ".join(
        f"({1 << bit}, {literal(rule.rule)}, {literal(rule.severity)})"
        for bit, (rule, _) in enumerate(conditions)
    )
    connection.execute(
        f"""
        INSERT INTO broken
        SELECT _row, rule, severity
        FROM (SELECT _row, {bits} AS bits FROM typed)
        JOIN (VALUES {names}) AS asked (bit, rule, severity) ON bits & bit <> 0
        WHERE bits <> 0
        """
    )


def _tolerate(connection: duckdb.DuckDBPyConnection, rule: Rule) -> None:
    """Take a rule out of `broken` that holds for the share of rows which it asks for: of all rows,
    or of those that have a value where the rule is about values."""
    column = rule.arguments.get("column")
    asked = "*" if column is None or rule.kind.endswith("_be_null") else identifier(column)
    connection.execute(
        f"""
        DELETE FROM broken WHERE rule = $rule AND (
            SELECT count(*) FROM broken WHERE rule = $rule
        ) <= (1 - $mostly) * (SELECT count({asked}) FROM typed) + 1e-9
        """,
        {"rule": rule.rule, "mostly": rule.arguments["mostly"]},
    )


def _spare(connection: duckdb.DuckDBPyConnection, rule: Rule, spared: AllButOne) -> None:
    """Take out of `broken` the one row of each group that the rule does not implicate. A row that
    another critical rule rejects is no rival to the others."""
    by = identifier(spared.by)
    among = ", ".join(identifier(column) for column in spared.among)
    best = {"first": "min", "last": "max"}[spared.spare]
    connection.execute(
        f"""
        DELETE FROM broken WHERE rule = $rule AND _row IN (
            SELECT _row FROM known
            WHERE NOT ({rule.arguments["condition"]}) AND (_row IS NULL OR _row NOT IN (
                SELECT _row FROM broken WHERE rule <> $rule AND severity = 'critical'))
            QUALIFY {by} = {best}({by}) OVER (PARTITION BY {among})
                AND count(*) OVER (PARTITION BY {among}, {by}) = 1)
        """,
        {"rule": rule.rule},
    )

"""Run a suite inside DuckDB on a staged batch; no row passes through Python.

Great Expectations asks all rules in one pass over the rows and gives, for those that fail, the SQL
of the failing rows. The conditions in it are asked together in a second pass, which writes row
numbers to `broken`. Results keep counts only, never values.
"""

import logging
import os
import re
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from common.errors import DefinitionError, TooFewRows
from expectations.suite import AllButOne, Rule

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

ROW_CONDITION = re.compile(r"SELECT _row, \w+ \nFROM typed \nWHERE (?P<condition>.+)", re.DOTALL)
"""How Great Expectations asks for the rows that break a rule about single rows."""
RULES_IN_ONE_PASS = 62  # bits of a BIGINT


@dataclass(frozen=True)
class Finding:
    """How one rule fared: counts only."""

    rule: str
    severity: str
    rows_broken: int


def validate(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], *, where: str, whole: bool = True
) -> list[Finding]:
    """Fill the tables `broken` (_row, rule, severity) and `finding` (what every rule asked found)
    from the views `typed` and, for rules across rows, `known`.

    Rules about the table as a whole are asked only when the batch is the `whole` of it; they raise
    TooFewRows when they are critical and fail. Raises
    DefinitionError when a rule cannot be run (a column it names is not there).
    """
    connection.execute("CREATE TABLE broken (_row BIGINT, rule VARCHAR, severity VARCHAR)")
    if not whole:
        rules = [rule for rule in rules if rule.is_about_rows]
    if not connection.execute("SELECT 1 FROM staged LIMIT 1").fetchone():
        rules = [rule for rule in rules if not rule.is_about_rows]
    failed, failed_as_a_whole = [], []
    for rule, result in zip(rules, _results(connection, rules, where), strict=True):
        if result["exception"]:
            raise DefinitionError(
                f"rule {rule.rule} cannot be run ({result['exception']})",
                where=where,
                next_step="check the columns and the condition it names in its expectations file.",
            )
        if not rule.is_about_rows and not result["success"]:
            if rule.severity == "critical":
                rows = connection.execute("SELECT count(*) FROM typed").fetchall()[0][0]
                raise TooFewRows(
                    f"rule {rule.rule} failed: {rows} rows",
                    where=where,
                    next_step="ask the owner whether the source is complete; nothing was loaded.",
                )
            failed_as_a_whole.append(rule)
        if result["query"]:
            failed.append((rule, result["query"]))
    _note_broken(connection, failed)
    for rule, _ in failed:
        if rule.implicates != "all":
            _spare(connection, rule, rule.implicates)
    _count(connection, rules, {rule.rule for rule in failed_as_a_whole})
    return [
        Finding(*row)
        for row in connection.execute(
            "SELECT rule, severity, rows_broken FROM finding ORDER BY place"
        ).fetchall()
    ]


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


def _note_broken(connection: duckdb.DuckDBPyConnection, failed: list[tuple[Rule, str]]) -> None:
    """Add the rows that break the failed rules to `broken`: one pass for all rules that are a
    condition on a row, one for each of the others."""
    conditions = []
    for rule, query in failed:
        if found := ROW_CONDITION.fullmatch(query):
            conditions.append((rule, found["condition"]))
        else:
            connection.execute(
                f"INSERT INTO broken SELECT DISTINCT _row, ?, ? FROM ({query}) AS bad",
                [rule.rule, rule.severity],
            )
    for first in range(0, len(conditions), RULES_IN_ONE_PASS):
        some = conditions[first : first + RULES_IN_ONE_PASS]
        bits = " | ".join(
            f"CASE WHEN {condition} THEN {1 << bit} ELSE 0 END"
            for bit, (_, condition) in enumerate(some)
        )
        names = ", ".join(
            f"({1 << bit}, '{rule.rule}', '{rule.severity}')" for bit, (rule, _) in enumerate(some)
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


def _spare(connection: duckdb.DuckDBPyConnection, rule: Rule, spared: AllButOne) -> None:
    """Take out of `broken` the one row of each group that the rule does not implicate. A row that
    another critical rule rejects is no rival to the others."""
    among = ", ".join(f'"{column}"' for column in spared.among)
    best = {"first": "min", "last": "max"}[spared.spare]
    connection.execute(
        f"""
        DELETE FROM broken WHERE rule = $rule AND _row IN (
            SELECT _row FROM known
            WHERE NOT ({rule.arguments["condition"]}) AND (_row IS NULL OR _row NOT IN (
                SELECT _row FROM broken WHERE rule <> $rule AND severity = 'critical'))
            QUALIFY "{spared.by}" = {best}("{spared.by}") OVER (PARTITION BY {among})
                AND count(*) OVER (PARTITION BY {among}, "{spared.by}") = 1)
        """,
        {"rule": rule.rule},
    )


def _results(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], where: str
) -> list[dict[str, Any]]:
    """Per rule, in order: success, query of the failing rows, exception's type."""
    if not rules:
        return []
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasource, whole_table = _typed_table()
        suite = gx.ExpectationSuite(name="batch", expectations=_expectations(rules, where))
        with datasource.over(connection):
            outcome = whole_table.get_batch().validate(
                suite,
                # Any other format fetches the values themselves, all of them.
                result_format={
                    "result_format": "BOOLEAN_ONLY",
                    "unexpected_index_column_names": ["_row"],
                    "return_unexpected_index_query": True,
                },
            )
    results: list[dict[str, Any]] = [{}] * len(rules)
    for one in outcome.results:
        assert one.expectation_config is not None
        place = one.expectation_config.meta["place"]
        results[place] = {
            "success": one.success,
            "query": (one.result.get("unexpected_index_query") or "").rstrip(";")
            if not one.success
            else "",
            "exception": _exception(one.exception_info),
        }
    return results


@cache
def _typed_table() -> Any:
    """Great Expectations' datasource and the batch `typed` in it. Made once in a process: each
    change to its context writes all of it as YAML, in memory."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from expectations.engine import StagingDatasource

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    datasource = context.add_or_update_datasource(
        datasource=StagingDatasource(name="staging", connection_string="duckdb:///:memory:")
    )
    assert isinstance(datasource, StagingDatasource)
    with duckdb.connect() as nothing, datasource.over(nothing):
        nothing.execute("CREATE TABLE typed (_row BIGINT)")
        asset = datasource.add_table_asset("typed", table_name="typed")
        return datasource, asset.add_batch_definition_whole_table("all")


def _expectations(rules: list[Rule], where: str) -> list[Any]:
    """Great Expectations' objects, which carry the rule's place. Raises DefinitionError."""
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.metadata_types import FailureSeverity
    from pydantic.v1 import ValidationError

    from expectations.engine import kind_named

    made = []
    for place, rule in enumerate(rules):
        try:
            kind = kind_named(rule.kind)
            severity = FailureSeverity(rule.severity)
            made.append(kind(**rule.arguments, severity=severity, meta={"place": place}))
        except (ExpectationNotFoundError, ValidationError, TypeError):
            raise DefinitionError(
                f"rule {rule.rule}: {rule.kind} is not known or has wrong arguments",
                where=where,
                next_step="see Great Expectations' gallery, or use expect_rows_to_satisfy.",
            ) from None
    return made


def _exception(info: dict[str, Any] | None) -> str | None:
    """The kind of exception only: its text may quote a value."""
    if not info:
        return None
    parts = [info] if "raised_exception" in info else list(info.values())
    for part in parts:
        if part.get("raised_exception"):
            return (
                str(part.get("exception_message", "")).split("(")[0].split(":")[0][:60] or "error"
            )
    return None

"""One contender over one batch, in a process of its own: prints seconds apart from imports, and how
many rows broke each rule.

    python -m benchmarks.rules.contenders CONTENDER HOME BATCH
"""

import importlib
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from benchmarks.rules import batch
from common.settings import Settings
from expectations.suite import Rule

Counts = dict[str, int]


def ours(connection: duckdb.DuckDBPyConnection, rules: list[Rule], path: Path) -> Counts:
    """As the pipeline runs it, row numbers to `broken`; from the second round on with the SQL that
    Great Expectations wrote in the first."""
    from expectations.runner import validate

    findings = validate(connection, rules, where="benchmark", kept=path.with_name("rules.json"))
    return {one.rule: one.rows_broken for one in findings}


def aggregate(connection: duckdb.DuckDBPyConnection, rules: list[Rule], path: Path) -> Counts:
    """The same conditions as one aggregate, nothing else; the failing rows are not written."""
    columns = ", ".join(f"sum(CASE WHEN {_fails(rule)} THEN 1 ELSE 0 END)" for rule in rules)
    row = connection.execute(f"SELECT {columns} FROM typed").fetchone() or ()
    return dict(zip((rule.rule for rule in rules), map(int, row), strict=True))


def _fails(rule: Rule) -> str:
    column = rule.arguments.get("column")
    match rule.kind:
        case "expect_rows_to_satisfy":
            return f"NOT ({rule.arguments['condition']})"
        case "expect_column_values_to_match_regex":
            return f"NOT regexp_matches({column}, '{rule.arguments['regex']}')"
        case "expect_column_values_to_not_be_null":
            return f"{column} IS NULL"
        case _:
            raise ValueError(f"{rule.rule}: no aggregate is written for {rule.kind}")


def on_pandas(connection: duckdb.DuckDBPyConnection, rules: list[Rule], path: Path) -> Counts:
    """Great Expectations on a pandas data frame, failing row numbers asked for. It knows no SQL:
    the conditions across columns and tables are computed by DuckDB into columns of their own, which
    is counted and spares pandas the costlier part."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    conditions = [rule for rule in rules if rule.kind == "expect_rows_to_satisfy"]
    computed = ", ".join(
        f"coalesce({rule.arguments['condition']}, true) AS ok_{rule.rule}" for rule in conditions
    )
    named = {rule.arguments["column"] for rule in rules if rule not in conditions}
    columns = ", ".join(sorted(named))
    frame = connection.execute(f"SELECT _row, {columns}, {computed} FROM typed").df()
    expectations = [
        gx.expectations.ExpectColumnValuesToBeInSet(column=f"ok_{rule.rule}", value_set=[True])
        if rule in conditions
        else gx.expectations.registry.get_expectation_impl(rule.kind)(**rule.arguments)
        for rule in rules
    ]
    data = context.data_sources.add_pandas("pandas").add_dataframe_asset("typed")
    found = (
        data.add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
        .validate(
            gx.ExpectationSuite(name="typed", expectations=expectations),
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["_row"]},
        )
    )
    counts = {}
    for one in found.results:
        column = one.expectation_config.kwargs["column"]
        kind = one.expectation_config.type
        name = column.removeprefix("ok_") if column.startswith("ok_") else next(
            rule.rule for rule in rules
            if rule.kind == kind and rule.arguments.get("column") == column
        )  # fmt: skip
        counts[name] = one.result["unexpected_count"]
    return counts


CONTENDERS: dict[str, Callable[..., Counts]] = {
    "aggregate": aggregate,
    "ours": ours,
    "gx-pandas": on_pandas,
}


def main(name: str, home: Path, path: Path) -> None:
    warnings.simplefilter("ignore")
    if name != "aggregate":
        importlib.import_module("expectations.engine")
    rules = [rule.model_copy(update={"implicates": "all"}) for rule in
             batch.rules(Settings(home=home))]  # fmt: skip
    with batch.opened(home, path) as connection:
        cpu, wall = _cpu(), time.perf_counter()
        counts = CONTENDERS[name](connection, rules, path)
        spent = {"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu}
    rows = pq.ParquetFile(path).metadata.num_rows
    print(json.dumps({**spent, "rows": rows, "counts": counts}))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

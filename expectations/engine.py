"""Great Expectations on our DuckDB connection. To import this takes seconds.

Stock `add_sql("duckdb:///…")` hands its connection back to the pool before the rows are fetched;
this engine keeps one. `expect_column_values_to_match_regex` does not know DuckDB: told here. One
expectation of our own, `expect_rows_to_satisfy`, takes a SQL condition for cross-field rules.
"""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import duckdb_engine
import great_expectations as gx
import sqlalchemy as sa
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.exceptions import ExpectationNotFoundError
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation, Expectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.metrics.column_map_metrics.column_values_match_regex import (
    ColumnValuesMatchRegex,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)
from great_expectations.expectations.registry import get_expectation_impl
from pydantic.v1 import ValidationError
from sqlalchemy.dialects.postgresql.base import PGCompiler

from common.errors import DefinitionError
from common.quoting import identifier
from expectations.suite import Rule, cannot_be_run

DUCKDB_ERROR = re.compile(r"duckdb\.(\w+Exception)")

logging.getLogger("great_expectations").setLevel(logging.ERROR)


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """Keeps one connection open for the life of the engine."""

    @contextmanager
    def get_connection(self) -> Iterator[sa.Connection]:
        if not self._connection:
            self._connection = self.engine.connect()
        yield self._connection


class ValuesWithinSQL(PGCompiler):
    """Great Expectations leaves placeholders of DuckDB's kind in the SQL that it gives. DuckDB's
    dialect compiles as PostgreSQL's does."""

    def visit_bindparam(self, bindparam: Any, *how: Any, **named: Any) -> Any:
        return super().visit_bindparam(bindparam, *how, **{**named, "literal_binds": True})


class StagingDatasource(SQLDatasource):
    """A datasource over a DuckDB connection that is already open."""

    type: str = "muara_staging"  # type: ignore[assignment]

    @contextmanager
    def over(
        self, connection: duckdb.DuckDBPyConnection, *, empty: bool = False
    ) -> Iterator["StagingDatasource"]:
        def cursor() -> duckdb_engine.ConnectionWrapper:
            own = connection.cursor()
            if empty:
                (database,) = own.execute("SELECT current_database()").fetchall()[0]
                own.execute(
                    f"CREATE TEMP VIEW typed AS FROM {identifier(database)}.main.typed LIMIT 0"
                )
            return duckdb_engine.ConnectionWrapper(own)

        engine = sa.create_engine(
            "duckdb:///:memory:",
            creator=cursor,
            poolclass=sa.StaticPool,
        )
        # A staged table has no primary key, and to look for one takes 0.15 s in every batch.
        engine.dialect.get_pk_constraint = _no_primary_key  # type: ignore[method-assign]
        engine.dialect.statement_compiler = ValuesWithinSQL
        self._engine = engine
        kept = DuckDBExecutionEngine(engine=engine, create_temp_table=False)
        # Great Expectations declares the private attribute by its stock engine's class.
        self._execution_engine = kept  # type: ignore[assignment]
        try:
            yield self
        finally:
            if kept._connection:
                kept._connection.close()
            engine.dispose()

    def get_engine(self) -> sa.Engine:
        assert self._engine is not None
        return self._engine

    def get_execution_engine(self) -> SqlAlchemyExecutionEngine:
        assert self._execution_engine is not None
        return self._execution_engine


def _no_primary_key(*_: Any, **__: Any) -> Any:
    return {"constrained_columns": [], "name": None}


class MatchRegexOnDuckDB(ColumnValuesMatchRegex):
    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex: str, **_: Any) -> Any:  # noqa: N805
        return sa.func.regexp_matches(column, regex)


class RowsSatisfy(ColumnMapMetricProvider):
    condition_metric_name = "column_values.rows_satisfy"
    condition_value_keys = ("condition",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, condition: str, **_: Any) -> Any:  # noqa: N805
        return sa.literal_column(f"({condition})")


class ExpectRowsToSatisfy(ColumnMapExpectation):
    """A SQL condition over the typed columns of a row holds. Unknown (NULL) counts as holding."""

    condition: str
    column: str = "_row"
    map_metric = "column_values.rows_satisfy"
    success_keys = ("condition", "mostly")
    args_keys = ("column", "condition")


def kind_named(name: str) -> type[Expectation]:
    """The class of an expectation, Great Expectations' own or ours.

    Raises ExpectationNotFoundError.
    """
    return get_expectation_impl(name)


@dataclass(frozen=True)
class Answer:
    """Whether the batch `typed` satisfies a rule, and the SQL of the rows that do not, for a rule
    about single rows."""

    success: bool
    query: str


def ask(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], *, where: str, empty: bool = False
) -> list[Answer]:
    """What Great Expectations answers of the view `typed`, in the order of `rules`; when `empty`,
    as if it had no rows.

    Raises DefinitionError for a rule that is not known, has wrong arguments or cannot be run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasource, whole_table = _typed_table()
        suite = gx.ExpectationSuite(name="batch", expectations=_expectations(rules, where))
        with datasource.over(connection, empty=empty):
            outcome = whole_table.get_batch().validate(
                suite,
                # Any other format fetches the values themselves, all of them.
                result_format={
                    "result_format": "BOOLEAN_ONLY",
                    "unexpected_index_column_names": ["_row"],
                    "return_unexpected_index_query": True,
                },
            )
    answers = [Answer(False, "")] * len(rules)
    for one in outcome.results:
        assert one.expectation_config is not None
        place = one.expectation_config.meta["place"]
        if said := _exception(one.exception_info):
            raise cannot_be_run(rules[place], said, where)
        query = (one.result.get("unexpected_index_query") or "").rstrip(";")
        answers[place] = Answer(bool(one.success), query)
    return answers


@cache
def _typed_table() -> Any:
    """Great Expectations' datasource and the batch `typed` in it. Made once in a process: each
    change to its context writes all of it as YAML, in memory."""
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
            said = DUCKDB_ERROR.search(str(part.get("exception_message", "")))
            return said[1] if said else "error"
    return None

"""Great Expectations on our DuckDB connection.

Stock `add_sql("duckdb:///…")` hands its connection back to the pool before the rows are fetched;
this engine keeps one. `expect_column_values_to_match_regex` does not know DuckDB: told here. One
expectation of our own, `expect_rows_to_satisfy`, takes a SQL condition for cross-field rules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import duckdb_engine
import sqlalchemy as sa
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation, Expectation
from great_expectations.expectations.metrics.column_map_metrics.column_values_match_regex import (
    ColumnValuesMatchRegex,
)
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)
from great_expectations.expectations.registry import get_expectation_impl


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """Keeps one connection open for the life of the engine."""

    @contextmanager
    def get_connection(self) -> Iterator[sa.Connection]:
        if not self._connection:
            self._connection = self.engine.connect()
        yield self._connection


class StagingDatasource(SQLDatasource):
    """A datasource over a DuckDB connection that is already open."""

    type: str = "muara_staging"  # type: ignore[assignment]

    @contextmanager
    def over(self, connection: duckdb.DuckDBPyConnection) -> Iterator["StagingDatasource"]:
        engine = sa.create_engine(
            "duckdb:///:memory:",
            creator=lambda: duckdb_engine.ConnectionWrapper(connection.cursor()),
            poolclass=sa.StaticPool,
        )
        # A staged table has no primary key, and to look for one takes 0.15 s in every batch.
        engine.dialect.get_pk_constraint = _no_primary_key  # type: ignore[method-assign]
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

"""Rules as SQL. Great Expectations writes it, once for rules and columns that are as they were, for
to import it takes seconds and a night asks the same rules as the night before.
"""

from importlib.metadata import version
from pathlib import Path

import duckdb

from common.errors import DefinitionError
from common.kept import kept, key_of
from common.settings import Settings
from expectations.suite import Rule

ENGINE = Path(__file__).with_name("engine.py")


def kept_of(settings: Settings, asked: str) -> Path:
    """The file of the rules that are asked of a stream or a core table."""
    return settings.home / "rules" / f"{asked}.json"


def queries(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], *, where: str, path: Path | None
) -> list[str]:
    """Per rule about single rows the SQL of the rows (`_row`, …) of `typed` that break it.

    `path`: the file that holds what was written for the newest batch. Raises DefinitionError for a
    rule that is not known, has wrong arguments, cannot be run, or is not about single rows.
    """
    return kept(path, _key(connection, rules), lambda: _write(connection, rules, where))


def _key(connection: duckdb.DuckDBPyConnection, rules: list[Rule]) -> str:
    """What the SQL follows from: the rules, the columns, and what writes it."""
    columns = connection.execute("DESCRIBE typed").fetchall()
    written_by = [version(name) for name in ("great_expectations", "sqlalchemy", "duckdb")]
    asked = [(rule.rule, rule.kind, rule.arguments) for rule in rules]
    return key_of(asked, columns, written_by, files=[ENGINE])


def _write(connection: duckdb.DuckDBPyConnection, rules: list[Rule], where: str) -> list[str]:
    from expectations.engine import ask

    written = [answer.query for answer in ask(connection, rules, where=where, empty=True)]
    for rule, query in zip(rules, written, strict=True):
        if not query:
            raise DefinitionError(
                f"rule {rule.rule}: {rule.kind} does not tell which rows break it",
                where=where,
                next_step="use an expectation about single rows, or expect_rows_to_satisfy.",
            )
    return written

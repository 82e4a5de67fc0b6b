"""Rules as SQL. Great Expectations writes it, once for rules and columns that are as they were, for
to import it takes seconds and a night asks the same rules as the night before.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import duckdb

from common.errors import DefinitionError
from common.settings import Settings
from expectations.suite import Rule

ENGINE = Path(__file__).with_name("engine.py")
_written: dict[str, list[str]] = {}


def kept_of(settings: Settings, asked: str) -> Path:
    """The file of the rules that are asked of a stream or a core table."""
    return settings.home / "rules" / f"{asked}.json"


def queries(
    connection: duckdb.DuckDBPyConnection, rules: list[Rule], *, where: str, kept: Path | None
) -> list[str]:
    """Per rule about single rows the SQL of the rows (`_row`, …) of `typed` that break it.

    `kept`: the file that holds what was written for the newest batch. Raises DefinitionError for a
    rule that is not known, has wrong arguments, cannot be run, or is not about single rows.
    """
    key = _key(connection, rules)
    if key not in _written:
        _written[key] = _read(kept, key) or _write(connection, rules, where)
        if kept:
            _keep(kept, key)
    return _written[key]


def _key(connection: duckdb.DuckDBPyConnection, rules: list[Rule]) -> str:
    """What the SQL follows from: the rules, the columns, and what writes it."""
    columns = connection.execute("DESCRIBE typed").fetchall()
    written_by = [version(name) for name in ("great_expectations", "sqlalchemy", "duckdb")]
    asked = [(rule.rule, rule.kind, rule.arguments) for rule in rules]
    told = json.dumps([asked, columns, written_by], default=str, sort_keys=True)
    return hashlib.sha256(ENGINE.read_bytes() + told.encode()).hexdigest()


def _read(kept: Path | None, key: str) -> list[str] | None:
    try:
        found = json.loads(kept.read_text()) if kept else {}
    except (FileNotFoundError, ValueError):
        return None
    return found["queries"] if found.get("key") == key else None


def _keep(kept: Path, key: str) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = kept.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps({"key": key, "queries": _written[key]}, indent=1))
    new.replace(kept)


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

"""The process that answers people's questions."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import duckdb

from common import confine
from common.errors import MuaraError, QueryRefused, WarehouseFault
from common.extensions import load, may_skip_signatures
from common.given_sql import TableName, check_query
from common.quoting import literal
from common.settings import Settings
from warehouse.catalog import SCHEMAS, attach, lake_folder, naming_damage

EXTENSIONS = ("sqlite_scanner", "ducklake", "icu")
ROWS_OF = frozenset({
    "lake.snapshots", "lake.table_changes", "lake.table_insertions", "lake.table_deletions",
    "duckdb_tables", "duckdb_columns", "duckdb_views", "json_each", "json_tree",
    "regexp_split_to_table", "pg_timezone_names",
})  # fmt: skip
"""Functions that give rows and touch no file but the lake's."""
CORRECT = "correct the query: tables are named like lake.core.person, and the lake is read-only."
UNCONFINED = "this machine's kernel does not let a process give up writing"
UNCONFINED_NEXT = "use Linux on x86-64 or ARM64, or ask the published warehouse."
KINDS = """
    SELECT now(), today(), uuid(), 1.5::DECIMAL(9, 1), INTERVAL 1 DAY, TIME '01:00', 'x'::BLOB,
    '01:00:00+00'::TIMETZ, {'a': 1}, MAP {'a': 1}, [1], '1'::BIT, 1::HUGEINT, 'a'::ENUM ('a')"""
TELLING = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
"""Errors whose text speaks of the query; that of others may quote a value of a row."""


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    try:
        connection = _open(Settings.model_construct(home=Path(asked["home"])))
        _give_up(connection, asked)
    except MuaraError as error:
        _say({"failed": {"what": error.what, "next_step": error.next_step}})
        return
    except confine.Unconfined:
        _say({"refused": {"what": UNCONFINED, "next_step": UNCONFINED_NEXT}})
        return
    except duckdb.Error as error:
        _say({"failed": {"what": f"the lake cannot be opened ({type(error).__name__})",
                         "next_step": "run `muara doctor`."}})  # fmt: skip
        return
    _say({})
    settings = Settings.model_construct(home=Path(asked["home"]))
    while line := sys.stdin.readline():
        _say(_answer(connection, settings, **json.loads(line)))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(_plain(answer)) + "\n")
    sys.stdout.flush()


def _open(settings: Settings) -> duckdb.DuckDBPyConnection:
    # One thread: what a process gives up counts for this one and those that it starts later.
    connection = duckdb.connect(config={
        "threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False,
        "allow_unsigned_extensions": may_skip_signatures(*EXTENSIONS), "temp_directory": "",
        "python_enable_replacements": False,
    })  # fmt: skip
    for name in EXTENSIONS:
        load(connection, name)
    attach(connection, settings, read_only=True)
    # What is needed of other files is read now: the parser's, the list's, Python's for these kinds.
    check_query("SELECT count(*)", sees)
    connection.execute(KINDS).fetchall()
    data = f"{lake_folder(settings) / 'data'}/"
    connection.execute(f"SET allowed_directories = [{literal(data)}]")
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def _give_up(connection: duckdb.DuckDBPyConnection, asked: dict[str, Any]) -> None:
    confine.limit(asked["addresses"], asked["seconds"])
    confine.confine([lake_folder(Settings.model_construct(home=Path(asked["home"])))])
    connection.execute(f"SET memory_limit = {literal(str(asked['memory']) + 'B')}")
    connection.execute(f"SET threads = {int(asked['threads'])}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _answer(
    connection: duckdb.DuckDBPyConnection, settings: Settings, query: str, limit: int
) -> dict[str, Any]:
    try:
        check_query(query, sees, ROWS_OF)
        with naming_damage(settings):
            result = connection.execute(query)
            columns = [one[0] for one in result.description or []]
            return {"columns": columns, "rows": result.fetchmany(limit)}
    except QueryRefused as error:
        return {"refused": {"what": error.what, "next_step": error.next_step}}
    except WarehouseFault as error:
        what = f"{error.where}: {error.what}"
        return {"failed": {"what": what, "next_step": error.next_step}}
    except (duckdb.OutOfMemoryException, MemoryError):
        os._exit(1)
    except duckdb.Error as error:
        is_telling = isinstance(error, TELLING)
        what = str(error).splitlines()[0] if is_telling else type(error).__name__
        return {"fault": {"what": what, "next_step": CORRECT}}
    except (ValueError, OverflowError, TypeError, OSError) as error:
        # A value that Python has no kind for, such as a date of the year 300000.
        return {"fault": {"what": type(error).__name__, "next_step": CORRECT}}


def sees(table: TableName) -> bool:
    if table.catalog == "lake":
        return table.schema in (*SCHEMAS, "information_schema")
    return not table.catalog and table.schema == "information_schema"


def _plain(value: Any) -> Any:
    """What JSON can say."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)

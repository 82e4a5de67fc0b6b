"""Rules of the integrated tables, asked after the loads of the versions that hold.

They stop no batch: each stream's rows were judged on their way in, and what core then shows between
streams (an orphan, a missing half) is often the absence of a row that waits in quarantine. What
they find is recorded; a critical finding is a defect of ours and fails the night's check.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import date

import duckdb

from common import clock
from common.quoting import literal
from common.settings import Settings
from expectations.queries import kept_of
from expectations.runner import Finding, validate
from expectations.suite import load_core_rules
from warehouse import finding
from warehouse.catalog import attach, naming_damage, open_duckdb, transaction, writer_lock
from warehouse.tables import tables


@dataclass
class Judged:
    """A core table as of the newest batch it holds."""

    stream: str
    batch_id: int
    night: date
    source: str = finding.CORE


def judge_core(settings: Settings) -> dict[str, list[Finding]]:
    """Ask every core table its rules and record what they find. Returns table → findings.

    Raises DefinitionError when a rule cannot be run.
    """
    found = {}
    with naming_damage(settings), closing(open_duckdb(settings)) as connection:
        attach(connection, settings)
        _give_context(connection, clock.today(settings))
        for table, rules in load_core_rules(settings).items():
            connection.execute(
                "CREATE OR REPLACE VIEW typed AS SELECT row_number() OVER () AS _row, * "
                f"FROM current_{table.removeprefix('core.')}"
            )
            connection.execute("CREATE OR REPLACE VIEW staged AS FROM typed")
            found[table] = validate(connection, rules, where=table, kept=kept_of(settings, table))
            _record(settings, connection, table)
            connection.execute("DROP TABLE broken; DROP TABLE finding")
    return found


def _give_context(connection: duckdb.DuckDBPyConnection, today: date) -> None:
    """`night` and, for every core table, `current_<table>`: the versions that hold."""
    connection.execute(f"CREATE TABLE night AS SELECT DATE {literal(today)} AS today")
    for table in tables().values():
        if table.is_of_landing:
            connection.execute(
                f"CREATE VIEW current_{table.short_name} AS "
                f"FROM lake.{table.name} WHERE valid_to IS NULL"
            )


def _record(settings: Settings, connection: duckdb.DuckDBPyConnection, table: str) -> None:
    (batch, night) = connection.execute(
        "SELECT max(batch_id), max(night) FROM lake.ops.ledger"
    ).fetchall()[0]
    with writer_lock(settings), transaction(connection):
        finding.write(connection, Judged(table, batch or 0, night or clock.today(settings)))

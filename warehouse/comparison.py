"""Two streams of two sources that speak of the same records: what each says, the other does not.

Both are compared as landed, typed, the newest sound row of each record. Nothing is decided here:
which of the two is right is for their offices.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

import duckdb

from common.definition import Comparison, Source, Stream
from common.errors import DefinitionError, QueryRefused
from common.given_sql import TableName, check_expression
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.catalog import write_row
from warehouse.tables import landing_name

KINDS = ("differing", "only_here", "elsewhere", "only_there")


@dataclass
class Compared:
    """One comparison, as `ops.comparison` keeps it: counts of rows."""

    source: str
    stream: str
    other: str
    night: date
    compared_at: datetime
    rows_here: int = 0
    rows_there: int = 0
    same: int = 0
    differing: int = 0
    only_here: int = 0
    elsewhere: int = 0
    only_there: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    quarantined_here: int = 0
    quarantined_there: int = 0


@dataclass(frozen=True)
class Disagreement:
    """One record on which the two differ: its surrogates here and there, what differs, and where
    our row stood in its file."""

    kind: str
    record_id: str | None
    other_record_id: str | None
    columns: list[str]
    batch_id: int | None
    row: int | None
    origin: str | None


def compare(
    connection: duckdb.DuckDBPyConnection,
    outcome: Compared,
    source: Source,
    stream: Stream,
    other: Source,
    other_stream: Stream,
) -> list[Disagreement]:
    """Fill the counts; returns every record that differs. The connection sees the lake."""
    assert stream.compare is not None
    asked = stream.compare
    check(asked, outcome.source)
    for sibling in other.streams:
        connection.execute(
            f"CREATE TEMP VIEW {sibling.name}_now AS FROM lake.{landing_name(other, sibling)}_now"
        )
    _gather(connection, asked, f"lake.{landing_name(source, stream)}_now", other_stream.name)
    _set_beside(connection, asked)
    counts = dict(connection.execute("SELECT kind, count(*) FROM compared GROUP BY ALL").fetchall())
    outcome.same = counts.get("same", 0)
    for kind in KINDS:
        setattr(outcome, kind, counts.get(kind, 0))
    outcome.rows_here = _count(connection, "SELECT count(*) FROM here")
    outcome.rows_there = _count(connection, "SELECT count(*) FROM there WHERE belongs")
    outcome.columns = dict(
        connection.execute(
            "SELECT name, count(*) FROM (SELECT unnest(columns) AS name FROM compared) "
            "GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    )
    outcome.quarantined_here = _quarantined(connection, source, stream)
    outcome.quarantined_there = _quarantined(connection, other, other_stream)
    rows = connection.execute(
        f"""
        SELECT kind, CAST(_record_id AS VARCHAR), CAST(other_record_id AS VARCHAR), columns,
            _batch_id, landed._row, compared._origin
        FROM compared LEFT JOIN lake.{landing_name(source, stream)} AS landed
            USING (_record_id, _batch_id)
        WHERE kind <> 'same' ORDER BY kind, compared._origin, _row, other_record_id
        """
    ).fetchall()
    return [Disagreement(*row) for row in rows]


def check(asked: Comparison, where: str) -> None:
    """Its SQL is expressions over a row of the other and over what it says now. Raises
    DefinitionError with every fault at once."""
    parts = [*asked.key.items(), *asked.columns.items(), *asked.within.items()]
    faults = []
    for name, sql in [*parts, ("where", asked.where)]:
        try:
            check_expression(sql, may_compare_by)
        except QueryRefused as refused:
            faults.append(f"compare {name}: {refused.what}")
    if faults:
        raise DefinitionError(
            f"{len(faults)} fault(s):\n  - " + "\n  - ".join(faults),
            where=where,
            next_step="correct the lines named, then run `muara check`.",
        )


def may_compare_by(table: TableName) -> bool:
    if table.catalog or table.schema:
        return table.catalog == "lake" and table.schema == "ref"
    return table.name.endswith("_now")


def _gather(
    connection: duckdb.DuckDBPyConnection, asked: Comparison, ours: str, theirs: str
) -> None:
    """Make `here` and `there` with columns k_… (key), w_… (within) and v_… (values); `belongs`:
    whether a row there should be here."""
    named = [("k", asked.key), ("w", asked.within), ("v", asked.columns)]
    mine = ", ".join(
        f"{identifier(name)} AS {kind}_{name}" for kind, some in named for name in some
    )
    other = ", ".join(
        f"({sql}) AS {kind}_{name}" for kind, some in named[:2] for name, sql in some.items()
    )
    values = ", ".join(f"({sql}) AS v_{name}" for name, sql in asked.columns.items())
    within = [f"w_{name}" for name in asked.within]
    scope = (
        f"({', '.join(within)}) IN (SELECT DISTINCT ({', '.join(within)}) FROM here)"
        if within
        else "true"
    )
    connection.execute(
        f"""
        CREATE TEMP TABLE here AS
        SELECT _record_id, _batch_id, _origin, {mine} FROM {ours};
        CREATE TEMP TABLE told AS
        WITH found AS (
            SELECT _record_id, {other}, coalesce(({asked.where}), false) AS belongs
            FROM {theirs}_now AS {theirs})
        SELECT * REPLACE (belongs AND coalesce({scope}, false) AS belongs) FROM found;
        CREATE TEMP TABLE there AS
        FROM told LEFT JOIN (
            SELECT _record_id, {values} FROM {theirs}_now AS {theirs}
            WHERE _record_id IN (SELECT _record_id FROM told WHERE belongs)
        ) USING (_record_id)
        """
    )


def _set_beside(connection: duckdb.DuckDBPyConnection, asked: Comparison) -> None:
    """Make `compared`, a row per record: kind, and what of its columns differs."""
    same_key = " AND ".join(f"here.k_{name} = there.k_{name}" for name in asked.key)
    same_place = "".join(f" AND here.w_{name} = there.w_{name}" for name in asked.within)
    differs = ", ".join(
        f"CASE WHEN here.v_{name} IS DISTINCT FROM there.v_{name} THEN {literal(name)} END"
        for name in asked.columns
    )
    connection.execute(
        f"""
        CREATE TEMP TABLE compared AS
        WITH pair AS (
            SELECT here._record_id, there._record_id AS other_record_id,
                list_filter([{differs}], lambda name: name IS NOT NULL) AS columns,
                here._batch_id, here._origin
            FROM here JOIN there ON {same_key}{same_place} AND there.belongs
            QUALIFY row_number() OVER (PARTITION BY here._record_id ORDER BY len(columns)) = 1),
        alone AS (FROM here ANTI JOIN pair USING (_record_id)),
        others AS (
            SELECT here._record_id, min(there._record_id) AS other_record_id
            FROM alone AS here JOIN there ON {same_key} GROUP BY ALL)
        SELECT CASE WHEN len(columns) = 0 THEN 'same' ELSE 'differing' END AS kind, * FROM pair
        UNION ALL
        SELECT CASE WHEN other_record_id IS NULL THEN 'only_here' ELSE 'elsewhere' END,
            _record_id, other_record_id, [], _batch_id, _origin
        FROM alone LEFT JOIN others USING (_record_id)
        UNION ALL
        SELECT 'only_there', NULL, _record_id, [], NULL, NULL
        FROM there WHERE belongs
            AND _record_id NOT IN (SELECT other_record_id FROM pair)
        """
    )


def _quarantined(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> int:
    return _count(
        connection,
        f"SELECT count(*) FROM lake.quarantine.row WHERE source = {literal(source.name)} "
        f"AND stream = {literal(stream.name)} AND state = 'open'",
    )


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def record(settings: Settings, outcome: Compared) -> None:
    """Write the outcome to `ops.comparison`."""
    write_row(
        settings,
        "ops.comparison",
        outcome,
        f"compared {outcome.source}.{outcome.stream} with {outcome.other}",
    )

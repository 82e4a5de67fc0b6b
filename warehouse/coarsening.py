"""Tables about people, as they are published: every row keeps what enough others share.

A table's `steps` are taken one by one. A group of records that were alike so far parts into those
who are alike in this step, too. Those who would be too few lose the step and stay together; where
they are too few even so, the smallest of the other parts loses it with them. So each record is in
the end alike, in all its versions, with at least `floor` - 1 others.

A record whose nights too few share is published as single versions that nothing joins. A version
that too few share even the months of is withheld.
"""

from dataclasses import dataclass

import duckdb

from common.quoting import identifier, literal
from warehouse.masks import masked, output_name, selection, stepped
from warehouse.tables import MONTHS, NIGHTS, Step, Table


@dataclass(frozen=True)
class Coarsened:
    """The rows that were withheld; and how many records would be like no other, or like too few,
    when all kept everything."""

    withheld: int
    unique_before: int
    below_floor_before: int


def coarsen(
    connection: duckdb.DuckDBPyConnection, table: Table, target: str, scope: str, floor: int
) -> Coarsened:
    """Create table `target` with the rows of a table of the lake, in an order that tells nothing.

    `scope` keys the surrogates; in another scope the same record has another one.
    """
    steps = table.steps
    _sign(connection, table)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE kept (version BIGINT, steps UBIGINT, is_linked BOOLEAN)"
    )
    months, nights = ([steps.index(MONTHS)], [steps.index(NIGHTS)]) if table.history else ([], [])
    before = _unlike(connection, len(steps), floor)
    _settle(connection, "record", months + nights, len(steps), floor)
    if table.history:
        _settle(connection, "version", months, len(steps), floor)
    connection.execute(f"CREATE TABLE {target} AS {_published(table, scope)}")
    withheld = connection.execute(
        "SELECT count(*) FROM signed ANTI JOIN kept USING (version)"
    ).fetchall()[0][0]
    connection.execute("DROP TABLE signed; DROP TABLE kept; DROP TABLE settling")
    return Coarsened(withheld, *before)


def _sign(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """`signed`: every version, and per step a number for what it says there as which version."""
    order = ", ".join(
        identifier(name) for name in [*table.key[1:], *(["valid_from"] if table.history else [])]
    )
    place = f"row_number() OVER (PARTITION BY record ORDER BY {order or 'version'})"
    signs = [f"{_sign_of(step)} AS sign{number}" for number, step in enumerate(table.steps)]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE signed AS SELECT *, {', '.join(signs)} FROM ("
        f"SELECT {place} AS place, * FROM (SELECT row_number() OVER () AS version, * FROM ("
        f"SELECT {identifier(table.key[0])} AS record, * FROM lake.{table.name})))"
    )


def _sign_of(step: Step) -> str:
    values = ", ".join(
        f"coalesce(CAST({stepped(name, mask)} AS VARCHAR), chr(30))" for name, mask in step.items()
    )
    return f"md5_number_upper(concat_ws(chr(31), CAST(place AS VARCHAR), {values}))"


def _unlike(connection: duckdb.DuckDBPyConnection, steps: int, floor: int) -> tuple[int, int]:
    """Records that are like no other, and like fewer than `floor`, in everything."""
    sums = ", ".join(f"sum(sign{number})" for number in range(steps))
    return connection.execute(
        f"""
        SELECT coalesce(sum(alike) FILTER (alike = 1), 0)::BIGINT,
            coalesce(sum(alike) FILTER (alike < {floor}), 0)::BIGINT
        FROM (SELECT count(*) AS alike FROM (
                SELECT [count(*), {sums}] AS said FROM signed GROUP BY record)
            GROUP BY said)
        """
    ).fetchall()[0]


def _settle(
    connection: duckdb.DuckDBPyConnection, unit: str, needed: list[int], steps: int, floor: int
) -> None:
    """Add to `kept` every unit that shares the needed steps with enough others, and which of the
    other steps it keeps."""
    sums = "".join(f", sum(sign{number}) AS sum{number}" for number in range(steps))
    first = "".join(f", sum(sign{number})" for number in needed)
    bits = sum(1 << number for number in needed)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE settling AS
        SELECT {unit} AS unit, {bits}::UBIGINT AS steps,
            md5_number_upper(concat_ws(chr(31), count(*){first})) AS alike{sums}
        FROM signed ANTI JOIN kept USING (version) GROUP BY unit
        QUALIFY count(*) OVER (PARTITION BY alike) >= {floor}
        """
    )
    for number in range(steps):
        if number not in needed:
            _part(connection, number, floor)
    connection.execute(
        f"""
        INSERT INTO kept SELECT version, steps, {unit == "record"}
        FROM signed JOIN settling ON unit = {unit}
        """
    )


def _part(connection: duckdb.DuckDBPyConnection, number: int, floor: int) -> None:
    """Part the groups of `settling` by one step."""
    connection.execute(
        f"""
        UPDATE settling SET
            steps = CASE WHEN is_kept THEN steps | {1 << number}::UBIGINT ELSE steps END,
            alike = md5_number_upper(concat_ws(chr(31), alike,
                CASE WHEN is_kept THEN CAST(part AS VARCHAR) ELSE chr(30) END))
        FROM (
            SELECT parted, part, size >= {floor} AND NOT (turn = 1 AND
                coalesce(sum(size) FILTER (size < {floor}) OVER (PARTITION BY parted), {floor})
                < {floor}) AS is_kept
            FROM (
                SELECT *, row_number() OVER (
                    PARTITION BY parted ORDER BY size < {floor}, size, part) AS turn
                FROM (SELECT alike AS parted, sum{number} AS part, count(*) AS size
                    FROM settling GROUP BY ALL)))
        WHERE alike = parted AND sum{number} = part
        """
    )


def _published(table: Table, scope: str) -> str:
    """The rows that are kept, each column in the finest form that its row may have."""
    leaving = {name for name, _ in selection(table, scope)}
    columns = ", ".join(
        f"{_value(table, name, scope)} AS {identifier(output_name(name, column.mask))}"
        for name, column in table.all_columns.items()
        if output_name(name, column.mask) in leaving
    )
    return f"SELECT {columns} FROM signed JOIN kept USING (version) ORDER BY ALL"


def surrogates(table: Table, scope: str) -> tuple[str, str]:
    """SQL of a record's surrogate, and of the one that a version has when it stands alone."""
    (key, *_) = table.key
    linked = masked(key, table.all_columns[key], scope)
    assert linked is not None
    parts = [*table.key, *(["valid_from"] if table.history else [])]
    version = ", ".join(f"CAST({identifier(part)} AS VARCHAR)" for part in parts)
    return linked[1], f"keyed({literal(f'{scope}/')} || concat_ws('/', {version}))"


def _value(table: Table, name: str, scope: str) -> str:
    if name == table.key[0]:
        linked, alone = surrogates(table, scope)
        return f"CASE WHEN is_linked THEN {linked} ELSE {alone} END"
    forms = [
        f"WHEN steps & {1 << number}::UBIGINT > 0 THEN {stepped(name, step[name])}"
        for number, step in enumerate(table.steps)
        if name in step
    ]
    return f"CASE {' '.join(reversed(forms))} END"

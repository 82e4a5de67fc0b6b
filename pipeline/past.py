"""Persons as they were: the golden record of a past night, made again.

`core.golden_record` holds only what is so now; the records of every night are in core. Today's
rules are applied to the records as core held them on that night, so after a change of the rules it
may differ from what was stored then.
"""

from dataclasses import replace
from datetime import date
from uuid import UUID

import duckdb
import ibis
import ibis.expr.types as ir

from transforms import TableByName, on
from transforms.identity import golden
from transforms.identity.mentions import mentions_of
from warehouse import persons
from warehouse.catalog import by_name, temporary
from warehouse.persons import Person


def find(
    connection: duckdb.DuckDBPyConnection, person_id: UUID, as_of: date | None = None
) -> Person | None:
    """As `warehouse.persons.find`, with the golden record of a past night, too."""
    found = persons.find(connection, person_id, as_of)
    if found is None or as_of is None:
        return found
    table = held_on(connection, as_of)
    links = table("core.person_mention")
    claim = claims(table, as_of, links.filter(links.person_id == ibis.uuid(found.person_id)))
    # Planning all the rules costs far more than running them for one person: once for both.
    connection.execute(f"CREATE OR REPLACE TEMP TABLE claim AS {ibis.to_sql(claim)}")
    claim = temporary(connection, "claim")
    records, origins = (
        connection.execute(f"SELECT {columns} FROM ({ibis.to_sql(made)}) ORDER BY ALL")
        .to_arrow_table()
        .to_pylist()
        for made, columns in (
            (golden.golden(claim), "status, role, source_record_id"),
            (golden.origins(claim), "attribute, role, source_record_id"),
        )
    )
    return replace(found, golden=records[0] if records else {}, origins=origins)


def held_on(connection: duckdb.DuckDBPyConnection, night: date) -> TableByName:
    """Tables with history of the lake, as they held on a night."""
    table = by_name(connection)
    return lambda name: on(table(name), night)


def claims(table: TableByName, night: date, holds: ir.Table) -> ir.Table:
    """`transforms.identity.golden.claims` of these links alone, from the tables of that night."""
    return golden.claims(mentions_of(holds, table, ibis.literal(night)), holds)

"""What stays of the erased: keyed surrogates in `ops.erasure`, by which staging keeps out what a
source still sends of them.

Kept are the surrogate of each of their records and NIKs; that of a household and a name in it, for
rows without a NIK; and, of records that speak of others too, those of every value that was emptied.
Without the key none of them can be computed.
"""

from dataclasses import dataclass

import duckdb

from common.definition import Source, Stream
from common.keys import key_of
from common.people import SELF, Speaking
from common.quoting import identifier, literal
from warehouse.speaking import (
    Place,
    any_of,
    cell_of,
    has_whole_nik,
    household_of,
    name_of,
    nik_of,
    without,
)

RECORD, EMPTIED, VALUE = "record", "emptied", "value"
"""What a surrogate stands for: a record that does not come back, a record of which values were
emptied, or a value."""
BITS = 1 << 20
REGISTRY = ("civil_registry", "resident")
FAMILY = ("civil_registry", "family")
GONE = f"""(SELECT source_record_id FROM lake.ops.erasure
    WHERE what IS DISTINCT FROM {literal(EMPTIED)})"""
"""SQL: all surrogates but those of records that only lost values: they are other people's."""


@dataclass(frozen=True)
class Rules:
    """How staged rows of a stream come in: `values`, column → SQL, and `kept_out`, SQL: whether
    the row is an erased person's own."""

    values: dict[str, str]
    kept_out: str


def rules(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> Rules:
    """What the erasures until now ask of rows of the stream, as text under our names."""
    plain = {name: identifier(name) for name in stream.names}
    known = {
        (found_source, found_stream, what)
        for found_source, found_stream, what in connection.execute(
            "SELECT DISTINCT source, stream, what FROM lake.ops.erasure"
        ).fetchall()
    }
    if not known or (stream.speaks is None and (source.name, stream.name, VALUE) not in known):
        return Rules(plain, "false")
    at_home = any((one, part) == FAMILY for one, part, _ in known)
    _recall(connection)
    place = Place("", "", tuple(stream.names), stream.speaks or Speaking())
    cells: dict[str, list[str]] = {}
    kept_out = []
    for role, person in place.people.items():
        own = [_is_among("gone", nik_surrogate(cell)) for cell in person.nik]
        if at_home:
            nobody = f"NOT {any_of(has_whole_nik(cell) for cell in person.nik)}"
            own += [
                f"({nobody} AND {_is_among('gone', home_surrogate(home, name))})"
                for home in person.household
                for name in person.name
            ]
        if role == SELF:
            kept_out += own
            continue
        for cell in person.emptied:
            cells.setdefault(cell, []).extend(own)
    if (source.name, stream.name, VALUE) in known:
        was_emptied = _is_among("emptied", record_surrogate(source, stream))
        every = [*cells, *(name for name in stream.names if name not in stream.key)]
        for person in place.people.values():
            every += person.emptied
        for cell in dict.fromkeys(every):
            value = value_surrogate(source, stream, cell)
            cells.setdefault(cell, []).append(f"({was_emptied} AND {_is_among('gone', value)})")
    emptied = {
        cell: f"coalesce({' OR '.join(some)}, false)" for cell, some in cells.items() if some
    }
    kept = " OR ".join(kept_out) or "false"
    return Rules(plain | without(emptied), f"coalesce({kept}, false)")


def _recall(connection: duckdb.DuckDBPyConnection) -> None:
    """Surrogates as lists in variables, each with a bit string that most others fall through: a
    join per cell would hold the rows of a batch in memory."""
    for name, chosen in (("gone", "IS DISTINCT FROM"), ("emptied", "=")):
        connection.execute(
            f"""
            SET VARIABLE {name} = (SELECT list(source_record_id) FROM lake.ops.erasure
                WHERE what {chosen} {literal(EMPTIED)});
            SET VARIABLE {name}_bits = (SELECT bitstring_agg(
                CAST(hash(source_record_id) % {BITS} AS INTEGER), 0, {BITS - 1})
                FROM lake.ops.erasure WHERE what {chosen} {literal(EMPTIED)})
            """
        )


def _is_among(name: str, surrogate: str) -> str:
    bit = f"CAST(hash({surrogate}) % {BITS} AS INTEGER)"
    return (
        f"(CASE WHEN get_bit(getvariable({literal(name + '_bits')}), {bit}) = 1 "
        f"THEN list_contains(getvariable({literal(name)}), {surrogate}) ELSE false END)"
    )


def nik_surrogate(cell: str) -> str:
    return _surrogate(*REGISTRY, nik_of(cell_of(cell)))


def home_surrogate(household: str, name: str) -> str:
    spelt = f"{household_of(cell_of(household))} || '|' || {name_of(cell_of(name))}"
    return _surrogate(*FAMILY, spelt)


def record_surrogate(source: Source, stream: Stream) -> str:
    return _surrogate(source.name, stream.name, key_of(stream))


def value_surrogate(source: Source, stream: Stream, cell: str) -> str:
    """Of a value in its record."""
    return _surrogate(source.name, stream.name, f"{key_of(stream)} || '|' || {cell_of(cell)}")


def _surrogate(source: str, stream: str, text: str) -> str:
    return f"record_id({literal(source)}, {literal(stream)}, {text})"

"""One person taken out of the lake (UU 27/2022 Ps 43), keeping the counts of the past.

Which columns name a person follows from `speaks` of every stream and table. Rows whose subject the
person is go from landing, quarantine and the tables of identifiers; `core` keeps their surrogate
without any name or number until the night of the erasure, so last month's counts still answer. In
rows about others the cells that name the person are emptied, and so is any other text of the lake
in which a value stands that tells the person apart. What linking made goes too: the next makes it
of what is left. Every step may be repeated; `pipeline.erasure` sees to it that all are done.
"""

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb

from common.definition import Source, Stream
from common.errors import DefinitionError, WarehouseBusy
from common.keys import row_text
from common.people import SELF, Speaking
from common.quoting import identifier, json_key, literal
from common.settings import Settings
from warehouse import forgotten
from warehouse.catalog import delete_orphans, forget_snapshots, lake_folder, transaction
from warehouse.forgotten import EMPTIED, FAMILY, RECORD, REGISTRY, VALUE
from warehouse.speaking import (
    NEWBORN,
    SPELT,
    Place,
    as_declared,
    cell_of,
    name_of,
    seek,
    without,
)
from warehouse.tables import LANDING_COLUMNS, landing_name, tables

MADE_OF_MENTIONS = ("core.birth_case", "core.golden_origin", "core.golden_record",
                    "core.golden_record_identity")  # fmt: skip
UNSURE_FROM = 0.05
ROUNDS = 5
PLACEHOLDERS = re.compile(r"(\d)\1{15}|1234567890123456|0123456789012345")
SHORTEST_NAME = 8
"""Letters of a name that may tell somebody apart in a text; it has two words at least."""


@dataclass
class Sought:
    """A person as the lake knows them.

    `values` by kind (see `warehouse.speaking`), mentions as role:record among them; `persons`: ids
    that linking gave. `records` (source, stream, record) go; `whole` ones are emptied and do not
    come back. `origins` (source, path) and `attachments` (SHA-256): files that named the person.
    `told_apart`: values that stand in nobody else's row. `unsure`: mentions that may be the person
    too, and how probably.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    persons: list[str] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    whole: list[list[str]] = field(default_factory=list)
    origins: list[list[str]] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)
    told_apart: dict[str, list[str]] = field(default_factory=dict)
    unsure: list[list[Any]] = field(default_factory=list)

    def add(self, kind: str, values: Iterable[str]) -> bool:
        """Whether any is new."""
        known = set(self.values.get(kind, []))
        self.values[kind] = sorted(known | set(values))
        return len(self.values[kind]) > len(known)


@dataclass(frozen=True)
class Held:
    """A table of the lake whose rows may name the person; of landing and quarantine, the stream.
    Quarantined rows of a stream are held apart, in columns."""

    table: str
    place: Place
    source: Source | None = None
    stream: Stream | None = None

    @property
    def is_table(self) -> bool:
        return self.place.relation == f"lake.{self.table}"


# Who it is


def find(connection: duckdb.DuckDBPyConnection, sources: dict[str, Source], asked: str) -> Sought:
    """The person that an id stands for: of a record, a person or a mention (role:record).

    Raises DefinitionError when nobody has it; the id is not repeated, for it may be a NIK.
    """
    sought = Sought()
    role, _, text = asked.rpartition(":")
    try:
        record = str(UUID(text))
    except ValueError:
        record = ""
    ids = "SELECT DISTINCT person_id FROM lake.core.person_mention WHERE valid_to IS NULL AND "
    if record and role:
        persons = _column(connection, ids + "source_record_id = ? AND role = ?", [record, role])
        known = persons or _has_row(connection, sources, record)
        sought.add("mention", [f"{_role(role)}:{record}"] if known else [])
    elif record:
        persons = _column(connection, ids + "(person_id = $1 OR source_record_id = $1 "
                          "AND role IN ('resident', 'book'))", [record])  # fmt: skip
        known = persons or _has_subject(connection, record)
        if known and not persons:
            sought.add("mention", [f"{SELF}:{record}"])
    else:
        known = False
    if not known:
        raise DefinitionError(
            "no person has this record id",
            next_step="find it with `muara sql` in core.person_identity, or give a person_id or a "
            "mention as `muara person show` writes it.",
        )
    sought.persons = sorted(persons)
    mentions = connection.execute(
        "SELECT role, CAST(source_record_id AS VARCHAR) FROM lake.core.person_mention "
        "WHERE valid_to IS NULL AND list_contains(?, CAST(person_id AS VARCHAR))",
        [sought.persons],
    ).fetchall()
    sought.add("mention", [f"{_role(one)}:{record}" for one, record in mentions])
    sought.unsure = _unsure(connection, sought)
    return sought


def _role(role: str) -> str:
    return SELF if role in ("resident", "book") else role


def _has_subject(connection: duckdb.DuckDBPyConnection, record: str) -> bool:
    of_subjects = [name for name, table in tables().items() if SELF in table.speaks.people]
    return any(
        connection.execute(
            f"SELECT 1 FROM lake.{name} WHERE source_record_id = ? LIMIT 1", [record]
        ).fetchall()
        for name in of_subjects
    )


def _has_row(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source], record: str
) -> bool:
    return any(
        connection.execute(
            f"SELECT 1 FROM lake.{landing_name(source, stream)} WHERE _record_id = ? LIMIT 1",
            [record],
        ).fetchall()
        for source in sources.values()
        for stream in source.streams
    )


def _unsure(connection: duckdb.DuckDBPyConnection, sought: Sought) -> list[list[Any]]:
    """Mentions of others that the newest linking found may be this person."""
    return [
        [mention, round(probability, 3)]
        for mention, probability in connection.execute(
            f"""
            WITH side AS (
                SELECT role || ':' || source_record_id AS one,
                    other_role || ':' || other_source_record_id AS other, probability
                FROM lake.ops.person_pair WHERE probability >= {UNSURE_FROM}),
            pair AS (FROM side UNION ALL SELECT other, one, probability FROM side),
            mine AS (
                SELECT role || ':' || source_record_id AS mention FROM lake.core.person_mention
                WHERE valid_to IS NULL AND list_contains(?, CAST(person_id AS VARCHAR)))
            SELECT other, max(probability) FROM pair
            WHERE one IN (FROM mine) AND other NOT IN (FROM mine)
            GROUP BY other ORDER BY 2 DESC, 1
            """,
            [sought.persons],
        ).fetchall()
    ]


def gather(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source], sought: Sought
) -> None:
    """Complete what is known of the person by every row that names them, until no row says more."""
    held = list(_held(connection, sources))
    for _ in range(ROUNDS):
        seek(connection, sought.values)
        grown = [_gather_from(connection, one, sought) for one in held]
        if not any(grown):
            break
    else:
        seek(connection, sought.values)


def _gather_from(connection: duckdb.DuckDBPyConnection, held: Held, sought: Sought) -> bool:
    place = held.place
    if not place.people:
        return False
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE met AS FROM {place.relation} "
        f"WHERE {place.is_of_the_person()}"
    )
    met = Place("met", place.record, place.columns, place.speaks)
    grown = False
    for role, person in met.people.items():
        for kind, (spelt, looks) in SPELT.items():
            for cell in getattr(person, kind):
                found = _column(
                    connection,
                    f"SELECT DISTINCT {spelt(cell_of(cell))} FROM met WHERE {met.matched(role)} "
                    f"AND regexp_matches({spelt(cell_of(cell))}, {literal(looks)})",
                )
                grown |= sought.add(kind, [one for one in found if _says_who(kind, one)])
    if held.stream and held.source:
        name = [held.source.name, held.stream.name]
        record = f"CAST({identifier(place.record)} AS VARCHAR)"
        own = _column(connection, f"SELECT DISTINCT {record} FROM met WHERE {met.goes()}")
        sought.records = _more(sought.records, [[*name, one] for one in own])
        for role, person in met.people.items():
            if person.whole:
                whole = _column(
                    connection, f"SELECT DISTINCT {record} FROM met WHERE {met.matched(role)}"
                )
                sought.whole = _more(sought.whole, [[*name, one] for one in whole])
        origins = _column(connection, "SELECT DISTINCT _origin FROM met WHERE _origin IS NOT NULL")
        sought.origins = _more(sought.origins, [[held.source.name, one] for one in origins])
        if "attachments" in place.columns:
            kept = _column(connection, "SELECT DISTINCT unnest(regexp_extract_all(attachments, "
                           "'[0-9a-f]{64}')) FROM met")  # fmt: skip
            sought.attachments = sorted({*sought.attachments, *kept})
    return grown


def _says_who(kind: str, value: str) -> bool:
    if kind == "nik":
        return not PLACEHOLDERS.fullmatch(value)
    return kind != "name" or not re.match(NEWBORN, value)


def _more(known: list[list[str]], found: list[list[str]]) -> list[list[str]]:
    return [list(one) for one in sorted({tuple(one) for one in (*known, *found)})]


# What goes


def take_out(
    connection: duckdb.DuckDBPyConnection,
    sources: dict[str, Source],
    sought: Sought,
    *,
    reference: str,
    night: date,
) -> dict[str, int]:
    """Take the person out of every table, in one transaction. Returns rows removed or emptied per
    table. Hold the writer's lock."""
    touched: dict[str, int] = {}
    seek(connection, sought.values)
    with transaction(connection):
        _forget_surrogates(connection, sought, reference, night)
        _forget_linking(connection, sought, touched)
        held = list(_held(connection, sources))
        for one in held:
            _remove_own(connection, one, sought, touched)
        own = [record for *_, record in sought.records]
        for name, table in tables().items():
            if table.history and not table.identity and "source_record_id" in table.columns:
                connection.execute(
                    f"UPDATE lake.{name} SET valid_to = greatest(?, valid_from), "
                    "closed_reason = 'erased' WHERE valid_to IS NULL "
                    "AND list_contains(?, CAST(source_record_id AS VARCHAR))",
                    [night, own],
                )
        _delete(connection, touched, "quarantine.waiver",
                "list_contains(?, CAST(source_record_id AS VARCHAR))", [own])  # fmt: skip
        for one in held:
            _empty(connection, one, one.place.emptied_cells(), reference, night, touched)
        sought.told_apart = _told_apart(connection, held, sought)
        if pattern := pattern_of(sought.told_apart):
            for one in _any_text(connection, held):
                cells = {
                    column: f"regexp_matches({identifier(column)}, {literal(pattern)}, 'i')"
                    for column in one.place.columns
                }
                _empty(connection, one, cells, reference, night, touched)
    return {name: count for name, count in touched.items() if count}


def _held(connection: duckdb.DuckDBPyConnection, sources: dict[str, Source]) -> Iterator[Held]:
    """Landing as it is (it keeps columns that a definition no longer names), the quarantine stream
    by stream, and the tables of the schema home that speak of people."""
    streams = {
        (source.name, stream.name): (source, stream)
        for source in sources.values()
        for stream in source.streams
    }
    for source, stream in streams.values():
        name = landing_name(source, stream)
        columns = tuple(
            column for column, kind in _described(connection, f"lake.{name}")
            if column not in LANDING_COLUMNS and kind == "VARCHAR"
        )  # fmt: skip
        speaks = as_declared(stream.speaks, columns)
        yield Held(name, Place(f"lake.{name}", "_record_id", columns, speaks), source, stream)
    for number, (name, part) in enumerate(connection.execute(
        "SELECT DISTINCT source, stream FROM lake.quarantine.row ORDER BY ALL"
    ).fetchall()):  # fmt: skip
        defined = streams.get((name, part))
        columns = tuple(_column(
            connection,
            "SELECT DISTINCT unnest(json_keys(row_as_sent)) FROM lake.quarantine.row "
            "WHERE source = ? AND stream = ? ORDER BY 1", [name, part]))  # fmt: skip
        members = "".join(
            f", json_extract_string(row_as_sent, {json_key(column)}) AS {identifier(column)}"
            for column in columns
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE refused_{number} AS SELECT quarantine_id, "
            f"source_record_id AS _record_id, row_hash AS _row_hash, origin AS _origin{members} "
            "FROM lake.quarantine.row WHERE source = ? AND stream = ?",
            [name, part],
        )
        speaks = as_declared(defined[1].speaks if defined else None, columns)
        place = Place(f"refused_{number}", "_record_id", columns, speaks)
        yield Held("quarantine.row", place, *(defined or (None, None)))
    for name, table in tables().items():
        if table.speaks.people and not table.remade:
            columns = tuple(table.columns)
            yield Held(name, Place(f"lake.{name}", "source_record_id", columns, table.speaks))


def _any_text(connection: duckdb.DuckDBPyConnection, held: list[Held]) -> Iterator[Held]:
    """Every text of the lake that is no part of a key, for a value may stand where nobody expects
    it; reference lists are the same for everybody."""
    for one in held:
        keys = one.stream.key if one.stream else tables()[one.table].key
        texts = one.place.columns if one.stream else _texts(one.table)
        columns = tuple(column for column in texts if column not in keys)
        place = Place(one.place.relation, one.place.record, columns, Speaking())
        yield Held(one.table, place, one.source, one.stream)
    there = {one.table for one in held}
    for name, table in tables().items():
        if name not in there and table.schema_name not in ("ref", "mart") and not table.remade:
            columns = tuple(column for column in _texts(name) if column not in table.key)
            record = "source_record_id" if "source_record_id" in table.columns else ""
            yield Held(name, Place(f"lake.{name}", record, columns, Speaking()))


def _texts(name: str) -> tuple[str, ...]:
    columns = tables()[name].columns.items()
    return tuple(column for column, kind in columns if kind.type == "VARCHAR")


def _forget_surrogates(
    connection: duckdb.DuckDBPyConnection, sought: Sought, reference: str, night: date
) -> None:
    records = [list(one) for one in (*sought.records, *sought.whole)]
    registry, family = (", ".join(map(literal, stream)) for stream in (REGISTRY, FAMILY))
    _remember(
        connection,
        "SELECT CAST(one[3] AS UUID), one[1], one[2] FROM (SELECT unnest(?) AS one)",
        [records],
        RECORD, reference, night,
    )  # fmt: skip
    _remember(
        connection,
        f"SELECT record_id({registry}, nik), {registry} FROM (SELECT unnest(?) AS nik)",
        [sought.values.get("nik", [])],
        RECORD, reference, night,
    )  # fmt: skip
    _remember(
        connection,
        f"SELECT record_id({family}, home || '|' || name), {family} "
        "FROM (SELECT unnest(?) AS home), (SELECT unnest(?) AS name)",
        [sought.values.get("household", []), sought.values.get("name", [])],
        VALUE, reference, night,
    )  # fmt: skip


def _remember(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    values: list[Any],
    what: str,
    reference: str,
    night: date,
) -> None:
    """Note the surrogates (surrogate, source, stream) of a query, once each."""
    connection.execute(
        f"""
        INSERT INTO lake.ops.erasure
        SELECT DISTINCT new.*, {literal(reference)}, DATE {literal(night)}, {literal(what)}
        FROM ({query}) AS new(source_record_id, source, stream)
        ANTI JOIN lake.ops.erasure USING (source_record_id)
        WHERE new.source_record_id IS NOT NULL
        """,
        values,
    )


def _forget_linking(
    connection: duckdb.DuckDBPyConnection, sought: Sought, touched: dict[str, int]
) -> None:
    for name in MADE_OF_MENTIONS:
        _delete(connection, touched, name, "list_contains(?, CAST(person_id AS VARCHAR))",
                [sought.persons])  # fmt: skip
    for name, table in tables().items():
        if table.remade:
            _delete(connection, touched, name, "true", [])
            # The catalog keeps the smallest and largest values that an emptied table ever had.
            connection.execute(f"DROP TABLE lake.{name}")
            connection.execute(table.ddl("lake"))


def _remove_own(
    connection: duckdb.DuckDBPyConnection, held: Held, sought: Sought, touched: dict[str, int]
) -> None:
    place = held.place
    own = [record for *_, record in sought.records]
    if not held.is_table:
        _delete(
            connection, touched, held.table,
            f"quarantine_id IN (SELECT quarantine_id FROM {place.relation} WHERE {place.goes()} "
            "OR list_contains(?, CAST(_record_id AS VARCHAR)))",
            [own],
        )  # fmt: skip
        connection.execute(
            f"DELETE FROM {place.relation} WHERE quarantine_id NOT IN "
            "(SELECT quarantine_id FROM lake.quarantine.row)"
        )
    elif held.stream or SELF in place.people:
        _delete(
            connection, touched, held.table,
            f"list_contains(?, CAST({identifier(place.record)} AS VARCHAR)) OR {place.goes()}",
            [own],
        )  # fmt: skip


def _empty(
    connection: duckdb.DuckDBPyConnection,
    held: Held,
    cells: dict[str, str],
    reference: str,
    night: date,
    touched: dict[str, int],
) -> None:
    """Empty these cells where their conditions hold, and remember what was in a source's row."""
    place = held.place
    keys = held.stream.key if held.stream else ()
    cells = {cell: condition for cell, condition in cells.items() if cell not in keys}
    if not cells:
        return
    source, stream = held.source, held.stream
    here = " OR ".join(
        f"({cell_of(cell)} IS NOT NULL AND {condition})" for cell, condition in cells.items()
    )
    values = without(cells)
    if source and stream:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE emptying AS FROM {place.relation} WHERE {here}"
        )
        if not connection.execute("FROM emptying LIMIT 1").fetchall():
            return
        if set(stream.key) <= set(place.columns):
            _remember_values(connection, source, stream, cells, reference, night)
        values["_row_hash"] = _rehashed(stream, place, values)
    names = ", ".join(f"{identifier(column)} = {value}" for column, value in values.items())
    if held.is_table:
        _run(connection, touched, held.table, f"UPDATE {place.relation} SET {names} WHERE {here}")
        return
    # A row without a key goes by its hash.
    names += (
        f", _record_id = CASE WHEN _record_id = _row_hash THEN {values['_row_hash']} "
        "ELSE _record_id END" if "_row_hash" in values else ""
    )  # fmt: skip
    before = _column(
        connection, f"SELECT CAST(quarantine_id AS VARCHAR) FROM {place.relation} WHERE {here}"
    )
    connection.execute(f"UPDATE {place.relation} SET {names} WHERE {here}")
    as_sent = ", ".join(
        f"{identifier(column)} := new.{identifier(column)}" for column in place.columns
    )
    _run(
        connection, touched, held.table,
        f"""
        UPDATE lake.quarantine.row AS entry SET source_record_id = new._record_id,
            row_hash = new._row_hash, row_as_sent = CAST(to_json(struct_pack({as_sent})) AS VARCHAR)
        FROM {place.relation} AS new WHERE entry.quarantine_id = new.quarantine_id
            AND list_contains(?, CAST(new.quarantine_id AS VARCHAR))
        """,
        [before],
    )  # fmt: skip


def _remember_values(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    cells: dict[str, str],
    reference: str,
    night: date,
) -> None:
    identity = f"{literal(source.name)}, {literal(stream.name)}"
    _remember(
        connection,
        f"SELECT {forgotten.record_surrogate(source, stream)}, {identity} FROM emptying",
        [], EMPTIED, reference, night,
    )  # fmt: skip
    for cell, condition in cells.items():
        _remember(
            connection,
            f"SELECT {forgotten.value_surrogate(source, stream, cell)}, {identity} FROM emptying "
            f"WHERE {condition}",
            [], VALUE, reference, night,
        )  # fmt: skip


def _rehashed(stream: Stream, place: Place, values: dict[str, str]) -> str:
    """SQL: the hash of the row as it will come in from now on; as it was where it was that of other
    columns."""
    if not set(stream.names) <= set(place.columns):
        return "_row_hash"

    def hashed(value_of: dict[str, str]) -> str:
        cells = (value_of.get(name, identifier(name)) for name in sorted(stream.names))
        return f"row_hash({row_text(cells)})"

    return f"CASE WHEN _row_hash = {hashed({})} THEN {hashed(values)} ELSE _row_hash END"


# What tells the person apart from everybody else


def _told_apart(
    connection: duckdb.DuckDBPyConnection, held: list[Held], sought: Sought
) -> dict[str, list[str]]:
    """The person's values by which a text can be known to speak of them and nobody else: numbers
    and addresses; names and other numbers that stand in no one else's row or list."""
    told = {kind: sought.values.get(kind, []) for kind in ("nik", "phone", "email")}
    names = [
        name
        for name in sought.values.get("name", [])
        if " " in name and len(name.replace(" ", "")) >= SHORTEST_NAME
    ]
    others = {"name": set(names), "also": set(sought.values.get("also", []))}
    for kind, spelt in (("name", name_of), ("also", lambda text: text)):
        common: set[str] = set()
        for one in held:
            cells = {cell for person in one.place.people.values() for cell in getattr(person, kind)}
            common |= _standing(connection, one.place.relation, cells, spelt, others[kind])
        for name, table in tables().items():
            if table.schema_name == "ref":
                columns = {column for column, of in table.columns.items() if of.type == "VARCHAR"}
                common |= _standing(connection, f"lake.{name}", columns, spelt, others[kind])
        told[kind] = sorted(others[kind] - common)
    return told


def _standing(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    cells: set[str],
    spelt: Any,
    sought: set[str],
) -> set[str]:
    """Which of these stand in a cell, as a whole or as some of its words."""
    if not cells or not sought:
        return set()
    found: set[str] = set()
    for cell in sorted(cells):
        found |= set(_column(
            connection,
            f"""
            SELECT DISTINCT unnest(list_filter(?::VARCHAR[], lambda one:
                contains(' ' || said || ' ', ' ' || one || ' ')))
            FROM (SELECT DISTINCT {spelt(cell_of(cell))} AS said FROM {relation})
            WHERE said IS NOT NULL
            """,
            [sorted(sought)],
        ))  # fmt: skip
    return found


def pattern_of(told_apart: dict[str, list[str]]) -> str:
    """A regular expression, of capitals and small letters alike, that finds any of these values in
    a text, in whatever way it is spaced; empty where there is none."""
    between = r"[ .-]?"
    found = [rf"\b{between.join(nik)}\b" for nik in told_apart.get("nik", [])]
    found += [
        rf"(\b(00)?62|\b0|\b)[ .()-]*{between.join(phone)}\b"
        for phone in told_apart.get("phone", [])
    ]
    found += [
        rf"\b{'[^A-Z0-9]+'.join(map(re.escape, name.split()))}\b"
        for name in told_apart.get("name", [])
    ]
    found += [
        r"\s+".join(map(re.escape, one.split()))
        for kind in ("email", "also")
        for one in told_apart.get(kind, [])
    ]
    return "|".join(found)


# Files of the lake


def forget_files(connection: duckdb.DuckDBPyConnection, data: Path) -> None:
    """Rewrite every file of which rows were deleted, and forget all that is past. Hold the writer's
    lock."""
    for schema, table in connection.execute(
        """
        SELECT DISTINCT schema_name, table_name
        FROM __ducklake_metadata_lake.ducklake_delete_file AS gone
        JOIN __ducklake_metadata_lake.ducklake_table AS of USING (table_id)
        JOIN __ducklake_metadata_lake.ducklake_schema USING (schema_id)
        WHERE gone.end_snapshot IS NULL AND of.end_snapshot IS NULL
        """
    ).fetchall():
        connection.execute(
            "CALL ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => 0)",
            [table, schema],
        )
    forget_snapshots(connection)
    _narrow_ranges(connection)
    connection.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
    delete_orphans(connection, data, older_than_days=0)


def _narrow_ranges(connection: duckdb.DuckDBPyConnection) -> None:
    """The catalog keeps the smallest and largest value that a column ever had: of texts and dates,
    only what the files of now hold."""
    catalog = "__ducklake_metadata_lake.ducklake"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE range_now AS
        SELECT table_id, column_id, min(min_value) AS lowest, max(max_value) AS highest
        FROM {catalog}_column AS of
        LEFT JOIN {catalog}_file_column_stats AS held USING (table_id, column_id)
        WHERE of.end_snapshot IS NULL AND of.column_type IN ('varchar', 'date')
        GROUP BY ALL
        """
    )
    with transaction(connection):
        connection.execute(
            f"""
            UPDATE {catalog}_table_column_stats AS ever
            SET min_value = lowest, max_value = highest FROM range_now
            WHERE ever.table_id = range_now.table_id AND ever.column_id = range_now.column_id
                AND (min_value IS DISTINCT FROM lowest OR max_value IS DISTINCT FROM highest)
            """
        )


def vacuum(settings: Settings) -> None:
    """SQLite keeps deleted bytes in free pages and in its log until told otherwise.

    Raises WarehouseBusy when a reader keeps the old log in use for too long.
    """
    deadline = time.monotonic() + settings.lock_timeout_seconds
    catalog = sqlite3.connect(
        lake_folder(settings) / "catalog.sqlite",
        isolation_level=None,
        timeout=settings.lock_timeout_seconds,
    )
    try:
        catalog.execute("PRAGMA secure_delete = ON")
        catalog.execute("VACUUM")
        while catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise WarehouseBusy(
                    "a reader keeps the old catalog in use",
                    next_step="end it, then `muara person erase --resume`.",
                )
            time.sleep(1)
    finally:
        catalog.close()


def _delete(
    connection: duckdb.DuckDBPyConnection,
    touched: dict[str, int],
    name: str,
    condition: str,
    values: list[Any],
) -> None:
    _run(connection, touched, name, f"DELETE FROM lake.{name} WHERE {condition}", values)


def _run(
    connection: duckdb.DuckDBPyConnection,
    touched: dict[str, int],
    name: str,
    statement: str,
    values: list[Any] | None = None,
) -> None:
    count = connection.execute(statement, values or []).fetchall()[0][0]
    touched[name] = touched.get(name, 0) + count


def _described(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str]]:
    return [
        (name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE {relation}").fetchall()
    ]


def _column(
    connection: duckdb.DuckDBPyConnection, query: str, values: list[Any] | None = None
) -> list[str]:
    return [
        str(one) for (one,) in connection.execute(query, values or []).fetchall() if one is not None
    ]

"""The way of one record: back to the row its agency sent, forward to the files that carried it.

Ids, counts and places only, never a value of the record. What is said of files was looked up in
them; of deliveries that are no longer kept nothing can be said.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from uuid import UUID

import duckdb
import pyarrow as pa

from common.definition import Source, Stream, load_sources
from common.errors import DefinitionError
from common.keys import key_of
from common.quoting import identifier, literal
from common.settings import Settings
from connectors.readers.files import kept_at, original
from pipeline.lineage import Graph, graph
from warehouse.catalog import reading
from warehouse.coarsening import surrogates
from warehouse.forgotten import EMPTIED
from warehouse.manifest import read_manifest, sha256_of
from warehouse.masks import masked, selection
from warehouse.publish import AUDIENCE, parquet, published_tables, scope
from warehouse.shares import read_contracts
from warehouse.tables import landing_name, tables

KEYS = ("source_record_id", "quarantine_id")
"""The columns by which one record can be found in what leaves the warehouse."""

READ_FROM = """
    (SELECT arg_max(file.sha256, file.batch_id) FROM lake.ops.file AS file
     WHERE file.source = $source AND file.stream = $stream AND file.outcome = 'loaded'
        AND file.origin = {origin} AND file.batch_id <= {batch})
"""
"""The bytes that a row came from: those of its file as last read. A replay reads no file again."""


@dataclass(frozen=True)
class Original:
    """The bytes of a file as they came, below MUARA_HOME, and the data rows, from 1, in which they
    hold the record. `rows` is None where the bytes are gone or no longer have the key's columns."""

    path: str
    sha256: str
    rows: tuple[int, ...] | None


@dataclass(frozen=True)
class Landed:
    """One version in landing, with what the ledger says of its batch. `row` is its place in that
    batch; it is empty for a deletion."""

    batch_id: int
    night: date
    committed_at: datetime
    strategy: str
    op: str
    row: int | None
    flags: list[str]
    origin: str | None
    original: Original | None


@dataclass(frozen=True)
class Version:
    """The versions of a core table with the same time and batches: usually one row."""

    table: str
    valid_from: date
    valid_to: date | None
    batch_id: int
    closed_batch_id: int | None
    closed_reason: str | None
    rows: int


@dataclass(frozen=True)
class Held:
    """One entry of the quarantine."""

    quarantine_id: str
    state: str
    rules: list[str]
    row: int
    origin: str | None
    original: Original | None
    first_batch_id: int
    first_night: date
    closed_batch_id: int | None
    closed_night: date | None


@dataclass(frozen=True)
class Granted:
    """A dataset that this record belongs to by tonight's contract: `rows` of it, now. None for a
    mart, where a record is only counted and cannot be found again."""

    audience: str
    dataset: str
    table: str
    rows: int | None


@dataclass(frozen=True)
class Carried:
    """A file that holds the record, below MUARA_HOME. `is_as_delivered`: its bytes are those that
    its manifest names."""

    audience: str
    night: str
    dataset: str
    file: str
    rows: int
    is_as_delivered: bool


@dataclass(frozen=True)
class Mention:
    """Another record that names the same person by NIK."""

    table: str
    column: str
    record_id: str


@dataclass(frozen=True)
class Trace:
    """Everything that is known of one record. `looked_into`: deliveries that were searched."""

    record_id: str
    source: str
    stream: str
    erased_on: date | None
    landed: list[Landed]
    held: list[Held]
    versions: list[Version]
    marts: list[str]
    granted: list[Granted]
    carried: list[Carried]
    looked_into: int
    mentions: list[Mention]


def trace(settings: Settings, record: str, *, person: bool = False) -> Trace:
    """Follow a record by its `source_record_id`, or by the id of a quarantine entry.

    With `person` also the records that name the same resident by NIK. Raises DefinitionError when
    no record has this id; the id is not repeated, for somebody may have typed a NIK.
    """
    with reading(settings) as connection:
        record_id, source, stream = _found(connection, settings, record)
        held = list(_held(connection, settings, source, stream, record_id))
        versions = list(_versions(connection, record_id))
        touched = {version.table for version in versions} | ({"quarantine.row"} if held else set())
        ids = [record_id, *(entry.quarantine_id for entry in held)]
        made = graph(settings)
        marts = sorted(_marts(made, touched))
        copies = list(_copies(settings, touched))
        return Trace(
            record_id=record_id,
            source=source.name,
            stream=stream.name,
            erased_on=_erased_on(connection, record_id),
            landed=list(_landed(connection, settings, source, stream, record_id)),
            held=held,
            versions=versions,
            marts=marts,
            granted=list(_granted(connection, settings, touched | set(marts), ids)),
            carried=list(_carried(connection, settings, copies, ids)),
            looked_into=len({folder for copy in copies for folder in copy.files.values()}),
            mentions=list(_mentions(connection, record_id)) if person else [],
        )


def _found(
    connection: duckdb.DuckDBPyConnection, settings: Settings, record: str
) -> tuple[str, Source, Stream]:
    """The record's id and where it came from: landing, quarantine or the list of the erased."""
    try:
        sought = str(UUID(record))
    except ValueError:
        raise DefinitionError(
            "this is no id of a record",
            next_step="give a source_record_id or a quarantine_id, for example from `muara sql "
            "'SELECT source_record_id FROM lake.core.person LIMIT 1'`.",
        ) from None
    sources = load_sources(settings)
    known = connection.execute(
        "SELECT CAST(source_record_id AS VARCHAR), source, stream FROM lake.quarantine.row "
        "WHERE source_record_id = $1 OR quarantine_id = $1 UNION ALL "
        "SELECT CAST(source_record_id AS VARCHAR), source, stream FROM lake.ops.erasure "
        "WHERE source_record_id = $1",
        [sought],
    ).fetchall()
    for record_id, source, stream in known:
        if source in sources:
            return record_id, sources[source], sources[source].stream(stream)
    for one in sources.values():
        for part in one.streams:
            landing = landing_name(one, part)
            if connection.execute(
                f"SELECT 1 FROM lake.{landing} WHERE _record_id = ? LIMIT 1", [sought]
            ).fetchone():
                return sought, one, part
    raise DefinitionError(
        "no record has this id",
        next_step="ids differ between warehouses, and in what leaves them: take it from "
        "`muara sql`, in a core table or in lake.quarantine.row.",
    )


def _erased_on(connection: duckdb.DuckDBPyConnection, record_id: str) -> date | None:
    row = connection.execute(
        f"SELECT erased_on FROM lake.ops.erasure WHERE source_record_id = ? "
        f"AND what IS DISTINCT FROM {literal(EMPTIED)}",
        [record_id],
    ).fetchone()
    return row[0] if row else None


def _landed(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: Source,
    stream: Stream,
    record_id: str,
) -> Iterator[Landed]:
    for batch, night, at, strategy, op, row, flags, origin, sha256 in connection.execute(
        f"""
        SELECT _batch_id, ledger.night, committed_at, strategy, _op, _row, coalesce(_flags, []),
            _origin, {READ_FROM.format(origin="_origin", batch="_batch_id")}
        FROM lake.{landing_name(source, stream)}
        JOIN lake.ops.ledger ON ledger.batch_id = _batch_id
        WHERE _record_id = $record ORDER BY _batch_id
        """,
        {"record": record_id, "source": source.name, "stream": stream.name},
    ).fetchall():
        found = _original(connection, settings, source, stream, record_id, origin, sha256)
        yield Landed(batch, night, at, strategy, op, row, flags, origin, found)


def _held(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: Source,
    stream: Stream,
    record_id: str,
) -> Iterator[Held]:
    for entry, state, rules, row, origin, first, night, closed, until, sha256 in connection.execute(
        f"""
        SELECT CAST(quarantine_id AS VARCHAR), state, rules, row_number, origin, first_batch_id,
            first_night, closed_batch_id, closed_night,
            {READ_FROM.format(origin="held.origin", batch="first_batch_id")}
        FROM lake.quarantine.row AS held
        WHERE source_record_id = $record ORDER BY first_batch_id, row_number
        """,
        {"record": record_id, "source": source.name, "stream": stream.name},
    ).fetchall():
        found = _original(connection, settings, source, stream, record_id, origin, sha256)
        yield Held(entry, state, rules, row, origin, found, first, night, closed, until)


def _original(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: Source,
    stream: Stream,
    record_id: str,
    origin: str | None,
    sha256: str | None,
) -> Original | None:
    """Where the bytes of a file are, and in which of its rows the record's key stands."""
    if sha256 is None:
        return None
    path = kept_at(settings, source.name, sha256)
    rows = None
    if path.exists():
        sent = {column.name: name for name, column in stream.columns.items()}
        key = [sent[part] for part in stream.key]
        where = f"{source.name}.{stream.name}"
        keys = [
            batch.select(key)
            for batch in original(stream, where, path, origin or "")
            if set(key) <= set(batch.schema.names)
        ]
        if keys:
            rows = _rows(connection, source, stream, record_id, pa.Table.from_batches(keys))
    return Original(path.relative_to(settings.home).as_posix(), sha256, rows)


def _rows(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    record_id: str,
    keys: pa.Table,
) -> tuple[int, ...]:
    """The rows, from 1, whose key (the columns given) is the record's."""
    sent = {column.name: name for name, column in stream.columns.items()}
    text = key_of(stream, lambda part: identifier(sent[part]))
    connection.register("keys", keys.append_column("_row", pa.array(range(1, len(keys) + 1))))
    found = connection.execute(
        f"SELECT _row FROM keys WHERE record_id(?, ?, {text}) = ? ORDER BY _row",
        [source.name, stream.name, record_id],
    ).fetchall()
    connection.unregister("keys")
    return tuple(row for (row,) in found)


def _versions(connection: duckdb.DuckDBPyConnection, record_id: str) -> Iterator[Version]:
    for table in tables().values():
        if not table.history:
            continue
        for row in connection.execute(
            f"""
            SELECT valid_from, valid_to, batch_id, closed_batch_id, closed_reason, count(*)
            FROM lake.{table.name} WHERE source_record_id = ? GROUP BY ALL ORDER BY 1, 3
            """,
            [record_id],
        ).fetchall():
            yield Version(table.name, *row)


def _marts(made: Graph, touched: Iterable[str]) -> set[str]:
    """The marts that are computed from one of these tables."""
    feeds = tuple(f"{table}." for table in touched)
    return {
        name.rpartition(".")[0]
        for name, origin in made.items()
        if name.startswith("mart.") and any(one.startswith(feeds) for one in origin.values)
    }


def _granted(
    connection: duckdb.DuckDBPyConnection, settings: Settings, touched: set[str], ids: list[str]
) -> Iterator[Granted]:
    for agency, contract in read_contracts(settings).in_force.items():
        for dataset in contract.datasets:
            if dataset.table not in touched:
                continue
            rows = None
            if key := next((name for name in KEYS if name in tables()[dataset.table].key), None):
                ((rows,),) = connection.execute(
                    f"SELECT count(*) FROM lake.{dataset.table} "
                    f"WHERE ({dataset.row_filter}) AND {key} IN (SELECT unnest(?::UUID[]))",
                    [ids],
                ).fetchall()
            if rows != 0:
                yield Granted(agency, dataset.name, dataset.table, rows)


@dataclass(frozen=True)
class Copy:
    """The files of one dataset that are still kept, each with the folder of its delivery, and the
    column by which to find a record."""

    audience: str
    scope: str
    dataset: str
    table: str
    key: str
    files: dict[Path, Path]


def _copies(settings: Settings, touched: set[str]) -> Iterator[Copy]:
    for agency, contract in read_contracts(settings).in_force.items():
        folders = sorted((settings.home / "extracts" / agency).glob("[!.]*"))
        for dataset in contract.datasets:
            key = next((name for name, _ in dataset.columns if name in KEYS), None)
            if key and dataset.table in touched:
                files = {
                    folder / f"{dataset.name}.parquet": folder
                    for folder in folders
                    if key in _columns(folder, dataset.name)
                }
                yield Copy(agency, agency, dataset.name, dataset.table, key, files)
    folders = [one for one in (settings.home / "published").glob("[!.]*") if not one.is_symlink()]
    for table in published_tables():
        if table.name in touched and "source_record_id" in dict(selection(table, AUDIENCE)):
            for folder in sorted(folders):
                key = scope(table, read_manifest(folder)["snapshot"])
                files = {parquet(folder, table): folder}
                yield Copy(AUDIENCE, key, table.name, table.name, "source_record_id", files)


def _columns(folder: Path, dataset: str) -> list[str]:
    """As the manifest of a delivery lists them; what it does not list was not delivered."""
    return read_manifest(folder).get("datasets", {}).get(dataset, {}).get("columns", [])


def _carried(
    connection: duckdb.DuckDBPyConnection, settings: Settings, copies: list[Copy], ids: list[str]
) -> Iterator[Carried]:
    for copy in copies:
        there = [str(file) for file in copy.files if file.exists()]
        if not there:
            continue
        found = connection.execute(
            f"""
            SELECT filename, count(*)
            FROM read_parquet($files, filename = true, union_by_name = true)
            WHERE CAST({identifier(copy.key)} AS VARCHAR) IN (SELECT unnest($ids::VARCHAR[]))
            GROUP BY ALL ORDER BY ALL
            """,
            {"files": there, "ids": [*ids, *_masked(connection, copy, ids)]},
        ).fetchall()
        for name, rows in found:
            file, folder = Path(name), copy.files[Path(name)]
            manifest = read_manifest(folder)
            sums = {one["path"]: one["sha256"] for one in manifest["files"]}
            yield Carried(
                audience=copy.audience,
                night=manifest["night"],
                dataset=copy.dataset,
                file=file.relative_to(settings.home).as_posix(),
                rows=rows,
                is_as_delivered=sums.get(file.relative_to(folder).as_posix()) == sha256_of(file),
            )


def _masked(connection: duckdb.DuckDBPyConnection, copy: Copy, ids: list[str]) -> list[str]:
    """The ids as this audience sees them, unless its contract grants them in clear."""
    table = tables()[copy.table]
    if copy.audience == AUDIENCE and table.is_about_people:
        seen = ", ".join(f"CAST({one} AS VARCHAR)" for one in surrogates(table, copy.scope))
        query = (
            f"SELECT DISTINCT unnest([{seen}]) FROM lake.{table.name} "
            f"WHERE {copy.key} IN (SELECT unnest(?::UUID[]))"
        )
    elif pair := masked(copy.key, table.all_columns[copy.key], copy.scope):
        keys = f"(SELECT unnest(?::UUID[]) AS {identifier(copy.key)})"
        query = f"SELECT CAST({pair[1]} AS VARCHAR) FROM {keys}"
    else:
        return []
    return [one for (one,) in connection.execute(query, [ids]).fetchall()]


def _mentions(connection: duckdb.DuckDBPyConnection, record_id: str) -> Iterator[Mention]:
    """By the NIKs that the registry ever gave for this record; they stay inside the query."""
    niks = "SELECT nik FROM lake.core.person_identity WHERE source_record_id = $1"
    for table in tables().values():
        niks_in = (cell for person in table.speaks.people.values() for cell in person.nik)
        for column in () if table.remade else niks_in:
            for (one,) in connection.execute(
                f"SELECT DISTINCT CAST(source_record_id AS VARCHAR) FROM lake.{table.name} "
                f"WHERE {column} IN ({niks}) AND source_record_id <> $1 ORDER BY 1",
                [record_id],
            ).fetchall():
                yield Mention(table.name, column, one)

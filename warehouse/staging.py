"""The staging area of one batch: outside the lake, gone when the batch ends.

Rows as read go to one Parquet file, seen through the view `raw`; `typed`, values by declaration as
far as rules need them, is a view of it: rules are asked in few passes. What follows from them is
narrow and stays in memory (or spills): `past` (of a replay: whence each row came), `staged`
(surrogates, and which rows are duplicates), `broken` (row × rule), `verdict` (row → its home). The
lake is attached for reading; only `warehouse.load` writes to it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from common import scratch
from common.definition import Source, Stream
from common.errors import Imbalance, WarehouseBusy
from common.keys import key_of, row_text
from common.quoting import identifier, json_key, literal
from common.settings import Settings
from warehouse import forgotten
from warehouse.catalog import ROW_GROUP, attach, naming_damage, open_duckdb
from warehouse.tables import landing_name

EXACT_DUPLICATE = "exact_duplicate"
SUPERSEDED = "superseded"
ERASED = "erased_on_request"
AS_PARQUET = f"(FORMAT parquet, COMPRESSION lz4, ROW_GROUP_SIZE {ROW_GROUP})"


@dataclass(frozen=True)
class Staging:
    """One batch being worked on."""

    connection: duckdb.DuckDBPyConnection
    source: Source
    stream: Stream
    folder: Path

    def file(self, name: str) -> Path:
        """Where the rows behind the view `name` are."""
        return self.folder / f"{name}.parquet"

    @property
    def where(self) -> str:
        return f"{self.source.name}.{self.stream.name}"

    @property
    def here(self) -> str:
        """SQL: a row of `quarantine` or `ops` is of this stream."""
        source, stream = literal(self.source.name), literal(self.stream.name)
        return f"(source = {source} AND stream = {stream})"

    @property
    def landing(self) -> str:
        return f"lake.{landing_name(self.source, self.stream)}"


@contextmanager
def staging(settings: Settings, source: Source, stream: Stream) -> Iterator[Staging]:
    """An empty staging area with the lake attached; locked while it is in use."""
    with scratch.scratch(settings.home / "staging", f"{source.name}.{stream.name}.") as folder:
        connection = open_duckdb(settings, spill=folder / "spill")
        try:
            connection.execute(f"SET memory_limit = {literal(f'{settings.batch_memory_limit}B')}")
            attach(connection, settings)
            with naming_damage(settings):
                yield Staging(connection, source, stream, folder)
        finally:
            connection.close()


def clear_abandoned(settings: Settings) -> None:
    """Remove the staging areas that killed batches left."""
    scratch.clear_abandoned(settings.home / "staging")


def stage(area: Staging, pieces: Iterable[tuple[pa.RecordBatch, str | None]]) -> None:
    """Write the batches (text columns under the source's names) to the file behind `raw`, with
    `_row` (from 1, in the order of arrival), `_origin`, `_row_hash` and `_key_id`.

    An error of the reader comes out as it went in.
    """
    _note_erasures(area)
    sent, ours = list(area.stream.columns), area.stream.names
    schema = pa.schema(
        [("_row", pa.int64()), ("_origin", pa.string()), *((name, pa.string()) for name in ours)]
    )
    failures: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        first = 1
        try:
            for rows, origin in pieces:
                numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
                origins = pa.repeat(pa.scalar(origin, pa.string()), rows.num_rows)
                columns = [numbers, origins, *(rows.column(name) for name in sent)]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
                first += rows.num_rows
        except BaseException as error:
            failures.append(error)
            raise

    # As a bare stream: a reader would be read ahead by pyarrow, up to a GiB of rows.
    stream = pa.RecordBatchReader.from_batches(schema, batches()).__arrow_c_stream__()
    area.connection.register("pieces", stream)
    try:
        area.connection.execute(
            f"""
            COPY (
                WITH kept AS (SELECT _row, _origin, {_remembered(area)} FROM pieces)
                SELECT *, {_row_hash(area)} AS _row_hash, {_key_id(area)} AS _key_id FROM kept
            ) TO {literal(area.file("raw"))} {AS_PARQUET}
            """
        )
    except duckdb.Error:
        if failures:
            raise failures[0] from None
        raise
    finally:
        area.connection.unregister("pieces")
    area.connection.execute(
        f"CREATE VIEW raw AS FROM read_parquet({literal(area.file('raw'))});"
        "CREATE TABLE past (_row BIGINT, _entry UUID, _place BIGINT, _known BIGINT, "
        "_found VARCHAR[], _newer BOOLEAN)"
    )


def withdraw(area: Staging, origins: Collection[str]) -> None:
    """Leave out of `raw` what came from these files, or from within these archives."""
    if not origins:
        return
    area.connection.register("withdrawn", pa.table({"origin": pa.array(origins, pa.string())}))
    kept = [
        row
        for (row,) in area.connection.execute(
            f"""
            SELECT DISTINCT _origin FROM read_parquet({literal(area.file("raw"))})
            SEMI JOIN withdrawn ON _origin = origin OR starts_with(_origin, origin || '/')
            """
        ).fetchall()
    ]
    area.connection.unregister("withdrawn")
    if kept:
        area.connection.execute("CREATE TABLE withdrawn AS SELECT unnest(?) AS _origin", [kept])
        area.connection.execute(
            f"""
            CREATE OR REPLACE VIEW raw AS
            FROM read_parquet({literal(area.file("raw"))}) ANTI JOIN withdrawn USING (_origin)
            """
        )


def _remembered(area: Staging) -> str:
    """SQL: our columns, emptied where they mention an erased person."""
    values = forgotten.rules(area.connection, area.source, area.stream).values
    return ", ".join(f"{value} AS {identifier(name)}" for name, value in values.items())


def _note_erasures(area: Staging) -> None:
    """How many erasures the rows were read with, before any is."""
    area.connection.execute(
        "CREATE TABLE erasures_seen AS SELECT count(*) AS number FROM lake.ops.erasure"
    )


def require_erasures_seen(area: Staging) -> None:
    """Raises WarehouseBusy when somebody was erased since the rows were read: they may hold what
    must not come back. Hold the writer's lock."""
    (unseen,) = area.connection.execute(
        "SELECT count(*) - (SELECT number FROM erasures_seen) FROM lake.ops.erasure"
    ).fetchone() or (0,)
    if unseen:
        raise WarehouseBusy(
            "a person was erased while the batch was read",
            where=area.where,
            next_step="nothing was loaded; run it again.",
        )


def _row_hash(area: Staging) -> str:
    return f"row_hash({row_text(map(identifier, sorted(area.stream.names)))})"


def _key_id(area: Staging) -> str:
    source, stream = literal(area.source.name), literal(area.stream.name)
    return f"record_id({source}, {stream}, {key_of(area.stream)})"


def stage_own(area: Staging) -> int:
    """Like `stage`, but the rows are the warehouse's own: open entries of quarantine, and the
    newest sound version of every record that the source still has. Returns how many were read.

    Both keep the hash and the origin under which they first came. An entry is read by the names of
    its columns; one that the definition gained since is empty. A landed row is read only while it
    is whole: one that landed before the definition gained a column lacks what the source may well
    have sent, so it keeps its verdict until it comes again.

    `past` tells of each row its entry (if any), its place in its batch or file, the batch that
    brought it, what was found then (flags; of an entry, its rules) and whether a newer row of the
    same record is among them.
    """
    _note_erasures(area)
    names = ", ".join(identifier(name) for name in area.stream.names)
    sent = ", ".join(
        f"json_extract_string(row_as_sent, {json_key(name)}) AS {identifier(name)}"
        for name in area.stream.names
    )
    (count,) = area.connection.execute(
        f"""
        COPY (
            WITH own AS (
                SELECT quarantine_id AS _entry, NULL AS _landed_id, first_batch_id AS _known,
                    row_number AS _place, rules AS _found, origin AS _origin,
                    row_hash AS _sent_hash, {sent}
                FROM lake.quarantine.row
                WHERE {area.here} AND state = 'open'
                UNION ALL
                SELECT NULL, _record_id, _batch_id, _row, _flags, _origin, _row_hash, {names}
                FROM {area.landing} SEMI JOIN (
                    SELECT _record_id, max(_batch_id) AS _batch_id FROM {area.landing}
                    GROUP BY _record_id) AS newest USING (_record_id, _batch_id)
                WHERE _op IN ('insert', 'update')),
            kept AS (
                SELECT _entry, _landed_id, _known, _place, _found, _origin, _sent_hash,
                    {_remembered(area)}
                FROM own),
            keyed AS (
                SELECT *, {_key_id(area)} AS _key_id, {_row_hash(area)} AS _row_hash FROM kept)
            SELECT row_number() OVER () AS _row, _origin, {names}, _sent_hash AS _row_hash,
                _key_id, _entry, _place, _known, _found
            FROM keyed WHERE _landed_id IS NULL
                OR (_landed_id = _key_id AND _sent_hash = _row_hash)
        ) TO {literal(area.file("raw"))} {AS_PARQUET}
        """
    ).fetchone() or (0,)
    area.connection.execute(
        f"""
        CREATE VIEW raw AS FROM read_parquet({literal(area.file("raw"))});
        CREATE TABLE past AS
        WITH record AS (
            SELECT coalesce(_key_id, _row_hash) AS _record_id, max(_known) AS _newest FROM raw
            GROUP BY 1 HAVING count(*) > 1)
        SELECT _row, _entry, _place, _known, _found,
            coalesce(_known < _newest, false) AS _newer
        FROM raw LEFT JOIN record ON record._record_id = coalesce(raw._key_id, raw._row_hash)
        """
    )
    return int(count)


def judge_duplicates(area: Staging) -> None:
    """Make `staged`, one narrow row per row of `raw`: `_record_id`, `_row_hash`, `_excluded` (a
    reason or NULL) and `_rows_with_key`, the number of different rows that share the record.

    A row without a complete key gets its row hash as surrogate.
    """
    kept_out = forgotten.rules(area.connection, area.source, area.stream).kept_out
    area.connection.execute(
        f"""
        CREATE TABLE staged AS
        WITH older AS (SELECT _row FROM past WHERE _newer),
        first_copy AS (
            SELECT _row_hash, min(_row) AS _first FROM raw ANTI JOIN older USING (_row)
            GROUP BY _row_hash HAVING count(*) > 1),
        excluded AS (
            SELECT _row, _origin, _row_hash, coalesce(_key_id, _row_hash) AS _record_id,
                CASE WHEN coalesce(_key_id IN {forgotten.GONE}, false) OR {kept_out}
                         THEN {literal(ERASED)}
                     WHEN _row IN (FROM older) THEN {literal(SUPERSEDED)}
                     WHEN _row > _first THEN {literal(EXACT_DUPLICATE)} END AS _excluded
            FROM raw LEFT JOIN first_copy USING (_row_hash)),
        shared AS (
            SELECT _record_id, count(*) AS _rows FROM excluded WHERE _excluded IS NULL
            GROUP BY _record_id HAVING count(*) > 1)
        SELECT excluded.*, coalesce(_rows, 1) AS _rows_with_key
        FROM excluded LEFT JOIN shared USING (_record_id)
        """
    )


def type_rows(
    area: Staging, typed: Callable[[ir.Table], ir.Table], is_needed: Callable[[str], bool]
) -> None:
    """Make the view `typed`: the rows that are not excluded, with `_row`, `_rows_with_key` and the
    needed typed columns."""
    backend = ibis.duckdb.from_connection(area.connection)
    staged = backend.table("staged")
    # Few rows are odd; the others need no join to be found.
    odd = staged.filter(staged["_excluded"].notnull() | (staged["_rows_with_key"] > 1))
    joined = backend.table("raw").left_join(
        odd.select("_row", "_excluded", "_rows_with_key"), "_row"
    )
    rows = joined.filter(joined["_excluded"].isnull()).mutate(
        _rows_with_key=joined["_rows_with_key"].fill_null(1)
    )
    names = ["_row", "_rows_with_key", *area.stream.names]
    expression = typed(rows.select(*names))
    area.connection.execute(f"CREATE VIEW typed AS {_only(expression, is_needed)}")


def give_known(
    area: Staging,
    typed: Callable[[ir.Table], ir.Table],
    is_needed: Callable[[str], bool],
    unread: str | None,
) -> None:
    """Make `known`, for rules across rows: `typed`, and the newest sound landed rows that the batch
    has not read again (`unread`, SQL over landing; None where there are none), with `_row` NULL."""
    if unread is None:
        area.connection.execute("CREATE VIEW known AS FROM typed")
        return
    backend = ibis.duckdb.from_connection(area.connection)
    names = ", ".join(f"landed.{identifier(name)}" for name in area.stream.names)
    area.connection.execute(
        f"""
        CREATE VIEW landed_elsewhere AS
        SELECT NULL::BIGINT AS _row, 1::BIGINT AS _rows_with_key, {names}
        FROM {area.landing} AS landed SEMI JOIN (
            SELECT _record_id, max(_batch_id) AS _batch_id FROM {area.landing}
            WHERE {unread} GROUP BY _record_id
            HAVING arg_max(_op, _batch_id) IN ('insert', 'update')
        ) AS newest USING (_record_id, _batch_id)
        ANTI JOIN staged USING (_record_id)
        """
    )
    elsewhere = _only(typed(backend.table("landed_elsewhere")), is_needed)
    area.connection.execute(f"CREATE VIEW known AS FROM typed UNION ALL BY NAME ({elsewhere})")


def _only(rows: ir.Table, is_needed: Callable[[str], bool]) -> str:
    """SQL: the technical columns and those that are needed."""
    needed = [name for name in rows.columns if name.startswith("_") or is_needed(name)]
    return str(ibis.to_sql(rows.select(*needed), dialect="duckdb"))


def check_arrival(area: Staging, extracted: int, announced: int | None) -> None:
    """What the reader counted, what the source announced and what was staged are the same.

    Raises Imbalance.
    """
    (staged,) = area.connection.execute("SELECT count(*) FROM staged").fetchone() or (0,)
    for count, who in ((extracted, "the reader counted"), (announced, "the source announced")):
        if count is not None and count != staged:
            raise Imbalance(
                f"{who} {count} rows, {staged} were staged",
                where=area.where,
                next_step="nothing was loaded; run `muara sync` again and report it if it recurs.",
            )


def give_context(area: Staging, today: date) -> None:
    """What rules may refer to beside the row: `night` (today) and, for every stream of the same
    source, `current_<stream>`: its newest sound rows as landed (text columns)."""
    area.connection.execute(f"CREATE TABLE night AS SELECT DATE {literal(today)} AS today")
    for sibling in area.source.streams:
        columns = ", ".join(
            f"arg_max({identifier(name)}, _batch_id) AS {identifier(name)}"
            for name in sibling.names
        )
        area.connection.execute(
            f"""
            CREATE VIEW current_{sibling.name} AS
            WITH newest AS (
                SELECT _record_id, arg_max(_op, _batch_id) AS _op
                FROM lake.{landing_name(area.source, sibling)} GROUP BY _record_id)
            SELECT {columns}
            FROM lake.{landing_name(area.source, sibling)} AS landed
            WHERE landed._op IN ('insert', 'update') AND _record_id IN (
                SELECT _record_id FROM newest WHERE _op <> 'delete')
            GROUP BY _record_id
            """
        )


def found_before(area: Staging, rules: list[str]) -> bool:
    """Whether the rows of `stage_own` broke of these rules what is `broken` now. Of an entry the
    critical rules count, for its warnings were not kept."""
    area.connection.register("asked_rules", pa.table({"rule": pa.array(rules, pa.string())}))
    differs = area.connection.execute(
        """
        WITH before AS (
            SELECT _row, _entry, unnest(_found) AS rule FROM past JOIN staged USING (_row)
            WHERE _excluded IS NULL),
        now AS (
            SELECT _row, rule FROM broken JOIN past USING (_row)
            WHERE _entry IS NULL OR severity = 'critical')
        (SELECT _row, rule FROM before SEMI JOIN asked_rules USING (rule) EXCEPT FROM now)
        UNION ALL
        (FROM now EXCEPT SELECT _row, rule FROM before) LIMIT 1
        """
    ).fetchone()
    area.connection.unregister("asked_rules")
    return differs is None

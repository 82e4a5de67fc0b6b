"""Landing, quarantine, core and ledger of one batch, in one transaction of the lake.

The law: `extracted = inserted + updated + unchanged + quarantined + excluded`, per source row, each
once. The counts are taken from the tables after the write; a row without exactly one home blocks
the commit and is named by its row number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from common import clock
from common.errors import BatchStopped, Imbalance, MuaraError, TooManyDeletions
from common.log import stage as mark
from common.quoting import identifier, json_key, literal
from common.settings import Settings
from warehouse import drift, finding, fingerprint, judgement, quarantine, submission
from warehouse.account import has_loaded, last_batch
from warehouse.catalog import insert, transaction, writer_lock, writing
from warehouse.judgement import Judgement
from warehouse.merge import Conform, Typed, apply_batch
from warehouse.staging import SUPERSEDED, Staging, require_erasures_seen
from warehouse.tables import LANDING_COLUMNS, tables

NAMED_AT_MOST = 20


@dataclass
class Account:
    """The ledger row of one batch: counts of source rows, see `ops.ledger`."""

    source: str
    stream: str
    night: date
    strategy: str
    definition_hash: str
    started_at: datetime
    batch_id: int = 0
    outcome: str = "loaded"
    extracted: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    excluded: int = 0
    excluded_reasons: dict[str, int] = field(default_factory=dict)
    deleted: int = 0
    flagged: int = 0
    files_loaded: int = 0
    files_failed: int = 0
    error_code: str | None = None
    error_message: str | None = None

    @property
    def homes(self) -> int:
        return self.inserted + self.updated + self.unchanged + self.quarantined + self.excluded


@dataclass(frozen=True)
class Reach:
    """Of which records of the stream absence means deletion, and how far the source is covered.

    `scope`: `all`, those of the `files` read, those in `buckets` (key hashes of `bits` leading
    bits), or `none`; none as well when the rows are the warehouse's `own` (a replay).
    `interval`: (low, high) of a cursor. `sums`: bucket, rows, sum (Arrow) as the source gave them,
    for `shape`; with scope `all` they replace what was known, else only that of `buckets`.
    """

    scope: str = "all"
    buckets: Sequence[int] = ()
    bits: int = 0
    shape: str = ""
    sums: pa.Table | None = None
    interval: tuple[datetime | None, datetime] | None = None


@dataclass(frozen=True)
class FileRecord:
    """A file's outcome for `ops.file`; its `version` for `ops.listing`; of a workbook also
    what was found on its sheets, for `ops.sheet`: those of a known layout, and the rows of each
    other one."""

    origin: str
    sha256: str
    size: int
    outcome: str
    error: str | None
    version: str | None
    sheets: Sequence[dict[str, Any]] = ()
    other_sheets: dict[str, int] = field(default_factory=dict)


def give_verdicts(area: Staging, night: date) -> None:
    """Make `verdict`: per staged row its home-to-be (`excluded`, `quarantined` or `sound`), the
    critical rules it broke, its flags, and whether it is sound only because people `waived` what it
    broke; then those rules are among its flags."""
    area.connection.execute(
        """
        CREATE TABLE judged AS
        SELECT _row,
            coalesce(list_sort(list(DISTINCT rule) FILTER (severity = 'critical')), []) AS rules,
            coalesce(list_sort(list(DISTINCT rule) FILTER (severity = 'warning')), []) AS flags
        FROM broken GROUP BY _row
        """
    )
    quarantine.find_waived(area, night)
    area.connection.execute(
        f"""
        UPDATE judged SET rules = [],
            flags = list_sort(list_concat(flags, rules, [{literal(quarantine.WAIVED)}]))
        WHERE _row IN (FROM let_pass);
        CREATE VIEW verdict AS
        SELECT staged._row, _record_id, _row_hash, _excluded, _origin, _entry,
            coalesce(rules, []) AS rules, coalesce(flags, []) AS flags,
            list_contains(coalesce(flags, []), {literal(quarantine.WAIVED)}) AS waived,
            CASE WHEN _excluded IS NOT NULL THEN 'excluded'
                 WHEN len(coalesce(rules, [])) > 0 THEN 'quarantined'
                 ELSE 'sound' END AS home
        FROM staged LEFT JOIN judged USING (_row) LEFT JOIN past USING (_row)
        """
    )


def load(
    settings: Settings,
    area: Staging,
    account: Account,
    *,
    typed: Typed,
    conform: Conform,
    files: list[FileRecord],
    reach: Reach = Reach(),
    accept_deletions: bool = False,
    drifts: drift.Report = drift.Report(),
    judged_by: Judgement,
) -> Account:
    """Write the batch. Raises TooManyDeletions, Imbalance or WarehouseBusy, and then nothing of it
    is visible."""
    give_verdicts(area, account.night)
    with writer_lock(settings):
        require_erasures_seen(area)
        _supersede(area)
        _concern(area, reach)
        _difference(area, reach)
        if not accept_deletions:
            _check_deletions(area)
        account.batch_id = next_batch_id(area.connection)
        with transaction(area.connection):
            _write_landing(area, account)
            _write_quarantine(area, account, reach)
            _write_core(area, account, typed, conform)
            mark("written", source=account.source, stream=account.stream)
            _count(area, account)
            _check_law(area, account)
            finding.write(area.connection, account)
            _write_files(area.connection, account, files)
            submission.write(area, account, files)
            _write_sums(area.connection, account, reach)
            write_interval(area.connection, account, reach.interval)
            drift.write(area.connection, account, drifts)
            fingerprint.write(area.connection, account, judged_by.parts)
            is_first = not has_loaded(area.connection, account.source, account.stream)
            if is_first or reach.scope in ("all", "own"):
                judgement.write(area.connection, account, judged_by)
            write_account(area.connection, account)
            mark("balanced", source=account.source, stream=account.stream)
    mark("committed", source=account.source, stream=account.stream, batch=account.batch_id)
    return account


def record_failure(
    settings: Settings,
    account: Account,
    error: MuaraError,
    interval: tuple[datetime | None, datetime] | None = None,
    drifts: drift.Report = drift.Report(),
) -> None:
    """The ledger row of an attempt that did not load, in a transaction of its own."""
    account.outcome = "stopped" if isinstance(error, BatchStopped) else "failed"
    account.error_code, account.error_message = error.code, str(error)
    with writing(settings) as connection:
        account.batch_id = next_batch_id(connection)
        with transaction(connection):
            write_interval(connection, account, interval)
            drift.write(connection, account, drifts)
            write_account(connection, account)


def next_batch_id(connection: duckdb.DuckDBPyConnection) -> int:
    """Batches are numbered in the order of their commits. Hold the writer's lock."""
    return last_batch(connection) + 1


def key_bucket(key: Sequence[str], bits: int) -> str:
    """SQL: the leading bits of the MD5 of a key's text, as every source's database computes it."""
    text = " || '|' || ".join(key)
    return f"(CAST('0x' || left(md5(coalesce({text}, '')), 8) AS BIGINT) >> {32 - bits})"


def unread(area: Staging, reach: Reach) -> str | None:
    """SQL over the stream's landing: rows whose record the batch did not ask the source for; None
    where it asked for all."""
    match reach.scope:
        case "all":
            return None
        case "buckets":
            asked = ", ".join(map(str, reach.buckets))
            bucket = key_bucket([identifier(part) for part in area.stream.key], reach.bits)
            return f"{bucket} NOT IN ({asked})" if asked else "TRUE"
        case "files":
            return "_origin NOT IN (SELECT DISTINCT _origin FROM staged)"
        case _:
            return "TRUE"


def _supersede(area: Staging) -> None:
    """Of replayed rows, leave out those that are no longer the newest of their record: another
    batch landed, closed or erased it since they were read. Hold the writer's lock."""
    if not area.connection.execute("FROM past LIMIT 1").fetchone():
        return
    area.connection.execute(
        f"""
        UPDATE staged SET _excluded = {literal(SUPERSEDED)} WHERE _excluded IS NULL AND _row IN (
            SELECT past._row FROM past JOIN staged USING (_row) LEFT JOIN (
                SELECT _record_id, max(_batch_id) AS _batch_id FROM {area.landing}
                GROUP BY _record_id) AS newest USING (_record_id)
            WHERE CASE WHEN _entry IS NULL THEN newest._batch_id IS DISTINCT FROM _known
                ELSE newest._batch_id > _known OR _entry NOT IN (
                    SELECT quarantine_id FROM lake.quarantine.row
                    WHERE {area.here} AND state = 'open') END)
        """
    )


def _concern(area: Staging, reach: Reach) -> None:
    """`concerned`: the records that this batch can say anything about."""
    connection = area.connection
    connection.execute("CREATE TABLE asked (bucket BIGINT)")
    if reach.scope == "all":
        everything = f"SELECT DISTINCT _record_id FROM {area.landing}"
    elif reach.scope == "buckets":
        connection.register("buckets", pa.table({"bucket": pa.array(reach.buckets, pa.int64())}))
        connection.execute("INSERT INTO asked FROM buckets")
        connection.unregister("buckets")
        bucket = key_bucket([identifier(part) for part in area.stream.key], reach.bits)
        everything = (
            # Holds and deletions carry no key of their own.
            f"SELECT DISTINCT _record_id FROM {area.landing} "
            f"WHERE _op IN ('insert', 'update') AND {bucket} IN (FROM asked)"
        )
        _check_buckets(area, reach)
    elif reach.scope == "files":
        everything = (
            f"SELECT DISTINCT _record_id FROM {area.landing} "
            "WHERE _origin IN (SELECT DISTINCT _origin FROM verdict)"
        )
    else:
        everything = "SELECT NULL WHERE false"
    connection.execute(
        f"CREATE TABLE concerned AS SELECT _record_id FROM verdict UNION ({everything})"
    )


def _check_buckets(area: Staging, reach: Reach) -> None:
    """The source and we must mean the same by a bucket, or deletions would be guessed.

    Raises Imbalance.
    """
    bucket = key_bucket([identifier(part) for part in area.stream.key], reach.bits)
    if strangers := int(
        _scalar(area.connection, f"SELECT count(*) FROM raw WHERE {bucket} NOT IN (FROM asked)")
    ):
        raise Imbalance(
            f"{strangers} rows lie in buckets that were not asked for",
            where=area.where,
            next_step="nothing was loaded; the key's text differs between the source and us: use "
            "strategy `snapshot`, and report it.",
        )


def _difference(area: Staging, reach: Reach) -> None:
    """`state`: newest landed version per concerned record. `change`: what this batch will land."""
    connection = area.connection
    connection.execute(
        f"""
        CREATE TABLE state AS
        SELECT _record_id, _batch_id, _op, _row_hash, _flags, _origin FROM {area.landing}
        SEMI JOIN (
            SELECT _record_id, max(_batch_id) AS _batch_id FROM {area.landing}
            SEMI JOIN concerned USING (_record_id) GROUP BY _record_id
        ) AS newest USING (_record_id, _batch_id)
        """
    )
    gone = {
        "all": "TRUE",
        "buckets": "TRUE",
        "files": "state._origin IN (SELECT DISTINCT _origin FROM verdict)",
        "none": "FALSE",
        "own": "FALSE",
    }[reach.scope]
    connection.execute(
        f"""
        CREATE TABLE change AS
        WITH sound AS (
            SELECT verdict._row, verdict._record_id, verdict._row_hash, verdict.flags AS _flags,
                verdict._origin,
                CASE WHEN state._record_id IS NULL OR state._op = 'delete' THEN 'insert'
                     WHEN state._op = 'hold' OR state._row_hash <> verdict._row_hash
                          OR state._flags <> verdict.flags THEN 'update' END AS what
            FROM verdict LEFT JOIN state USING (_record_id)
            WHERE verdict.home = 'sound')
        SELECT _row, _record_id, _row_hash, _flags, _origin, what AS _op
        FROM sound WHERE what IS NOT NULL
        UNION ALL
        SELECT min(verdict._row), verdict._record_id, any_value(state._row_hash), NULL,
            any_value(state._origin), 'hold'
        FROM verdict JOIN state USING (_record_id)
        WHERE verdict.home = 'quarantined' AND state._op IN ('insert', 'update')
        GROUP BY verdict._record_id
        UNION ALL
        SELECT NULL, _record_id, _row_hash, NULL, _origin, 'delete'
        FROM state
        WHERE _op <> 'delete' AND {gone}
            AND _record_id NOT IN (SELECT _record_id FROM verdict)
        """
    )


def _check_deletions(area: Staging) -> None:
    vanishing = int(_scalar(area.connection, "SELECT count(*) FROM change WHERE _op = 'delete'"))
    if not vanishing:
        return
    present = int(
        _scalar(
            area.connection,
            f"SELECT count(*) FROM (SELECT arg_max(_op, _batch_id) AS _op FROM {area.landing} "
            "GROUP BY _record_id) WHERE _op <> 'delete'",
        )
    )
    if vanishing > present * area.stream.max_deleted_share:
        raise TooManyDeletions(
            f"{vanishing} of {present} rows vanished at once, more than "
            f"{area.stream.max_deleted_share:.0%}",
            where=area.where,
            next_step="ask the owner; if it is true, run "
            f"`muara sync {area.source.name} {area.stream.name} --accept`.",
        )


def _write_landing(area: Staging, account: Account) -> None:
    """Land what changed. Of a batch that is mostly new records, the others are looked up and left
    out; else the changes are: either way the smaller number of rows is held."""
    connection = area.connection
    connection.execute(
        """
        CREATE TEMP VIEW exception AS
        SELECT staged._row, change._op, change._flags, past._place
        FROM staged LEFT JOIN change USING (_row) LEFT JOIN past USING (_row)
        WHERE NOT coalesce(change._op = 'insert' AND len(change._flags) = 0, false)
            OR past._place IS NOT NULL
        """
    )
    exceptions, changed = (
        int(_scalar(connection, f"SELECT count(*) FROM {name}")) for name in ("exception", "change")
    )
    if exceptions < changed:
        connection.execute("CREATE TEMP TABLE excepted AS FROM exception")
        rows = """raw LEFT JOIN excepted USING (_row)
            WHERE excepted._row IS NULL OR excepted._op IN ('insert', 'update')"""
        op, flags = "coalesce(excepted._op, 'insert')", "coalesce(excepted._flags, [])"
        place = "excepted._place"
    else:
        rows = """raw JOIN change USING (_row) LEFT JOIN past USING (_row)
            WHERE change._op IN ('insert', 'update')"""
        op, flags, place = "change._op", "change._flags", "past._place"
    technical = ", ".join(identifier(name) for name in LANDING_COLUMNS)
    ours = ", ".join(identifier(name) for name in area.stream.names)
    connection.execute(
        f"""
        INSERT INTO {area.landing} ({technical}, {ours})
        SELECT {account.batch_id}, coalesce(raw._key_id, raw._row_hash), {op}, raw._row_hash,
            {flags}, coalesce({place}, raw._row), raw._origin, {ours}
        FROM {rows};
        INSERT INTO {area.landing} ({technical})
        SELECT {account.batch_id}, _record_id, _op, _row_hash, _flags, coalesce(_place, _row),
            _origin
        FROM change LEFT JOIN past USING (_row) WHERE _op IN ('hold', 'delete')
        """
    )


def _write_quarantine(area: Staging, account: Account, reach: Reach) -> None:
    sent_key = [f"json_extract_string(row_as_sent, {json_key(part)})" for part in area.stream.key]
    absent = {
        "all": "TRUE",
        "buckets": f"{key_bucket(sent_key, reach.bits)} IN (FROM asked)",
        "files": "origin IN (SELECT DISTINCT _origin FROM verdict)",
        "none": "FALSE",
        "own": "FALSE",
    }[reach.scope]
    quarantine.close_and_open(area, account.batch_id, account.night, absent=absent)


def _write_core(area: Staging, account: Account, typed: Typed, conform: Conform) -> None:
    apply_batch(
        area.connection,
        landing=area.landing,
        identity=(account.source, account.stream),
        batch_id=account.batch_id,
        night=account.night,
        typed=typed,
        conform=conform,
        target="lake",
    )


# In two steps, for each holds a table of all records in memory or on the disk.
HOMES = """
    CREATE OR REPLACE TEMP TABLE newest AS
    SELECT _record_id, max(_batch_id) AS _batch_id FROM {landing}
    SEMI JOIN staged USING (_record_id) GROUP BY _record_id;
    CREATE OR REPLACE TEMP TABLE home AS
    WITH landed AS (
        SELECT _record_id, _batch_id, _op, _row_hash, _flags FROM {landing}
        SEMI JOIN newest USING (_record_id, _batch_id)),
    entry AS (
        SELECT DISTINCT source_record_id AS _record_id, row_hash AS _row_hash, rules
        FROM lake.quarantine.row
        WHERE source = '{source}' AND stream = '{stream}' AND state = 'open')
    SELECT verdict._row, _excluded,
        verdict.home <> 'excluded' AND landed._op = 'insert' AND landed._batch_id = {batch}
            AND landed._row_hash = verdict._row_hash AS inserted,
        verdict.home <> 'excluded' AND landed._op = 'update' AND landed._batch_id = {batch}
            AND landed._row_hash = verdict._row_hash AS updated,
        verdict.home <> 'excluded' AND landed._op IN ('insert', 'update')
            AND landed._batch_id < {batch} AND landed._row_hash = verdict._row_hash
            AND landed._flags = verdict.flags AS unchanged,
        verdict.home <> 'excluded' AND entry._record_id IS NOT NULL AS quarantined,
        _excluded IS NOT NULL AS excluded,
        len(verdict.flags) > 0 AND verdict.home = 'sound' AS flagged
    FROM verdict LEFT JOIN landed USING (_record_id)
    LEFT JOIN entry ON entry._record_id = verdict._record_id
        AND entry._row_hash = verdict._row_hash AND entry.rules = verdict.rules
"""


def _count(area: Staging, account: Account) -> None:
    """Counts from the tables as they now are; `home` says where each staged row is."""
    connection = area.connection
    connection.execute(
        HOMES.format(
            landing=area.landing,
            source=account.source,
            stream=account.stream,
            batch=account.batch_id,
        )
    )
    names = ("inserted", "updated", "unchanged", "quarantined", "excluded", "flagged")
    counts = connection.execute(
        f"SELECT {', '.join(f'count(*) FILTER ({name})' for name in names)} FROM home"
    ).fetchone() or (0,) * len(names)
    for name, count in zip(names, counts, strict=True):
        setattr(account, name, count)
    account.excluded_reasons = dict(
        connection.execute(
            "SELECT _excluded, count(*) FROM home WHERE excluded GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )
    account.deleted = int(
        _scalar(
            connection,
            f"SELECT count(*) FROM {area.landing} "
            f"WHERE _batch_id = {account.batch_id} AND _op = 'delete'",
        )
    )


def _check_law(area: Staging, account: Account) -> None:
    connection = area.connection
    twice = int(
        _scalar(
            connection,
            f"SELECT count(*) - count(DISTINCT _record_id) FROM {area.landing} "
            f"WHERE _batch_id = {account.batch_id}",
        )
    )
    wrong = connection.execute(
        f"""
        SELECT _row FROM home
        WHERE coalesce(inserted, false)::INT + coalesce(updated, false)::INT
            + coalesce(unchanged, false)::INT + coalesce(quarantined, false)::INT
            + excluded::INT <> 1
        ORDER BY _row LIMIT {NAMED_AT_MOST}
        """
    ).fetchall()
    if wrong or twice or account.extracted != account.homes:
        rows = ", ".join(str(row) for (row,) in wrong)
        named = f"; rows without exactly one home: {rows}" if wrong else ""
        raise Imbalance(
            f"extracted {account.extracted} ≠ inserted {account.inserted} + updated "
            f"{account.updated} + unchanged {account.unchanged} + quarantined "
            f"{account.quarantined} + excluded {account.excluded}; {twice} landed twice{named}",
            where=area.where,
            next_step="nothing was loaded; run it again and report it if it recurs.",
        )


def _write_files(
    connection: duckdb.DuckDBPyConnection, account: Account, files: list[FileRecord]
) -> None:
    new = [
        {"origin": f.origin, "sha256": f.sha256, "size": f.size, "outcome": f.outcome,
         "error": f.error}
        for f in files
        if f.outcome != "known"
    ]  # fmt: skip
    account.files_loaded = sum(f.outcome == "loaded" for f in files)
    account.files_failed = sum(f.outcome == "failed" for f in files)
    if new:
        connection.register("new_file", pa.Table.from_pylist(new))
        connection.execute(
            "INSERT INTO lake.ops.file SELECT ?, ?, origin, sha256, size, ?, outcome, error "
            "FROM new_file",
            [account.source, account.stream, account.batch_id],
        )
        connection.unregister("new_file")
    _write_listings(connection, account, files)
    _write_sheets(connection, account, files)


def _write_listings(
    connection: duckdb.DuckDBPyConnection, account: Account, files: list[FileRecord]
) -> None:
    """By what size and version the place will list these bytes again, where it can tell."""
    here = [account.source, account.stream]
    taken = [f for f in files if f.outcome == "loaded" or f.version]
    if taken:
        connection.execute(
            "DELETE FROM lake.ops.listing WHERE source = ? AND stream = ? AND origin IN "
            "(SELECT unnest(?))",
            [*here, [f.origin for f in taken]],
        )
    rows = [{"origin": f.origin, "size": f.size, "version": f.version} for f in taken if f.version]
    if rows:
        connection.register("listed", pa.Table.from_pylist(rows))
        connection.execute(
            "INSERT INTO lake.ops.listing SELECT ?, ?, origin, size, version FROM listed", here
        )
        connection.unregister("listed")


def _write_sheets(
    connection: duckdb.DuckDBPyConnection, account: Account, files: list[FileRecord]
) -> None:
    sheets = [
        (account.source, account.stream, f.origin, f.sha256, account.batch_id, *sheet)
        for f in files
        for sheet in [
            *(tuple(one.values()) for one in f.sheets),
            *((int(number), None, None, 0, {"unknown_layout": rows}, 0)
              for number, rows in f.other_sheets.items()),
        ]
    ]  # fmt: skip
    insert(connection, "ops.sheet", sheets)


def _write_sums(connection: duckdb.DuckDBPyConnection, account: Account, reach: Reach) -> None:
    """The source's sums, for the next comparison."""
    if reach.sums is None:
        return
    here = f"source = {literal(account.source)} AND stream = {literal(account.stream)}"
    if reach.scope == "all":
        connection.execute(f"DELETE FROM lake.ops.checksum WHERE {here}")
    elif reach.buckets:
        connection.execute(f"DELETE FROM lake.ops.checksum WHERE {here} AND bucket IN (FROM asked)")
    # Sorted here: DuckDB would hold the shape's long text once per bucket while it sorts.
    connection.register("sums", reach.sums.sort_by("bucket"))
    connection.execute(
        "INSERT INTO lake.ops.checksum SELECT ?, ?, ?, ?, bucket, rows, sum FROM sums",
        [account.source, account.stream, reach.shape, reach.bits],
    )
    connection.unregister("sums")


def write_interval(
    connection: duckdb.DuckDBPyConnection,
    account: Account,
    interval: tuple[datetime | None, datetime] | None,
) -> None:
    """What stretch of its cursor the batch covered, or failed to."""
    if interval:
        connection.execute(
            "INSERT INTO lake.ops.interval VALUES (?, ?, ?, ?, ?, ?)",
            [account.source, account.stream, *interval, account.batch_id, account.outcome],
        )


def write_account(connection: duckdb.DuckDBPyConnection, account: Account) -> None:
    """Insert the ledger row and sign the snapshot with the batch."""
    values: dict[str, Any] = {one.name: getattr(account, one.name) for one in fields(account)}
    values["committed_at"] = clock.now()
    columns = list(tables()["ops.ledger"].columns)
    connection.execute(
        f"INSERT INTO lake.ops.ledger ({', '.join(columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})",
        [values[name] for name in columns],
    )
    connection.execute(
        "CALL lake.set_commit_message('muara', ?)",
        [f"batch {account.batch_id}: {account.source}.{account.stream} {account.outcome}"],
    )


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]

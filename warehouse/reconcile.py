"""The warehouse's side of a reconciliation: what we hold of a stream beside the source's rows.

Held is what the source should still have by our account: the current sound version of every record
as landed, and every open entry of quarantine as sent. A held version of a record on hold is not:
its newest version is the one in quarantine. Rows are compared by record and by content, 40 bits of
the MD5 of the row's text, which every database computes alike.

All tables made here are in the staging area; the lake is only read, but for the outcome.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from common.keys import row_text
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.catalog import write_row
from warehouse.load import key_bucket
from warehouse.staging import Staging
from warehouse.tables import tables

CONTENT_BITS = 40
NEXT_STEPS = {
    "altered_here": "a value is no longer what came: restore a backup, find out who wrote to the "
    "lake",
    "change_not_seen": "it changed in a way that its strategy does not see: backfill the stretch, "
    "or use `checksum`",
    "row_not_seen": "no batch brought it and none will: backfill the stretch, or use `checksum`",
    "deletion_not_seen": "its strategy does not see deletions: use `checksum` or `snapshot`",
    "unaccounted": "the counts do not add up: run it again and report it if it recurs",
}
"""What is unexplained, and what to do about it: no coming sync would mend it."""


@dataclass
class Reconciliation:
    """One comparison of a stream with its source, as `ops.reconciliation` keeps it: counts of rows.

    `method`: `sums` (only rows of buckets that differ were pulled) or `rows` (all were).
    """

    source: str
    stream: str
    night: date
    started_at: datetime
    reconciled_at: datetime | None = None
    method: str = "rows"
    source_rows: int = 0
    landed_rows: int = 0
    quarantined_rows: int = 0
    held_records: int = 0
    rows_pulled: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0
    unexplained_kinds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One record that differs. `kind`: `changed`, `missing` (only the source has it) or `extra`
    (only we do). `key` only where its columns are declared as no person's. `batch_id` and `row`
    are those of our version, `origin` too or that of the source's row."""

    record_id: str
    kind: str
    reason: str
    is_explained: bool
    key: str | None
    batch_id: int | None
    row: int | None
    origin: str | None


def content(area: Staging) -> str:
    """SQL: the content of a row with our column names, as the source computes it."""
    text = ", ".join(f"coalesce({identifier(name)}, chr(30))" for name in area.stream.names)
    return f"CAST('0x' || left(md5(concat_ws(chr(31), {text})), {CONTENT_BITS // 4}) AS BIGINT)"


def hold(area: Staging) -> None:
    """Make the view `held_row` (columns of landing, `_home`: landed or quarantined) and the narrow
    table `held` (_record_id, _batch_id, _home, _content)."""
    names = ", ".join(identifier(name) for name in area.stream.names)
    area.connection.execute(
        f"""
        CREATE VIEW held_row AS
        SELECT _record_id, _batch_id, 'landed' AS _home, _row_hash, _row, _origin, {names}
        FROM {area.landing} SEMI JOIN (
            SELECT _record_id, max(_batch_id) AS _batch_id FROM {area.landing}
            GROUP BY _record_id HAVING arg_max(_op, _batch_id) IN ('insert', 'update')
        ) AS newest USING (_record_id, _batch_id)
        UNION ALL
        SELECT _record_id, _batch_id, 'quarantined', _row_hash, _row, _origin, unnest(sent)
        FROM (
            SELECT source_record_id AS _record_id, row_hash AS _row_hash,
                max(first_batch_id) AS _batch_id, any_value(row_number) AS _row,
                any_value(origin) AS _origin,
                json_transform(any_value(row_as_sent), {_as_columns(area)}) AS sent
            FROM lake.quarantine.row
            WHERE {area.here} AND state = 'open'
            GROUP BY source_record_id, row_hash);
        CREATE TABLE held AS
        SELECT _record_id, _batch_id, _home, {content(area)} AS _content FROM held_row
        """
    )


def _as_columns(area: Staging) -> str:
    """SQL: the shape of a row as sent, for `json_transform`."""
    return literal(json.dumps(dict.fromkeys(area.stream.names, "VARCHAR")))


def rows_held(area: Staging) -> int:
    return _scalar(area.connection, "SELECT count(*) FROM held")


def sums(area: Staging, bits: int) -> pa.Table:
    """Of what is held: bucket (the leading `bits` of the content), rows, sum (as text)."""
    return area.connection.execute(
        f"""
        SELECT _content >> {CONTENT_BITS - bits} AS bucket, count(*) AS rows,
            CAST(sum(_content) AS VARCHAR) AS sum
        FROM held GROUP BY ALL
        """
    ).to_arrow_table()


def arrive(area: Staging) -> None:
    """Make `there` (_row, _record_id, _content): the staged rows of the source, less excluded ones,
    and an empty `superseded`."""
    area.connection.execute(
        f"""
        CREATE TABLE there AS
        SELECT _row, _record_id, {content(area)} AS _content
        FROM raw JOIN (SELECT _row, _record_id FROM staged WHERE _excluded IS NULL) USING (_row);
        CREATE TABLE superseded AS FROM there LIMIT 0
        """
    )


def set_aside_superseded(area: Staging) -> None:
    """Move rows to `superseded` that we held before a newer version of their record came: files
    keep telling the past."""
    area.connection.execute(
        f"""
        INSERT INTO superseded
        WITH past AS (
            SELECT _record_id, {content(area)} AS _content FROM {area.landing}
            WHERE _op IN ('insert', 'update')
            UNION
            SELECT _record_id, {content(area)} FROM (
                SELECT source_record_id AS _record_id,
                    unnest(json_transform(row_as_sent, {_as_columns(area)}))
                FROM lake.quarantine.row
                WHERE {area.here}))
        FROM there SEMI JOIN past USING (_record_id, _content)
        ANTI JOIN held USING (_record_id, _content);
        DELETE FROM there WHERE _row IN (SELECT _row FROM superseded)
        """
    )


def compare(area: Staging, buckets: list[int] | None, bits: int) -> None:
    """Make `difference`, a row per record that is not the same in `held` and in `there` (which
    has the source's rows of these buckets of contents; None: all its rows).

    Columns: _record_id, _kind, rows_here, rows_there, _home and _batch_id of our version, _there
    (a row of `raw`). And make `ours`, the held rows of those records.
    """
    asked = pa.table({"bucket": pa.array(buckets or [], pa.int64())})
    area.connection.register("asked_bucket", asked)
    chosen = (
        ""
        if buckets is None
        else f"WHERE _content >> {CONTENT_BITS - bits} IN (SELECT bucket FROM asked_bucket)"
    )
    area.connection.execute(
        f"""
        CREATE TABLE difference AS
        WITH here AS (FROM held {chosen}),
        only_here AS (
            SELECT _record_id, count(*) AS rows_here, arg_max(_home, _batch_id) AS _home,
                max(_batch_id) AS _batch_id
            FROM here ANTI JOIN there USING (_record_id, _content) GROUP BY _record_id),
        only_there AS (
            SELECT _record_id, count(*) AS rows_there, min(_row) AS _there
            FROM there ANTI JOIN here USING (_record_id, _content) GROUP BY _record_id)
        SELECT _record_id,
            CASE WHEN rows_there IS NULL THEN 'extra'
                WHEN _record_id IN (SELECT _record_id FROM held) THEN 'changed'
                ELSE 'missing' END AS _kind,
            coalesce(rows_here, 0) AS rows_here, coalesce(rows_there, 0) AS rows_there,
            _home, _batch_id, _there
        FROM only_here FULL JOIN only_there USING (_record_id);
        CREATE TABLE ours AS FROM held_row SEMI JOIN difference USING (_record_id, _batch_id, _home)
        """
    )
    area.connection.unregister("asked_bucket")


def key_buckets(area: Staging, bits: int) -> list[int]:
    """Of the records that differ: the leading `bits` of the hash of their keys."""
    bucket = key_bucket([identifier(part) for part in area.stream.key], bits)
    found = area.connection.execute(
        f"SELECT DISTINCT {bucket} FROM ours UNION "
        f"SELECT DISTINCT {bucket} FROM raw SEMI JOIN difference ON raw._row = difference._there"
    )
    return [number for (number,) in found.fetchall()]


def explain(area: Staging, will_come: str, known: Mapping[str, str] = {}) -> None:
    """Make `finding`: `difference` with `_reason` and `_is_explained`.

    `will_come` is SQL over `difference`, `raw` (the source's row) and `ours`: whether the next
    batch will bring the difference, which therefore arose since the last one. `known` has other
    reasons, each with its condition. What no batch will bring, and a version of ours that is no
    longer what landed, stays unexplained.
    """
    cases = [f"WHEN {condition} THEN {literal(reason)}" for reason, condition in known.items()]
    others = f"CASE {' '.join(cases)} END" if cases else "NULL"
    hashed = row_text(f"ours.{identifier(name)}" for name in sorted(area.stream.names))
    gained = " AND ".join(
        f"(ours.{identifier(name)} IS NULL OR ours.{identifier(name)} = raw.{identifier(name)})"
        for name in area.stream.names
    )
    area.connection.execute(
        f"""
        CREATE TABLE finding AS
        WITH judged AS (
            SELECT difference.*, ours._row AS _row, coalesce(ours._origin, raw._origin) AS _origin,
                row_hash({hashed}) <> ours._row_hash AS altered,
                {gained} AND ledger.definition_hash <> {literal(area.source.fingerprint)} AS gained,
                {will_come} AS will_come, {others} AS known
            FROM difference
            LEFT JOIN ours USING (_record_id, _batch_id, _home)
            LEFT JOIN raw ON raw._row = difference._there
            LEFT JOIN lake.ops.ledger AS ledger ON ledger.batch_id = difference._batch_id),
        reasoned AS (
            SELECT *, CASE
                WHEN altered AND gained THEN 'definition_changed'
                WHEN altered THEN 'altered_here'
                WHEN known IS NOT NULL THEN known
                WHEN will_come THEN {_by_kind("changed_since", "new_since", "deleted_since")}
                ELSE {_by_kind("change_not_seen", "row_not_seen", "deletion_not_seen")}
                END AS _reason
            FROM judged)
        SELECT *, _reason NOT IN ({", ".join(literal(reason) for reason in NEXT_STEPS)})
            AS _is_explained
        FROM reasoned
        """
    )


def _by_kind(changed: str, missing: str, extra: str) -> str:
    return (
        f"CASE _kind WHEN 'changed' THEN {literal(changed)} WHEN 'missing' THEN {literal(missing)} "
        f"ELSE {literal(extra)} END"
    )


def take_account(area: Staging, outcome: Reconciliation) -> None:
    """Fill the counts, from the tables. What the source has more or less than is accounted for is
    `unaccounted`."""
    connection = area.connection
    homes = dict(connection.execute("SELECT _home, count(*) FROM held GROUP BY 1").fetchall())
    outcome.landed_rows = homes.get("landed", 0)
    outcome.quarantined_rows = homes.get("quarantined", 0)
    outcome.held_records = _scalar(
        connection,
        f"SELECT count(*) FROM (SELECT arg_max(_op, _batch_id) AS _op FROM {area.landing} "
        "GROUP BY _record_id) WHERE _op = 'hold'",
    )
    excluded = _counts(
        connection, "SELECT _excluded, count(*) FROM staged WHERE _excluded IS NOT NULL GROUP BY 1"
    )
    if superseded := _scalar(connection, "SELECT count(*) FROM superseded"):
        excluded["superseded"] = superseded
    here, there, in_quarantine = connection.execute(
        "SELECT coalesce(sum(rows_here), 0), coalesce(sum(rows_there), 0), "
        "coalesce(sum(rows_here) FILTER (_home = 'quarantined'), 0) FROM finding"
    ).fetchall()[0]
    outcome.explained = {
        "in_quarantine": outcome.quarantined_rows - int(in_quarantine),
        **excluded,
        **_counts(connection, _reasons("_is_explained")),
    }
    outcome.explained = {name: count for name, count in outcome.explained.items() if count}
    outcome.unexplained_kinds = _counts(connection, _reasons("NOT _is_explained"))
    accounted = rows_held(area) - int(here) + int(there) + sum(excluded.values())
    if accounted != outcome.source_rows:
        outcome.unexplained_kinds["unaccounted"] = abs(outcome.source_rows - accounted)
    outcome.unexplained = sum(outcome.unexplained_kinds.values())


def _reasons(condition: str) -> str:
    return f"SELECT _reason, count(*) FROM finding WHERE {condition} GROUP BY 1 ORDER BY 1"


def rules_of_quarantine(area: Staging) -> dict[str, int]:
    """Rule → open entries that broke it (one may break several)."""
    return _counts(
        area.connection,
        "SELECT rule, count(*) FROM (SELECT unnest(rules) AS rule FROM lake.quarantine.row "
        f"WHERE {area.here} AND state = 'open') GROUP BY 1 ORDER BY 1",
    )


def name_differences(area: Staging, at_most: int) -> list[Difference]:
    """The records that differ, what is unexplained first."""
    key = " || '|' || ".join(
        f"coalesce(ours.{identifier(part)}, raw.{identifier(part)})" for part in area.stream.key
    )
    shown = key if has_impersonal_key(area.stream.key) else "NULL"
    rows = area.connection.execute(
        f"""
        SELECT CAST(finding._record_id AS VARCHAR), _kind, _reason, _is_explained, {shown},
            finding._batch_id, finding._row, finding._origin
        FROM finding LEFT JOIN ours USING (_record_id, _batch_id, _home)
        LEFT JOIN raw ON raw._row = finding._there
        ORDER BY _is_explained, _reason, finding._record_id LIMIT {at_most}
        """
    ).fetchall()
    return [Difference(*row) for row in rows]


def has_impersonal_key(key: Iterable[str]) -> bool:
    """Whether every column of the key is declared in the schema home, and nowhere as personal."""
    declared: dict[str, set[str]] = {}
    for table in tables().values():
        for name, column in table.columns.items():
            declared.setdefault(name, set()).add(column.disclosure)
    return all(declared.get(part) == {"neutral"} for part in key)


def record(settings: Settings, outcome: Reconciliation) -> None:
    """Write the outcome to `ops.reconciliation`."""
    write_row(
        settings, "ops.reconciliation", outcome, f"reconciled {outcome.source}.{outcome.stream}"
    )


def newest(connection: duckdb.DuckDBPyConnection) -> list[Reconciliation]:
    """The last reconciliation of every stream that had one."""
    names = [one.name for one in fields(Reconciliation)]
    rows = connection.execute(
        f"""
        SELECT {", ".join(names)} FROM lake.ops.reconciliation
        QUALIFY row_number() OVER (PARTITION BY source, stream ORDER BY reconciled_at DESC) = 1
        ORDER BY source, stream
        """
    ).fetchall()
    return [Reconciliation(**dict(zip(names, row, strict=True))) for row in rows]


def _counts(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, int]:
    return dict(connection.execute(query).fetchall())


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]

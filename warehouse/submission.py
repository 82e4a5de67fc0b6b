"""Who sent how much in a batch, and how fresh it was: counted from the tables, in its transaction.

Only for streams that declare a `submitter` or a `stamp`; the whole of any stream is in the ledger.
A submitter's code is stored only when the definition names it, for anything else may be a person.
"""

import re
from collections.abc import Iterable
from typing import Any, Protocol

import pyarrow as pa

from common.definition import Stream
from common.quoting import identifier, literal
from warehouse.staging import Staging


class Batch(Protocol):
    """What of a ledger row tells which batch it was."""

    source: str
    stream: str
    batch_id: int
    night: Any
    strategy: str


class File(Protocol):
    """What of a file tells who sent it."""

    @property
    def origin(self) -> str: ...

    @property
    def outcome(self) -> str: ...


def write(area: Staging, batch: Batch, files: Iterable[File]) -> None:
    """One row of `ops.submission` per known submitter seen, and one for the whole batch. Rows that
    came from the warehouse itself (a replay) were sent by nobody."""
    stream = area.stream
    if not (stream.submitter or stream.stamp) or batch.strategy != stream.strategy:
        return
    connection = area.connection
    connection.register("sent_file", _senders(stream, files))
    connection.register("known", pa.table({"code": ["", *_contacts(stream)]}))
    stamp = (
        f"CAST(typed.{identifier(stream.stamp)} AS TIMESTAMP)"
        if stream.stamp
        else "NULL::TIMESTAMP"
    )
    connection.execute(
        f"""
        INSERT INTO lake.ops.submission
        WITH fresh AS (
            SELECT _row FROM change WHERE _op IN ('insert', 'update')
            UNION
            SELECT row_number FROM lake.quarantine.row
            WHERE source = {literal(batch.source)} AND stream = {literal(batch.stream)}
                AND first_batch_id = {batch.batch_id}),
        sent AS (
            SELECT {_sender(stream)} AS code, fresh._row IS NOT NULL AS is_fresh,
                CASE WHEN is_fresh THEN {stamp} END AS stamp
            FROM raw LEFT JOIN fresh USING (_row) LEFT JOIN typed USING (_row)
            LEFT JOIN sent_file ON sent_file.origin = raw._origin),
        counted AS (
            SELECT coalesce(code, '') AS code, grouping(code) AS is_whole, count(*) AS rows,
                count(*) FILTER (is_fresh) AS changed, quantile_disc(stamp, 0.5) AS middle_at,
                max(stamp) AS newest_at
            FROM sent GROUP BY GROUPING SETS ((code), ())),
        file AS (
            SELECT coalesce(code, '') AS code, grouping(code) AS is_whole, count(*) AS files
            FROM sent_file GROUP BY GROUPING SETS ((code), ()))
        SELECT {batch.batch_id}, {literal(batch.source)}, {literal(batch.stream)},
            DATE {literal(batch.night)}, code, coalesce(files, 0), coalesce(rows, 0),
            coalesce(changed, 0), middle_at, newest_at
        FROM counted FULL JOIN file USING (code, is_whole) SEMI JOIN known USING (code)
        WHERE is_whole = (code = '')::INT
        """
    )
    connection.unregister("sent_file")
    connection.unregister("known")


def _contacts(stream: Stream) -> Iterable[str]:
    return stream.submitter.contacts if stream.submitter else ()


def _sender(stream: Stream) -> str:
    """SQL: the submitter's code of a row."""
    if not stream.submitter:
        return "NULL::VARCHAR"
    return (
        f"trim(raw.{identifier(stream.submitter.column)})"
        if stream.submitter.column
        else "sent_file.code"
    )


def _senders(stream: Stream, files: Iterable[File]) -> pa.Table:
    """The files loaded: origin, and the submitter's code in it (null: none)."""
    loaded = [file.origin for file in files if file.outcome == "loaded"]
    codes: list[Any] = [None] * len(loaded)
    if stream.submitter and stream.submitter.origin:
        found = (re.search(stream.submitter.origin, origin) for origin in loaded)
        codes = [match and match[1] for match in found]
    return pa.table({"origin": pa.array(loaded, pa.string()), "code": pa.array(codes, pa.string())})

"""What changed between two nights, in core and in quarantine, and why. Counts only.

A row comes in a form: a version as sent. Where another form came, the source changed it, or the
definition reads other columns. Where the same form is judged otherwise, the parts of what judges
it that changed since (`ops.fingerprint`) are the causes: those that the rules look at whose verdict
differs. Several are named together, as are those of one night on one record; where no cause is
known, `unexplained` says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa

from common.definition import Source, Stream
from common.errors import DefinitionError
from warehouse.tables import landing_name, tables

CAUSES = {
    "rule": "rule",
    "implied": "definition",
    "column": "definition",
    "shape": "definition",
    "code": "code",
    "stream": "source",
    "rows": "source",
    "night": "calendar",
    "waiver": "decision",
}
"""Kind of a part → the cause it is when it changes."""

WHOLE = "('snapshot', 'replay')"
"""Strategies that judge all rows of a stream in every batch."""

ROWS = ("rows", "batch")
UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Change:
    """Versions (of core) or entries (of quarantine) of one stream that a cause opened and closed.

    `cause` is one of the values of `CAUSES`, several joined by +, or `unexplained`.
    """

    source: str
    stream: str
    table: str
    cause: str
    opened: int
    closed: int


@dataclass(frozen=True)
class Reason:
    """A part of what judges a stream that became new, other or gone in a night."""

    source: str
    stream: str
    night: date
    kind: str
    name: str


def changes(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source], after: date, until: date
) -> list[Change]:
    """What the nights after `after`, up to and with `until`, changed. The lake is attached.

    Raises DefinitionError when `until` is not later than `after`.
    """
    if until <= after:
        raise DefinitionError(
            f"{until} is not later than {after}",
            next_step="name the earlier night first: `muara diff 2026-11-23 2026-11-24`.",
        )
    found = []
    for source in sources.values():
        for stream in source.streams:
            if _make_batches(connection, source, stream, after, until):
                _make_events(connection, source, stream)
                _explain(connection, source, stream)
                found += _count(connection, source, stream, after, until)
    return found


def reasons(connection: duckdb.DuckDBPyConnection, after: date, until: date) -> list[Reason]:
    """What judges rows that changed in those nights, without what changes by itself."""
    rows = connection.execute(
        """
        SELECT DISTINCT source, stream, night, kind, name
        FROM lake.ops.fingerprint AS part JOIN lake.ops.ledger USING (batch_id, source, stream)
        WHERE night > ? AND night <= ? AND kind NOT IN ('night', 'stream', 'implied')
            AND batch_id > (SELECT min(batch_id) FROM lake.ops.fingerprint AS first
                WHERE first.source = part.source AND first.stream = part.stream)
        ORDER BY ALL
        """,
        [after, until],
    ).fetchall()
    return [Reason(*row) for row in rows]


def _make_batches(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream, after: date, until: date
) -> int:
    """`batch`: those of the stream in these nights, and since which batch (`judged`) rows were not
    judged at the latest. Returns how many there are."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE batch AS
        SELECT batch_id, night, coalesce(max(batch_id) FILTER (strategy IN {WHOLE}) OVER earlier, 0)
            AS judged
        FROM lake.ops.ledger
        WHERE source = '{source.name}' AND stream = '{stream.name}' AND outcome = 'loaded'
        WINDOW earlier AS (ORDER BY batch_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        QUALIFY night > DATE '{after}' AND night <= DATE '{until}'
        """
    )
    row = connection.execute("SELECT count(*) FROM batch").fetchone()
    return int(row[0]) if row else 0


def _make_events(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> None:
    """`form`: the forms of every touched record, sound or refused, from the batch that opened it to
    the one that closed it. `event`: what these batches opened and closed; `twin` is the form of the
    same text that it took the place of, and `differing` the rules whose verdict differs."""
    landing = f"lake.{landing_name(source, stream)}"
    here = f"source = '{source.name}' AND stream = '{stream.name}'"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE touched AS
        SELECT _record_id AS record FROM {landing}
            WHERE _batch_id IN (SELECT batch_id FROM batch)
        UNION
        SELECT source_record_id FROM lake.quarantine.row
            WHERE {here} AND (first_batch_id IN (SELECT batch_id FROM batch)
                OR closed_batch_id IN (SELECT batch_id FROM batch));

        CREATE OR REPLACE TEMP TABLE form AS
        WITH landed AS (
            SELECT _record_id AS record, _row_hash AS hash, _flags AS rules, _op,
                _batch_id AS opened,
                lead(_batch_id) OVER (PARTITION BY _record_id ORDER BY _batch_id) AS closed
            FROM {landing} WHERE _record_id IN (SELECT record FROM touched))
        SELECT record, hash, rules, true AS sound, opened, closed
        FROM landed WHERE _op IN ('insert', 'update')
        UNION ALL
        SELECT source_record_id, row_hash, rules, false, first_batch_id, closed_batch_id
        FROM lake.quarantine.row
        WHERE {here} AND source_record_id IN (SELECT record FROM touched);

        CREATE OR REPLACE TEMP TABLE event AS
        WITH moment AS (
            SELECT form.*, batch_id, night, judged, 'opened' AS side
            FROM form JOIN batch ON form.opened = batch.batch_id
            UNION ALL
            SELECT form.*, batch_id, night, judged, 'closed'
            FROM form JOIN batch ON form.closed = batch.batch_id)
        SELECT moment.record, moment.hash, moment.sound, moment.batch_id, night, judged, side,
            twin.record IS NOT NULL AS has_twin,
            CASE WHEN moment.sound = twin.sound THEN list_distinct(list_concat(
                    list_filter(moment.rules, lambda one: NOT list_contains(twin.rules, one)),
                    list_filter(twin.rules, lambda one: NOT list_contains(moment.rules, one))))
                 WHEN moment.sound THEN twin.rules
                 ELSE moment.rules END AS differing,
            '{UNEXPLAINED}' AS cause
        FROM moment LEFT JOIN form AS twin
            ON twin.record = moment.record AND twin.hash = moment.hash
            AND CASE side WHEN 'opened' THEN twin.closed ELSE twin.opened END = moment.batch_id
        """
    )


def _explain(connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream) -> None:
    """Give every event its cause. A new form that a changed rule refuses has both."""
    blame = pa.Table.from_pylist(
        list(_blame(connection, source, stream)),
        pa.schema([("batch_id", pa.int64()), ("rule", pa.string()), ("cause", pa.string())]),
    )
    connection.register("blame", blame)
    connection.execute(
        """
        UPDATE event SET cause = found.cause
        FROM (
            SELECT record, hash, batch_id, side, string_agg(DISTINCT cause, '+' ORDER BY cause)
                AS cause
            FROM (
                SELECT record, hash, batch_id, side, blame.cause
                FROM (SELECT * EXCLUDE (cause), unnest(differing) AS rule FROM event) AS one
                JOIN blame USING (batch_id, rule)
                WHERE has_twin OR blame.cause IN ('rule', 'definition', 'code')
                UNION ALL
                SELECT record, hash, batch_id, side, 'source' FROM event WHERE NOT has_twin)
            GROUP BY record, hash, batch_id, side) AS found
        WHERE event.record = found.record AND event.hash = found.hash
            AND event.batch_id = found.batch_id AND event.side = found.side
        """
    )
    connection.unregister("blame")
    _tell_definition_from_source(connection, source, stream)


def _blame(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> Iterator[dict[str, object]]:
    """Of every batch: rule and the causes for which its verdict may be another than before."""
    for batch_id, judged in connection.execute("SELECT batch_id, judged FROM batch").fetchall():
        changed = _changed_parts(connection, source, stream, judged, batch_id)
        for kind, name, looks_at in connection.execute(
            """
            SELECT kind, name, arg_max(looks_at, batch_id) FROM lake.ops.fingerprint
            WHERE source = ? AND stream = ? AND batch_id <= ? AND kind IN ('rule', 'implied')
            GROUP BY ALL
            """,
            [source.name, stream.name, batch_id],
        ).fetchall():
            seen = {(kind, name), *(tuple(one.split(":")) for one in looks_at)}
            causes = {CAUSES[one] for one, _ in seen & changed if one != "waiver"}
            # These can touch any row; they are named only where nothing else is.
            others = {
                CAUSES[one] for one, _ in seen & (changed | {ROWS}) if one in ("waiver", "rows")
            }
            for cause in causes or others:
                yield {"batch_id": batch_id, "rule": name, "cause": cause}


def _changed_parts(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    judged: int,
    batch_id: int,
) -> set[tuple[str, str]]:
    """(kind, name) of what changed after batch `judged` up to this one; nothing at the stream's
    first fingerprint, for what was before is not known."""
    return set(
        connection.execute(
            """
            SELECT DISTINCT kind, name FROM lake.ops.fingerprint
            WHERE source = $source AND stream = $stream
                AND batch_id > $judged AND batch_id <= $batch
                AND batch_id > (SELECT min(batch_id) FROM lake.ops.fingerprint
                    WHERE source = $source AND stream = $stream)
            """,
            {"source": source.name, "stream": stream.name, "judged": judged, "batch": batch_id},
        ).fetchall()
    )


def _tell_definition_from_source(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> None:
    """A form may be new because the definition reads other columns: compare those read before and
    after. Where another key gave the records other surrogates, both are possible."""
    landing = landing_name(source, stream)
    present = {name for name, *_ in connection.execute(f"DESCRIBE lake.{landing}").fetchall()}
    for batch_id, judged in connection.execute("SELECT batch_id, judged FROM batch").fetchall():
        changed = _changed_parts(connection, source, stream, judged, batch_id)
        if ("shape", "key") in changed:
            connection.execute(
                "UPDATE event SET cause = 'definition+source' "
                f"WHERE NOT has_twin AND batch_id = {batch_id}"
            )
            continue
        before, after = (
            _columns(connection, source, stream, limit) & present
            for limit in (f"<= {judged}", f"<= {batch_id}")
        )
        if before != after:
            _compare_forms(connection, source, stream, batch_id, before & after, before ^ after)


def _columns(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream, batches: str
) -> set[str]:
    """The columns that were read in the newest of these batches."""
    return {
        name
        for (name,) in connection.execute(
            "SELECT name FROM lake.ops.fingerprint WHERE source = ? AND stream = ? "
            f"AND kind = 'column' AND batch_id {batches} "
            "GROUP BY name HAVING arg_max(hash IS NOT NULL, batch_id)",
            [source.name, stream.name],
        ).fetchall()
    }


def _compare_forms(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    batch_id: int,
    common: set[str],
    other: set[str],
) -> None:
    """`definition` where the columns read before and after are equal; else `source`, and both where
    another column holds something."""
    landed, refused = (
        [
            f"[{', '.join(value.format(name) for name in sorted(names))}]"
            for names in (common, other)
        ]
        for value in ('"{}"', "json_extract_string(row_as_sent, '$.\"{}\"')")
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sent AS
        SELECT _record_id AS record, _row_hash AS hash,
            any_value({landed[0]}) AS common, any_value({landed[1]}) AS other
        FROM lake.{landing_name(source, stream)}
        WHERE _op IN ('insert', 'update') AND _record_id IN (SELECT record FROM touched)
        GROUP BY ALL
        UNION
        SELECT source_record_id, row_hash, any_value({refused[0]}), any_value({refused[1]})
        FROM lake.quarantine.row
        WHERE source = '{source.name}' AND stream = '{stream.name}'
            AND source_record_id IN (SELECT record FROM touched)
        GROUP BY ALL;

        UPDATE event SET cause = verdict.cause
        FROM (
            SELECT old.record, old.hash AS old_hash, new.hash AS new_hash,
                CASE WHEN old_sent.common IS NOT DISTINCT FROM new_sent.common THEN 'definition'
                     WHEN len(list_filter(list_concat(old_sent.other, new_sent.other),
                         lambda one: one IS NOT NULL)) > 0 THEN 'definition+source'
                     ELSE 'source' END AS cause
            FROM event AS old JOIN event AS new USING (record, batch_id)
            JOIN sent AS old_sent ON old_sent.record = old.record AND old_sent.hash = old.hash
            JOIN sent AS new_sent ON new_sent.record = new.record AND new_sent.hash = new.hash
            WHERE batch_id = {batch_id} AND NOT old.has_twin AND NOT new.has_twin
                AND old.side = 'closed' AND new.side = 'opened') AS verdict
        WHERE event.batch_id = {batch_id} AND event.record = verdict.record
            AND event.hash IN (verdict.old_hash, verdict.new_hash)
        """
    )


def _count(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream, after: date, until: date
) -> Iterator[Change]:
    """Events of quarantine, then versions of every core table, per cause."""
    query = """
        SELECT cause, count(*) FILTER (side = 'opened'), count(*) FILTER (side = 'closed')
        FROM {} GROUP BY cause ORDER BY cause
    """
    for row in connection.execute(query.format("event WHERE NOT sound")).fetchall():
        yield Change(source.name, stream.name, "quarantine.row", *row)
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE why AS
        SELECT record, night, string_agg(DISTINCT cause, '+' ORDER BY cause) AS cause
        FROM (SELECT record, night, unnest(string_split(cause, '+')) AS cause FROM event)
        GROUP BY ALL
        """
    )
    for table in tables().values():
        if table.schema_name == "core" and table.history:
            version = f"""(
                SELECT CASE WHEN side = 'closed' AND closed_reason = 'erased' THEN 'decision'
                    ELSE coalesce(cause, '{UNEXPLAINED}') END AS cause, side
                FROM (
                    SELECT source_record_id, valid_from AS night, closed_reason, 'opened' AS side
                    FROM lake.{table.name}
                    WHERE source = '{source.name}' AND stream = '{stream.name}'
                    UNION ALL
                    SELECT source_record_id, valid_to, closed_reason, 'closed'
                    FROM lake.{table.name}
                    WHERE source = '{source.name}' AND stream = '{stream.name}') AS one
                LEFT JOIN why ON why.record = one.source_record_id AND why.night = one.night
                WHERE one.night > DATE '{after}' AND one.night <= DATE '{until}')"""
            for row in connection.execute(query.format(version)).fetchall():
                yield Change(source.name, stream.name, table.name, *row)

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
from common.quoting import identifier, json_key, literal
from warehouse.tables import landing_name

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

UNEXPLAINED = "unexplained"
COUNTED = """
    SELECT cause, count(*) FILTER (side = 'opened'), count(*) FILTER (side = 'closed')
    FROM {} GROUP BY cause ORDER BY cause
"""


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
    return [
        change
        for source in sources.values()
        for stream in source.streams
        for change in _Difference(connection, source, stream).between(after, until)
    ]


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


class _Difference:
    """One stream between two nights, in temporary tables:

    - `batch`: its batches; before `judged`, all rows were judged last
    - `form`: the forms of every record they touched, sound or refused, from the batch that opened
      it to the one that closed it
    - `event`: what these batches opened and closed, and its cause. A `twin` is the form of the same
      text that it took the place of, `differing` are the rules whose verdict differs
    - `why`: the causes of one night on one record
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
    ) -> None:
        self.connection, self.source, self.stream = connection, source.name, stream.name
        self.landing = f"lake.{landing_name(source, stream)}"
        self.here = f"source = {literal(source.name)} AND stream = {literal(stream.name)}"

    def between(self, after: date, until: date) -> Iterator[Change]:
        self._make_batches(after, until)
        if not self._all("FROM batch LIMIT 1"):
            return
        self._make_events()
        self._explain()
        self._tell_definition_from_source()
        for row in self._all(COUNTED.format("event WHERE NOT sound")):
            yield Change(self.source, self.stream, "quarantine.row", *row)
        self._make_why()
        for name in self._core_tables():
            for row in self._all(COUNTED.format(self._versions(name, after, until))):
                yield Change(self.source, self.stream, name, *row)

    def _all(self, query: str) -> list[tuple]:
        return self.connection.execute(query).fetchall()

    def _make_batches(self, after: date, until: date) -> None:
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE batch AS
            SELECT batch_id, night,
                coalesce(max(batch_id) FILTER (strategy IN {WHOLE}) OVER earlier, 0) AS judged
            FROM lake.ops.ledger WHERE {self.here} AND outcome = 'loaded'
            WINDOW earlier AS (ORDER BY batch_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            QUALIFY night > DATE {literal(after)} AND night <= DATE {literal(until)}
            """
        )

    def _make_events(self) -> None:
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE touched AS
            SELECT _record_id AS record FROM {self.landing}
                WHERE _batch_id IN (SELECT batch_id FROM batch)
            UNION
            SELECT source_record_id FROM lake.quarantine.row
                WHERE {self.here} AND (first_batch_id IN (SELECT batch_id FROM batch)
                    OR closed_batch_id IN (SELECT batch_id FROM batch));

            CREATE OR REPLACE TEMP TABLE form AS
            WITH landed AS (
                SELECT _record_id AS record, _row_hash AS hash, _flags AS rules, _op,
                    _batch_id AS opened,
                    lead(_batch_id) OVER (PARTITION BY _record_id ORDER BY _batch_id) AS closed
                FROM {self.landing} WHERE _record_id IN (SELECT record FROM touched))
            SELECT record, hash, rules, true AS sound, opened, closed
            FROM landed WHERE _op IN ('insert', 'update')
            UNION ALL
            SELECT source_record_id, row_hash, rules, false, first_batch_id, closed_batch_id
            FROM lake.quarantine.row
            WHERE {self.here} AND source_record_id IN (SELECT record FROM touched);

            CREATE OR REPLACE TEMP TABLE event AS
            WITH moment AS (
                SELECT form.*, batch_id, night, 'opened' AS side
                FROM form JOIN batch ON form.opened = batch.batch_id
                UNION ALL
                SELECT form.*, batch_id, night, 'closed'
                FROM form JOIN batch ON form.closed = batch.batch_id),
            paired AS (
                SELECT moment.*, twin.rules AS rules_of_twin, twin.record IS NOT NULL AS has_twin,
                    twin.sound AS sound_twin
                FROM moment LEFT JOIN form AS twin
                    ON twin.record = moment.record AND twin.hash = moment.hash AND moment.batch_id =
                        CASE side WHEN 'opened' THEN twin.closed ELSE twin.opened END)
            SELECT record, hash, sound, batch_id, night, side, has_twin,
                CASE WHEN sound = sound_twin THEN list_concat(
                        list_filter(rules, lambda one: NOT list_contains(rules_of_twin, one)),
                        list_filter(rules_of_twin, lambda one: NOT list_contains(rules, one)))
                     WHEN sound THEN rules_of_twin
                     ELSE rules END AS differing,
                {literal(UNEXPLAINED)} AS cause
            FROM paired
            """
        )

    def _explain(self) -> None:
        """A new form is the source's; one that a changed rule refuses, also that rule's. The same
        form judged otherwise is what changed of what its rules look at."""
        blame = pa.Table.from_pylist(
            list(self._blame()),
            pa.schema([("batch_id", pa.int64()), ("rule", pa.string()), ("cause", pa.string())]),
        )
        self.connection.register("blame", blame)
        self.connection.execute(
            """
            UPDATE event SET cause = found.cause
            FROM (
                SELECT record, hash, batch_id, side,
                    string_agg(DISTINCT cause, '+' ORDER BY cause) AS cause
                FROM (
                    SELECT record, hash, batch_id, side, blame.cause
                    FROM (SELECT * EXCLUDE (cause), unnest(differing) AS rule FROM event)
                    JOIN blame USING (batch_id, rule)
                    WHERE has_twin OR blame.cause IN ('rule', 'definition', 'code')
                    UNION ALL
                    SELECT record, hash, batch_id, side, 'source' FROM event WHERE NOT has_twin)
                GROUP BY record, hash, batch_id, side) AS found
            WHERE event.record = found.record AND event.hash = found.hash
                AND event.batch_id = found.batch_id AND event.side = found.side
            """
        )
        self.connection.unregister("blame")

    def _blame(self) -> Iterator[dict[str, object]]:
        """Of every batch: rule and the causes for which its verdict may be another than before."""
        for batch_id, judged in self._all("SELECT batch_id, judged FROM batch"):
            changed = self._changed_parts(judged, batch_id)
            for kind, name, looks_at in self._all(
                "SELECT kind, name, arg_max(looks_at, batch_id) FROM lake.ops.fingerprint "
                f"WHERE {self.here} AND batch_id <= {batch_id} AND kind IN ('rule', 'implied') "
                "GROUP BY ALL"
            ):
                seen = {(kind, name), *(tuple(one.split(":")) for one in looks_at)}
                kinds = {one for one, _ in seen & changed}
                # Other rows and waivers can touch any row; they are named where nothing else is.
                last = kinds & {"waiver"} | {one for one, _ in seen} & {"rows"}
                for cause in {CAUSES[one] for one in kinds - {"waiver"} or last}:
                    yield {"batch_id": batch_id, "rule": name, "cause": cause}

    def _changed_parts(self, judged: int, batch_id: int) -> set[tuple[str, ...]]:
        """(kind, name) of what changed after batch `judged` up to this one; nothing at the stream's
        first fingerprint, for what was before is not known."""
        return set(
            self._all(
                f"""
                SELECT DISTINCT kind, name FROM lake.ops.fingerprint
                WHERE {self.here} AND batch_id > {judged} AND batch_id <= {batch_id} AND batch_id >
                    (SELECT min(batch_id) FROM lake.ops.fingerprint WHERE {self.here})
                """
            )
        )

    def _tell_definition_from_source(self) -> None:
        """A form may be new because the definition reads other columns: compare those read before
        and after. Where another key gave the records other surrogates, both are possible."""
        present = {name for name, *_ in self._all(f"DESCRIBE {self.landing}")}
        for (batch_id,) in self._all("SELECT batch_id FROM batch"):
            changed = self._changed_parts(batch_id - 1, batch_id)
            if ("shape", "key") in changed:
                self.connection.execute(
                    "UPDATE event SET cause = 'definition+source' "
                    f"WHERE NOT has_twin AND batch_id = {batch_id}"
                )
            elif "column" in {kind for kind, _ in changed}:
                before, after = (
                    self._columns(newest) & present for newest in (batch_id - 1, batch_id)
                )
                if before != after:
                    self._compare_forms(batch_id, before & after, before ^ after)

    def _columns(self, newest: int) -> set[str]:
        """The columns that were read in the newest batch up to this one."""
        return {
            name
            for (name,) in self._all(
                f"SELECT name FROM lake.ops.fingerprint WHERE {self.here} AND kind = 'column' "
                f"AND batch_id <= {newest} GROUP BY name HAVING arg_max(hash IS NOT NULL, batch_id)"
            )
        }

    def _compare_forms(self, batch_id: int, common: set[str], other: set[str]) -> None:
        """`definition` where the columns read before and after are equal; else `source`, and both
        where another column holds something."""
        landed = [[identifier(name) for name in sorted(names)] for names in (common, other)]
        refused = [
            [f"json_extract_string(row_as_sent, {json_key(name)})" for name in sorted(names)]
            for names in (common, other)
        ]
        sent, sent_refused = (
            ", ".join(
                f"any_value([{', '.join(values)}]) AS {name}"
                for name, values in zip(("common", "other"), lists, strict=True)
            )
            for lists in (landed, refused)
        )
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE sent AS
            SELECT _record_id AS record, _row_hash AS hash, {sent} FROM {self.landing}
            WHERE _op IN ('insert', 'update') AND _record_id IN (SELECT record FROM touched)
            GROUP BY ALL
            UNION
            SELECT source_record_id, row_hash, {sent_refused} FROM lake.quarantine.row
            WHERE {self.here} AND source_record_id IN (SELECT record FROM touched)
            GROUP BY ALL;

            UPDATE event SET cause = verdict.cause
            FROM (
                SELECT old.record, old.hash AS old_hash, new.hash AS new_hash,
                    CASE WHEN old_sent.common = new_sent.common THEN 'definition'
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

    def _make_why(self) -> None:
        self.connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE why AS
            SELECT record, night, string_agg(DISTINCT cause, '+' ORDER BY cause) AS cause
            FROM (SELECT record, night, unnest(string_split(cause, '+')) AS cause FROM event)
            GROUP BY ALL
            """
        )

    def _core_tables(self) -> list[str]:
        """The core tables that the stream ever reached."""
        rows = self._all(
            "SELECT DISTINCT table_name FROM lake.ops.core_ledger JOIN lake.ops.ledger "
            f"USING (batch_id) WHERE {self.here} ORDER BY ALL"
        )
        return [name for (name,) in rows]

    def _versions(self, table: str, after: date, until: date) -> str:
        """SQL: side and cause of every version opened or closed in these nights."""
        mine = f"FROM lake.{table} WHERE {self.here}"
        return f"""(
            SELECT side, CASE WHEN side = 'closed' AND closed_reason = 'erased' THEN 'decision'
                ELSE coalesce(cause, {literal(UNEXPLAINED)}) END AS cause
            FROM (
                SELECT source_record_id AS record, valid_from AS night, closed_reason,
                    'opened' AS side {mine}
                UNION ALL
                SELECT source_record_id, valid_to, closed_reason, 'closed' {mine})
            LEFT JOIN why USING (record, night)
            WHERE night > DATE {literal(after)} AND night <= DATE {literal(until)})"""

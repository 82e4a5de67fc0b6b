"""The city's truth of who is spoken of, beside the persons that were found."""

from dataclasses import dataclass

import duckdb

from common.definition import Source
from common.settings import Settings
from tests.truth import _key, table_of
from warehouse.account import last_batch
from warehouse.catalog import attach, open_duckdb
from warehouse.tables import landing_name

SPEAKING = ("resident", "resident_book", "birth_report", "certificate", "birth_notice", "request")

SAID_MORE = "mention_id NOT LIKE 'reporter:%'"
"""A reporter says a name and a phone, and no register has the phone."""


@dataclass(frozen=True)
class Agreement:
    """Pairs of mentions: in one person of ours and of the truth, in ours, in the truth."""

    both: int
    ours: int
    true: int

    @property
    def precision(self) -> float:
        return self.both / self.ours if self.ours else 1.0

    @property
    def recall(self) -> float:
        return self.both / self.true if self.true else 1.0


def next_batch(connection: duckdb.DuckDBPyConnection) -> int:
    """A batch in the ledger, for rows of core that are written as a night's load would."""
    batch = last_batch(connection) + 1
    connection.execute("INSERT INTO lake.ops.ledger (batch_id) VALUES (?)", [batch])
    return batch


def give_truth(
    connection: duckdb.DuckDBPyConnection, settings: Settings, sources: dict[str, Source]
) -> None:
    """Table `truth` (mention_id, person_key): whom each record of core speaks of. Rows that the
    city invented speak of nobody and are not there."""
    connection.execute("CREATE TABLE truth (mention_id VARCHAR, person_key BIGINT)")
    for source in sources.values():
        for stream in source.streams:
            if stream.name not in SPEAKING:
                continue
            key = _key(stream, [f'"{name}"' for name in stream.names])
            connection.execute(
                f"""
                INSERT INTO truth
                SELECT DISTINCT if(role = 'resident' AND mention."table" = 'resident_book', 'book',
                    role) || ':' || _record_id, person_key
                FROM '{settings.home / "city" / "truth" / "mention.parquet"}' AS mention JOIN (
                    SELECT _record_id, {key} AS row_key FROM lake.{landing_name(source, stream)}
                    WHERE _op IN ('insert', 'update') QUALIFY row_number() OVER
                        (PARTITION BY _record_id ORDER BY _batch_id DESC) = 1) USING (row_key)
                WHERE system = '{source.name}' AND mention."table" = '{table_of(stream)}'
                """
            )


def agreement(connection: duckdb.DuckDBPyConnection, groups: str, where: str = "true") -> Agreement:
    """Of the mentions in `truth`, how the grouping `groups` (SQL of mention_id, cluster) agrees."""
    both, ours, true = (
        connection.execute(
            f"""
            SELECT coalesce(sum(n * (n - 1) // 2), 0) FROM (
                SELECT count(*) AS n FROM truth JOIN ({groups}) USING (mention_id)
                WHERE {where} GROUP BY {by})
            """
        ).fetchall()[0][0]
        for by in ("person_key, cluster", "cluster", "person_key")
    )
    return Agreement(int(both), int(ours), int(true))


PERSONS = """
    SELECT role || ':' || source_record_id AS mention_id, person_id AS cluster
    FROM lake.core.person_mention WHERE valid_to IS NULL"""


def of_persons(settings: Settings, sources: dict[str, Source], where: str = "true") -> Agreement:
    """How the persons of the warehouse agree with the truth."""
    connection = open_duckdb(settings)
    try:
        attach(connection, settings, read_only=True)
        give_truth(connection, settings, sources)
        return agreement(connection, PERSONS, where)
    finally:
        connection.close()

"""What a linking leaves for the next, which compares only what changed since: mentions of people as
they were compared, and the pairs that may be one person as they were weighed.

It holds only for the model and the rules of its run (`ops.linking`); an erasure empties it.
"""

from datetime import date
from uuid import UUID, uuid4

import duckdb

from common.errors import WarehouseBusy
from warehouse.catalog import make_equal
from warehouse.tables import tables

MENTIONS, PAIRS, RUN = "core.mention_identity", "ops.person_pair", "ops.linking"
LEFT = (MENTIONS, PAIRS, RUN)


def newest(connection: duckdb.DuckDBPyConnection) -> tuple[UUID, str, str] | None:
    """Run, model and rules of the newest linking."""
    rows = connection.execute(f"SELECT run, model_version, rules FROM lake.{RUN}").fetchall()
    return rows[0] if rows else None


def recall(connection: duckdb.DuckDBPyConnection) -> None:
    """View `before` (mention_id and the columns of core.mention_identity) and table `pair_before`
    (mention_id_l, mention_id_r, weight, probability, residents): what the newest linking left."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW before AS
        SELECT role || ':' || source_record_id AS mention_id, * FROM lake.{MENTIONS};
        CREATE OR REPLACE TEMP TABLE pair_before AS
        SELECT role || ':' || source_record_id AS mention_id_l,
            other_role || ':' || other_source_record_id AS mention_id_r, weight, probability,
            (role = 'resident')::INT + (other_role = 'resident')::INT AS residents
        FROM lake.{PAIRS}
        """
    )


def keep(
    connection: duckdb.DuckDBPyConnection,
    after: tuple[UUID, str, str] | None,
    by: tuple[str, str],
    night: date,
    *,
    anew: bool,
) -> None:
    """Keep mentions and pairs, compared `by` a model and rules, in the caller's transaction.

    `fresh` are the mentions of `touched` records, `weighed` the pairs that were weighed again, and
    those in `standing` are as they were; where all was made `anew`, `fresh` and `weighed` are all.
    Raises WarehouseBusy when `after` is the newest linking no more.
    """
    if newest(connection) != after:
        raise WarehouseBusy(
            "persons were linked or erased meanwhile", next_step="run `muara link` again."
        )
    mentions_held, pairs_held = f"FROM lake.{MENTIONS}", f"FROM lake.{PAIRS}"
    if not anew:
        mentions_held += " SEMI JOIN touched USING (source_record_id)"
        pairs_held = f"""
            SELECT {_parts("pair_before")} FROM pair_before
            ANTI JOIN standing USING (mention_id_l, mention_id_r)"""
    columns = ", ".join(tables()[MENTIONS].columns)
    differs = [
        make_equal(connection, MENTIONS, f"SELECT {columns} FROM fresh", mentions_held),
        make_equal(connection, PAIRS, f"SELECT {_parts('weighed')} FROM weighed", pairs_held),
    ]
    if any(differs) or after is None or after[1:] != by:
        connection.execute(f"DELETE FROM lake.{RUN}")
        connection.execute(f"INSERT INTO lake.{RUN} VALUES (?, ?, ?, ?)", [uuid4(), *by, night])


def _parts(table: str) -> str:
    """The columns of ops.person_pair of a table of pairs."""

    def part(side: str, of: int) -> str:
        return f"split_part({table}.mention_id_{side}, ':', {of})"

    return f"""
        {part("l", 2)}::UUID AS source_record_id, {part("l", 1)} AS role,
        {part("r", 2)}::UUID AS other_source_record_id, {part("r", 1)} AS other_role,
        {table}.weight, {table}.probability"""

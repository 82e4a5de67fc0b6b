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

MENTIONS, PAIRS, RUN = "core.mention_identity", "core.person_pair", "ops.linking"


def recall(connection: duckdb.DuckDBPyConnection, model: str | None, rules: str) -> UUID | None:
    """Tables `before` (mention_id and the columns of core.mention_identity) and `pair_before`
    (mention_id_l, mention_id_r, weight, probability, to_resident): what the newest linking left,
    empty when it compared by another model or other rules. Returns its run, if there was any."""
    left = connection.execute(f"SELECT run, model_version, rules FROM lake.{RUN}").fetchall()
    holds = [(by_model, by_rules) for _, by_model, by_rules in left] == [(model, rules)]
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE before AS
        SELECT role || ':' || source_record_id AS mention_id, * FROM lake.{MENTIONS} WHERE {holds};
        CREATE OR REPLACE TABLE pair_before AS
        SELECT role || ':' || source_record_id AS mention_id_l,
            other_role || ':' || other_source_record_id AS mention_id_r, weight, probability,
            role <> 'resident' AND other_role = 'resident' AS to_resident
        FROM lake.{PAIRS} WHERE {holds}
        """
    )
    return left[0][0] if left else None


def keep(
    connection: duckdb.DuckDBPyConnection,
    after: UUID | None,
    model: str,
    rules: str,
    night: date,
) -> bool:
    """Keep `fresh`, the mentions of `touched` records, and `weighed`, the pairs weighed again, in
    place of those of before; pairs in `standing` are as they were. In the caller's transaction;
    returns whether anything differs from before.

    Raises WarehouseBusy when the newest linking is no longer the run `after`.
    """
    newest = connection.execute(f"SELECT run, model_version, rules FROM lake.{RUN}").fetchall()
    if [run for run, *_ in newest] != [after for _ in range(after is not None)]:
        raise WarehouseBusy(
            "persons were linked or erased meanwhile", next_step="run `muara link` again."
        )
    holds = [tuple(by) for _, *by in newest] == [(model, rules)]
    mentions_held = f"FROM lake.{MENTIONS}"
    pairs_held = f"FROM lake.{PAIRS}"
    if holds:
        mentions_held += " SEMI JOIN touched USING (source_record_id)"
        pairs_held = f"""
            SELECT {_parts("pair_before")} FROM pair_before
            ANTI JOIN standing USING (mention_id_l, mention_id_r)"""
    columns = ", ".join(tables()[MENTIONS].columns)
    differs = [
        make_equal(connection, MENTIONS, f"SELECT {columns} FROM fresh", mentions_held),
        make_equal(connection, PAIRS, f"SELECT {_parts('weighed')} FROM weighed", pairs_held),
    ]
    if any(differs) or not holds:
        connection.execute(
            f"DELETE FROM lake.{RUN}; INSERT INTO lake.{RUN} VALUES (?, ?, ?, ?)",
            [uuid4(), model, rules, night],
        )
    return any(differs)


def _parts(table: str) -> str:
    """The columns of core.person_pair of a table of pairs."""

    def part(side: str, of: int) -> str:
        return f"split_part({table}.mention_id_{side}, ':', {of})"

    return f"""
        {part("l", 2)}::UUID AS source_record_id, {part("l", 1)} AS role,
        {part("r", 2)}::UUID AS other_source_record_id, {part("r", 1)} AS other_role,
        {table}.weight, {table}.probability"""

"""What a linking leaves for the next, which compares only what changed since: mentions of people as
they were compared, and the pairs that may be one person as they were weighed.

It holds only for the model and the rules of its run (`ops.linking`); an erasure empties it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from uuid import UUID, uuid4

import duckdb

from common import lock
from common.errors import WarehouseBusy
from common.settings import Settings
from warehouse.catalog import make_equal
from warehouse.tables import tables

MENTIONS, PAIRS, RUN = "core.mention_identity", "ops.person_pair", "ops.linking"
LEFT = (MENTIONS, PAIRS, RUN)


@dataclass(frozen=True)
class Run:
    """What a linking compared by, and the newest batch that it saw; 0 in a warehouse that did not
    keep it. Two are equal that compared by the same."""

    model_version: str
    rules: str
    night: date = field(compare=False)
    batch_id: int = field(default=0, compare=False)
    run: UUID = field(default_factory=uuid4, compare=False)

    def compared_by(self, model_version: str | None, rules: str) -> bool:
        return (self.model_version, self.rules) == (model_version, rules)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """The lock of whoever links or erases people: each needs what the other left.

    Raises WarehouseBusy after `lock_timeout_seconds`.
    """
    with lock.alone(
        settings,
        "linking",
        what="another linking or erasure",
        next_step="wait for it to end, then run this again.",
    ):
        yield


def newest(connection: duckdb.DuckDBPyConnection) -> Run | None:
    """The newest linking that changed anything."""
    found = connection.execute(f"FROM lake.{RUN}")
    names = [name for name, *_ in found.description]
    rows = found.fetchall()
    return Run(**dict(zip(names, rows[0], strict=True))) if rows else None


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
    after: Run | None,
    run: Run,
    *,
    anew: bool,
) -> None:
    """Keep mentions and pairs as a run compared them, in the caller's transaction.

    `fresh` are mentions in place of those `replaced`, `weighed` the pairs that were weighed again,
    and those in `standing` are as they were; where all was made `anew`, `fresh` and `weighed` are
    all.
    Raises WarehouseBusy when `after` is the newest linking no more: somebody wrote beside
    `alone`.
    """
    before = newest(connection)
    if (before and before.run) != (after and after.run):
        raise WarehouseBusy(
            "persons were linked or erased meanwhile", next_step="run `muara link` again."
        )
    columns = ", ".join(tables()[MENTIONS].columns)
    mentions_held, pairs_held = f"FROM lake.{MENTIONS}", f"FROM lake.{PAIRS}"
    if not anew:
        mentions_held = f"SELECT {columns} FROM replaced"
        pairs_held = f"""
            SELECT {_parts("pair_before")} FROM pair_before
            ANTI JOIN standing USING (mention_id_l, mention_id_r)"""
    differs = [
        make_equal(connection, MENTIONS, f"SELECT {columns} FROM fresh", mentions_held),
        make_equal(connection, PAIRS, f"SELECT {_parts('weighed')} FROM weighed", pairs_held),
    ]
    if any(differs) or after != run:
        connection.execute(f"DELETE FROM lake.{RUN}")
        said = asdict(run)
        names, values = ", ".join(said), ", ".join("?" * len(said))
        connection.execute(f"INSERT INTO lake.{RUN} ({names}) VALUES ({values})", [*said.values()])


def _parts(table: str) -> str:
    """The columns of ops.person_pair of a table of pairs."""

    def part(side: str, of: int) -> str:
        return f"split_part({table}.mention_id_{side}, ':', {of})"

    return f"""
        {part("l", 2)}::UUID AS source_record_id, {part("l", 1)} AS role,
        {part("r", 2)}::UUID AS other_source_record_id, {part("r", 1)} AS other_role,
        {table}.weight, {table}.probability"""

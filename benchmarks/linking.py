"""What a linking costs: the first, and nights of no, of 0.1 % and of 1 % changed records.

    .venv/bin/python -m benchmarks.linking --residents 356629
    .venv/bin/python -m benchmarks.linking --home var

Each is a process of its own (`muara link`); its wall, the seconds that it tells itself (without the
start of Python), its peak memory, the mentions compared and the pairs for which a comparison was
made. A home that is given is copied first. A changed record has another batch and, in core, two
letters of a name exchanged, as a night's load would leave it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.identity import night
from common.definition import load_sources
from common.settings import Settings
from pipeline.sync import prepare
from tests.who import next_batch
from transforms.identity.mentions import REGISTRY
from transforms.identity.model import BLOCKING
from warehouse.catalog import reading, transaction, writing

NIGHTS = (
    ("nothing changed", 0.0),
    ("0.1 % changed, SQL written", 0.001),
    ("0.1 % changed", 0.001),
    ("1 % changed", 0.01),
)
"""The first night after a first linking writes the SQL that the next ones ask."""
NAMED = (
    ("person_identity", "person_name"),
    ("book_resident_identity", "person_name"),
    ("birth_report_identity", "mother_name"),
    ("birth_notice_identity", "mother_name"),
    ("birth_certificate_identity", "child_name"),
    ("report_identity", "reporter_name"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--residents", type=int, default=20_000)
    parser.add_argument("--memory", default="6GB")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="muara-linking-") as folder:
        home = Path(folder) / "var"
        if chosen.home:
            for part in ("lake", "secrets", "city"):
                shutil.copytree(chosen.home / part, home / part)
        else:
            night(home, chosen.residents)
        settings = Settings(home=home, linkage_memory_limit=chosen.memory)
        prepare(settings, load_sources(settings))
        _forget_persons(settings)
        runs: dict[str, dict[str, Any]] = {}
        for name, share in (("first", None), *NIGHTS):
            batch = _change(settings, share) if share is not None else 0
            runs[name] = _link(settings, batch)
            console.print(name, runs[name])
    table = Table("linking", "wall s", "s within", "ratio", "peak MiB", "mentions", "compared",
                  "pairs")  # fmt: skip
    first = runs["first"]["seconds"]
    for name, run in runs.items():
        table.add_row(
            name, f"{run['wall']:.1f}", f"{run['seconds']:.1f}", f"{run['seconds'] / first:.3f}",
            *(f"{run[of]:,.0f}" for of in ("peak", "mentions", "compared", "pairs")),
        )  # fmt: skip
    console.print(table)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(runs, indent=2))


def _forget_persons(settings: Settings) -> None:
    """As before any linking."""
    with writing(settings) as connection, transaction(connection):
        for name in ("core.person_mention", "core.person_history", "core.mention_identity",
                     "ops.person_pair", "core.golden_record", "core.golden_record_identity",
                     "core.golden_origin", "core.birth_case", "ops.linking", "ops.identity_model",
                     "ops.identity_term"):  # fmt: skip
            connection.execute(f"DELETE FROM lake.{name}")


def _link(settings: Settings, batch: int) -> dict[str, Any]:
    """One run; the pairs are those of mentions of `batch` or later."""
    environment = {**os.environ, "MUARA_HOME": str(settings.home),
                   "MUARA_LINKAGE_MEMORY_LIMIT": str(settings.linkage_memory_limit),
                   "MUARA_IMPACT_ASSESSMENT": "sample city, invented people"}  # fmt: skip
    began = time.monotonic()
    command = [sys.executable, "-m", "muara", "link", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        told = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    wall = time.monotonic() - began
    # In a process of its own: the peak of a child is at least what its parent holds.
    with get_context("spawn").Pool(1) as pool:
        pairs = pool.apply(_pairs, (settings, batch))
    return told | {"wall": wall, "peak": usage.ru_maxrss / 1024, "pairs": pairs}


def _change(settings: Settings, share: float) -> int:
    """Change this share of the records; returns the batch."""
    with writing(settings) as connection, transaction(connection):
        batch = next_batch(connection)
        for table, name in NAMED if share else ():
            connection.execute(
                f"""
                UPDATE lake.core.{table} SET batch_id = {batch},
                    {name} = {name}[2:2] || {name}[1:1] || {name}[3:]
                WHERE valid_to IS NULL AND hash(source_record_id, {batch}) % 10000 < {share * 1e4}
                """
            )
    return batch


def _pairs(settings: Settings, batch: int) -> int:
    """Pairs that agree on a blocking rule, one of them of `batch` or later, not two residents."""

    def blocks(side: str) -> str:
        return " UNION ALL ".join(
            f"""
            SELECT md5_number(concat_ws('|', {rule}, {", ".join(keys)})) AS block, place, is_new
            FROM {side}
            WHERE {" AND ".join(f"{key} IS NOT NULL" for key in keys)}
            """
            for rule, keys in enumerate(BLOCKING)
        )

    with reading(settings) as connection:
        connection.execute(f"SET memory_limit = '{settings.linkage_memory_limit}B'")
        connection.execute(
            f"""
            CREATE TEMP TABLE mention AS
            SELECT *, row_number() OVER () AS place, batch_id >= {batch} AS is_new
            FROM lake.core.mention_identity;
            CREATE TEMP TABLE other AS FROM mention WHERE role <> '{REGISTRY}';
            CREATE TEMP TABLE other_block AS {blocks("other")};
            CREATE TEMP TABLE block AS
            FROM ({blocks("mention")}) SEMI JOIN other_block USING (block);
            """
        )
        return connection.execute(
            """
            SELECT count(DISTINCT least(l.place, r.place)::UBIGINT << 32
                | greatest(l.place, r.place))
            FROM other_block l JOIN block r USING (block)
            WHERE l.place <> r.place AND (l.is_new OR r.is_new)
            """
        ).fetchall()[0][0]


if __name__ == "__main__":
    main()

"""What a reconciliation costs beside a full comparison, and that it finds one changed value.

    .venv/bin/python -m benchmarks.reconcile [ROWS] [SERVER …]

On private PostgreSQL and MariaDB with a table of ROWS (2,000,000) residents, loaded by cursor: one
value changed behind the cursor's back, one landed value changed on our side. `full` is the same
comparison with every row pulled. Whole processes; `server` is the CPU time of the database.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers.contenders import home_of
from benchmarks.peers.measure import Command, RunFailed, measure
from benchmarks.peers.source import SERVERS, Source, database, running
from common.settings import Settings
from tests.servers import Server
from warehouse.catalog import writing

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
KINDS = sys.argv[2:] or list(SERVERS)
MEBI = 1 << 20
FULL = """
import sys
import pipeline.reconcile
from connectors.readers import read
def whole(pull, held):
    yield from read(pull)
    pull.present = pull.extracted
pipeline.reconcile.differing = whole
sys.argv = ["muara", "reconcile", "bench_cursor", "penduduk", "--json"]
from muara.cli import main
main()
"""
SUMS = FULL.replace("pipeline.reconcile.differing = whole\n", "")


def main() -> None:
    console = Console(width=120)
    table = Table("server", "what", "way", "wall s", "CPU s", "server CPU s", "peak MiB",
                  "rows pulled", "found")  # fmt: skip
    for kind in KINDS:
        with running(kind) as server, tempfile.TemporaryDirectory(prefix="muara-bench-") as home:
            console.print(f"{SERVERS[kind]}: {ROWS:,} rows", style="dim")
            source = database(kind, server, "bench", ROWS)
            folder = Path(home)
            measure(_command(source, folder, "-m", "muara", "sync", "bench_cursor"), folder)
            for what, plant in PLANTED.items():
                with plant(source, folder):
                    for way, program in (("sums", SUMS), ("full", FULL)):
                        row = _run(server, source, folder, program)
                        table.add_row(SERVERS[kind], what, way, *row)
    console.print(table)


def _command(source: Source, folder: Path, *words: str) -> Command:
    """It may end with a code of its own: an alarm is what is looked for."""
    shell = ["sh", "-c", '"$@" || test $? = 14', "sh", sys.executable, *words]
    return Command(shell, {"AIRFLOW_CONN_BENCH": source.url, **home_of(folder)})


def _run(server: Server, source: Source, folder: Path, program: str) -> list[str]:
    before = _cpu(server)
    cost, output = measure(_command(source, folder, "-c", program), folder)
    spent = _cpu(server) - before
    report = _report(output)
    found = report["unexplained_kinds"] | report["explained"]
    return [f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{spent:.1f}", f"{cost.peak / MEBI:.0f}",
            f"{report['rows_pulled']:,}", json.dumps(found)]  # fmt: skip


def _report(output: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("[") :])[0][0]
        return found
    except (ValueError, IndexError):
        raise RunFailed(output[-500:]) from None


def _cpu(server: Server) -> float:
    """Seconds of the server's process and of those that it started and that have ended."""
    assert server.process is not None
    ticks = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")")[1].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _nothing(source: Source, folder: Path) -> Iterator[None]:
    yield


@contextmanager
def _at_the_source(source: Source, folder: Path) -> Iterator[None]:
    change = f"UPDATE penduduk SET {{}}, updated_at = updated_at WHERE id = {ROWS // 2}"
    source.execute(change.format("penghasilan = penghasilan + 1"))
    yield
    source.execute(change.format("penghasilan = penghasilan - 1"))


@contextmanager
def _on_our_side(source: Source, folder: Path) -> Iterator[None]:
    settings = Settings(home=folder)
    with writing(settings) as connection:
        connection.execute(
            "UPDATE lake.landing.bench_cursor__penduduk SET rw = '999' "
            f"WHERE resident_id = '{ROWS // 3}'"
        )
    yield


PLANTED = {
    "nothing": _nothing,
    "one value at the source": _at_the_source,
    "one landed value of ours": _on_our_side,
}

main()

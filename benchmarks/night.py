"""Where a night's time goes: city build, first night, unchanged night, stage by stage.

    .venv/bin/python benchmarks/night.py [RESIDENTS]

Whole processes, wall clock and peak memory as the operating system counts them. Machines differ
and are noisy: compare runs of one machine only, and shares rather than seconds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESIDENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 356_629
# Between two marks, what the time was spent on.
STAGE_OF = {
    "pulling": "open staging",
    "pulled": "read the source",
    "staged": "hash, find duplicates, type",
    "validated": "expectations",
    "written": "write landing, quarantine, core",
    "balanced": "count and check the law",
    "committed": "commit",
}


def run(home: Path, *words: str) -> tuple[float, float, str]:
    """Seconds, peak MiB and output of one command."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "muara", *words],
        env={**os.environ, "MUARA_HOME": str(home)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"muara {' '.join(words)} ended with {status}")
    return time.monotonic() - started, usage.ru_maxrss / 1024, output


def stages(log: Path) -> Counter[str]:
    """Seconds per stage over all streams, and of publishing and delivering, from the log."""
    spent: Counter[str] = Counter()
    before = None
    for line in log.read_text().splitlines():
        event = json.loads(line)
        at = datetime.fromisoformat(event["timestamp"])
        name = STAGE_OF.get(event.get("stage", ""), event["event"])
        if before and event["event"] != "sync_started":
            spent[name] += (at - before).total_seconds()
        before = at
    return spent


def main() -> None:
    console = Console(width=100)
    with tempfile.TemporaryDirectory(prefix="muara-bench-") as folder:
        home = Path(folder) / "var"
        log = home / "logs" / "muara.log"
        steps: list[tuple[str, float, float, int]] = []
        detail: dict[str, Counter[str]] = {}
        seconds, peak, _ = run(home, "city", "build", "--residents", str(RESIDENTS))
        steps.append(("city build", seconds, peak, RESIDENTS))
        for name, words in {
            "first night": ("night", "--direct", "--json"),
            "unchanged night": ("night", "--direct", "--json"),
            "unchanged night through Airflow": ("night", "--json"),
        }.items():
            log.unlink(missing_ok=True)
            seconds, peak, output = run(home, *words)
            steps.append((name, seconds, peak, json.loads(output)["summary"]["extracted"]))
            detail[name] = stages(log)
    table = Table("step", "wall s", "peak MiB", "rows", "rows/s")
    for name, seconds, peak, rows in steps:
        table.add_row(name, f"{seconds:.1f}", f"{peak:.0f}", f"{rows:,}", f"{rows / seconds:,.0f}")
    console.print(table)
    names = [name for name in detail if "Airflow" not in name]
    where = Table("data work, seconds over all streams", *names)
    for stage in dict.fromkeys(stage for name in names for stage in detail[name]):
        where.add_row(stage, *(f"{detail[name][stage]:.1f}" for name in names))
    where.add_row("together", *(f"{sum(detail[name].values()):.1f}" for name in names))
    console.print(where)


main()

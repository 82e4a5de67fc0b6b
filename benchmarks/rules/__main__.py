"""The registry's whole suite over the city's residents and over two million rows, as ratios.

    .venv/bin/python -m benchmarks.rules [--rows 2000000] [--repeats 3]

Each contender is a process of its own and starts from the staged batch. Seconds are apart from
imports; peak memory is of the whole process. Ratios are of processor seconds, medians of rounds in
which each contender runs once, so that a busy machine disturbs them least. All must count the same
broken rows.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

import city
from benchmarks.peers.measure import Command, measure
from benchmarks.rules import batch
from common.settings import ROOT

CONTENDERS = ("aggregate", "ours", "gx-pandas")
RESIDENTS = 356_629


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the larger batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--residents", type=int, default=RESIDENTS)
    parser.add_argument("--only", default=",".join(CONTENDERS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    console, results = Console(width=120), []
    with tempfile.TemporaryDirectory(prefix="muara-rules-") as folder:
        home = Path(folder) / "var"
        city.build(home / "city", chosen.residents, 1)
        for rows in (None, chosen.rows):
            path = Path(folder) / "typed.parquet"
            batch.make(home, rows, path)
            results += _compare(home, path, chosen.only.split(","), chosen.repeats)
    _show(console, results)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")


def _compare(home: Path, path: Path, names: list[str], repeats: int) -> list[dict]:
    runs: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            words = [
                sys.executable,
                "-m",
                "benchmarks.rules.contenders",
                name,
                f"{home}",
                f"{path}",
            ]
            cost, said = measure(Command(words, {"PYTHONPATH": str(ROOT)}), ROOT)
            runs[name].append({**json.loads(said.splitlines()[-1]), "peak": cost.peak})
    counts = {name: some[0]["counts"] for name, some in runs.items()}
    if any(found != counts[names[0]] for found in counts.values()):
        raise SystemExit(f"WRONG: the contenders do not count the same rows: {counts}")
    return [
        {
            "rows": some[0]["rows"],
            "contender": name,
            "rules": len(some[0]["counts"]),
            "broken": sum(some[0]["counts"].values()),
            **{what: median(run[what] for run in some) for what in ("wall", "cpu", "peak")},
            "ratio": median(
                run["cpu"] / floor["cpu"] for run, floor in zip(some, runs[names[0]], strict=True)
            ),
        }
        for name, some in runs.items()
    ]


def _show(console: Console, results: list[dict]) -> None:
    table = Table("rows", "contender", "rules", "broken", "wall s", "cpu s", "ratio", "peak MiB")
    for one in results:
        table.add_row(
            f"{one['rows']:,}", one["contender"], f"{one['rules']}", f"{one['broken']:,}",
            f"{one['wall']:.2f}", f"{one['cpu']:.2f}", f"{one['ratio']:.2f}",
            f"{one['peak'] / 2**20:,.0f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()

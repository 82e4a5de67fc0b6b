"""Muara beside its peers: whole processes on private servers, as ratios to the bare dump.

    .venv/bin/python -m benchmarks.peers
    .venv/bin/python -m benchmarks.peers --rows 200000 --only postgres --tools ours,dlt,ingestr

Each peer gets a virtual environment of its own (`--cache`). Its packages come from the package
index; a peer that cannot be had here stands in the table as such. Our loads validate 15 rules, keep
every version and write the ledger; the peers' loads copy. Run it on a quiet machine: of noisy runs
only the ratios say anything, and seconds are of one machine.
"""

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers import scenarios
from benchmarks.peers.contenders import ROOT, contenders
from benchmarks.peers.files import files
from benchmarks.peers.scenarios import Bench, Result
from benchmarks.peers.source import SERVERS, database, running

SCENARIOS = ("full", "night", "checksum", "memory", "files")
MEBI = 1 << 20


def main() -> None:
    chosen = _arguments()
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="muara-peers-") as folder:
        bench = Bench(
            rows=chosen.rows,
            repeats=chosen.repeats,
            cache=chosen.cache.resolve(),
            scratch=Path(folder),
            tools=_named(chosen.tools),
            say=lambda text: console.print(f"  {text}", style="dim"),
        )
        try:
            for kind in chosen.only:
                if set(chosen.scenarios) - {"files"}:
                    _compare(bench, kind, chosen.scenarios)
            if "files" in chosen.scenarios:
                files(bench)
        finally:
            _show(console, bench, chosen)
    if wrong := sorted({result.tool for result in bench.results if result.state == "WRONG"}):
        raise SystemExit(f"WRONG: the table of {', '.join(wrong)} is not the source's")


def _show(console: Console, bench: Bench, chosen: argparse.Namespace) -> None:
    for table in _tables(bench.results):
        console.print(table)
    versions = {f"{name} {version}" for tool in bench.versions.values()
                for name, version in tool.items()}  # fmt: skip
    console.print(f"{chosen.rows:,} rows × 20, median of {chosen.repeats}; {os.cpu_count()} cores")
    console.print("versions: " + ", ".join(sorted(versions)))
    if chosen.json:
        found = {
            "rows": chosen.rows,
            "repeats": chosen.repeats,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "versions": bench.versions,
            "results": [asdict(result) for result in bench.results],
        }
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


def _compare(bench: Bench, kind: str, chosen: list[str]) -> None:
    with running(kind) as server:
        bench.say(f"{kind}: filling {bench.rows:,} rows")
        source = database(kind, server, "bench", bench.rows)
        if "full" in chosen:
            scenarios.full(bench, source)
        if "memory" in chosen:
            small = database(kind, server, "bench_tenth", bench.rows // 10)
            scenarios.memory(bench, source, small)
        if "night" in chosen:
            scenarios.nights(bench, source)
        if "checksum" in chosen:
            scenarios.checksum(bench, source)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__.split("\n")[0])
    known = [tool.name for tool in contenders()]
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", type=_list, default=[*SERVERS], help=", ".join(SERVERS))
    parser.add_argument("--tools", type=_list, default=known, help=f"ours, {', '.join(known)}")
    parser.add_argument("--scenarios", type=_list, default=[*SCENARIOS], help=", ".join(SCENARIOS))
    parser.add_argument("--cache", type=Path, default=ROOT / "var" / "bench")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    chosen = parser.parse_args()
    for name, given, allowed in (
        ("--only", chosen.only, SERVERS),
        ("--tools", chosen.tools, ["ours", *known]),
        ("--scenarios", chosen.scenarios, SCENARIOS),
    ):
        if strangers := set(given) - set(allowed):
            parser.error(f"{name}: unknown: {', '.join(sorted(strangers))}")
    if chosen.rows < 1000:
        parser.error("--rows: at least 1000")
    return chosen


def _list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _named(names: list[str]) -> list:
    return [one for one in contenders() if {one.name, one.name.split("-")[0]} & set(names)]


def _tables(results: list[Result]) -> list[Table]:
    tables = {}
    for one in results:
        title = f"{SERVERS.get(one.server, one.server)}: {one.scenario}"
        if title not in tables:
            tables[title] = Table(
                "tool", "to", "wall s", "× floor", "CPU s", "peak MiB", "written MiB",
                "folder + MiB", "source read", "pulled", "check", title=title, title_justify="left",
            )  # fmt: skip
        tables[title].add_row(
            one.tool, one.to, _number(one.wall, 2), _number(one.ratio, 2), _number(one.cpu, 2),
            _mebi(one.peak), _mebi(one.written), _mebi(one.grown), _read(one),
            "" if one.extracted is None else f"{one.extracted:,}",
            f"{one.state} {_short(one.note)}".strip(),
        )  # fmt: skip
    return list(tables.values())


def _read(one: Result) -> str:
    """What the server's own counter says: PostgreSQL rows it touched, MariaDB bytes it sent."""
    if one.read is None:
        return ""
    return f"{one.read / MEBI:,.1f} MiB" if one.server == "mariadb" else f"{one.read:,.0f} rows"


def _short(text: str) -> str:
    """The whole text is in the JSON file."""
    return text if len(text) < 100 else f"{text[:100]}…"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _mebi(value: float | None) -> str:
    return "" if value is None else f"{value / MEBI:,.1f}"


main()

"""A delimited file as a spreadsheet exports it (cp1252, `;`), beside iconv piped into DuckDB."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import duckdb

from benchmarks.peers import contenders
from benchmarks.peers.measure import Command, RunFailed, measure
from benchmarks.peers.scenarios import Bench, Result, empty, fill
from benchmarks.peers.source import CHECKSUM, as_checksum
from benchmarks.penduduk import ROWS

PIPE = 'iconv -f CP1252 -t UTF-8 "$DROP/penduduk.csv" | "$PYTHON" "$PROGRAM" "$OUT"'


def files(bench: Bench) -> None:
    """Our whole load of one file, and as the floor the pipe, into Parquet and no further."""
    drop, home = bench.scratch / "drop", bench.scratch / "files"
    truth = _write(drop, bench.rows)
    shared = {"server": "files", "scenario": "CSV, cp1252"}
    bare = Result(tool="iconv | DuckDB", to="Parquet", **shared)
    ours = Result(tool="ours-files", to="DuckLake, governed", **shared)
    bench.results += [bare, ours]
    scanner = next(one for one in contenders.contenders() if one.environment == "duckdb")
    environment = bench.environment(scanner)
    if isinstance(environment, str):
        bare.state, bare.note = "missing", environment
        return
    pipe = _pipe(environment, drop, home)
    tool = replace(contenders.contenders()[0], name="ours-files")
    bares, governed = [], []
    for _ in range(bench.repeats):
        bench.say("files: CSV")
        empty(home)
        cost, _said = measure(pipe, home)
        bares.append({**asdict(cost), "ratio": 1.0})
        bare.note, bare.state = _judged(_of_parquet(home), truth)
        empty(home)
        try:
            mine, said = measure(contenders.ours_of(tool, f"file://{drop}", home), home)
            governed.append({**asdict(mine), "floor": cost.wall, "ratio": mine.wall / cost.wall})
            ours.extracted = contenders.extracted(said)
            ours.note, ours.state = _judged(tool.check(tool, home), truth)
        except RunFailed as error:
            ours.state, ours.note = "failed", str(error)
            break
    fill(bare, bares)
    fill(ours, governed)
    shutil.rmtree(home, ignore_errors=True)


def _write(drop: Path, rows: int) -> list[str]:
    """The file, with letters that differ between the encodings; what it must come to."""
    drop.mkdir()
    plain = drop / "utf8"
    named = f"SELECT * REPLACE (replace(nama, 'WARGA', 'Désirée') AS nama) FROM ({ROWS})"
    query = named.format(rows=rows, first=1)
    duckdb.execute(f"COPY ({query}) TO '{plain}' (FORMAT csv, DELIMITER ';', HEADER)")
    text = plain.read_text("utf-8")
    (drop / "penduduk.csv").write_text(text, "cp1252")
    plain.unlink()
    return as_checksum(duckdb.execute(CHECKSUM.format(table=f"({query})")).fetchone() or ())


def _pipe(environment: Path, drop: Path, home: Path) -> Command:
    program = contenders.HERE / "tools" / "csv_pipe.py"
    return Command(
        ["bash", "-o", "pipefail", "-c", PIPE],
        {
            "DROP": str(drop),
            "OUT": str(home),
            "PYTHON": str(environment / "bin" / "python"),
            "PROGRAM": str(program),
        },
    )


def _of_parquet(home: Path) -> list[str]:
    table = f"read_parquet('{home}/out.parquet')"
    return as_checksum(duckdb.execute(CHECKSUM.format(table=table)).fetchone() or ())


def _judged(found: list[str], truth: list[str]) -> tuple[str, str]:
    if found == truth:
        return "", "ok"
    return f"{json.dumps(found)} instead of {json.dumps(truth)}", "WRONG"

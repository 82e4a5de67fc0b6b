"""Files into Parquet beside other tools, as ratios to the first contender of each kind of file.

    .venv/bin/python -m benchmarks.files [--kind csv] [--repeats 3] [--csv-rows 2000000]

Each contender is a process of its own, in its own environment where ours does not have it, and
writes `out.parquet`; rounds take turns. Ratios are of wall time and of processor seconds, medians
of rounds. A contender whose rows are not as many as were written is WRONG.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.peers.contenders import Contender, NotInstalled, install
from benchmarks.peers.measure import Command, RunFailed, measure
from benchmarks.penduduk import ROWS
from common.settings import ROOT

PIPE = 'iconv -f CP1252 -t UTF-8 "$FILE" | "$PYTHON" "$PROGRAM" "$OUT"'
OURS = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from benchmarks.files import stream_of
from connectors.readers.files.formats import parse
path, out, kind = sys.argv[1:]
batches = parse(stream_of(kind), "file", Path(path))
first = next(batches)
with pq.ParquetWriter(f"{out}/out.parquet", first.schema) as target:
    target.write_batch(first)
    for batch in batches:
        target.write_batch(batch)
"""
PANDAS = """
import sys, pandas
path, out, kind = sys.argv[1:]
if kind == "csv":
    found = pandas.read_csv(path, sep=";", encoding="cp1252", dtype=str, keep_default_na=False)
else:
    found = pandas.read_json(path, lines=True, dtype=False, convert_dates=False)
found.to_parquet(f"{out}/out.parquet")
"""
ARROW = """
import sys, pyarrow.parquet as pq
path, out, kind = sys.argv[1:]
if kind == "csv":
    from pyarrow import csv
    found = csv.read_csv(
        path, csv.ReadOptions(encoding="cp1252"), csv.ParseOptions(delimiter=";")
    )
else:
    from pyarrow import json
    found = json.read_json(path)
pq.write_table(found, f"{out}/out.parquet")
"""
DUCKDB = """
import sys, duckdb
path, out, kind = sys.argv[1:]
duckdb.execute(f"COPY (FROM read_json('{path}', format = 'newline_delimited')) "
               f"TO '{out}/out.parquet'")
"""
PYOGRIO = """
import sys, pyogrio, pyarrow.parquet as pq
path, out, kind = sys.argv[1:]
_, found = pyogrio.read_arrow(path)
pq.write_table(found, f"{out}/out.parquet")
"""
DBFREAD = """
import sys, pandas
from dbfread import DBF
path, out, kind = sys.argv[1:]
pandas.DataFrame(iter(DBF(path))).to_parquet(f"{out}/out.parquet")
"""


@dataclass(frozen=True)
class Reader:
    """A contender: its program, and the peers' environment it needs beside ours."""

    name: str
    program: str
    environment: str | None = None


CONTENDERS = {
    "csv": [Reader("iconv | duckdb", PIPE), Reader("ours", OURS), Reader("pyarrow", ARROW),
            Reader("pandas", PANDAS)],
    "dbf": [Reader("pyogrio", PYOGRIO, "dbf"), Reader("ours", OURS),
            Reader("dbfread", DBFREAD, "dbf")],
    "jsonl": [Reader("duckdb", DUCKDB), Reader("ours", OURS), Reader("pyarrow", ARROW),
              Reader("pandas", PANDAS)],
}  # fmt: skip
FORMATS = {
    "csv": {"kind": "delimited", "encoding": "cp1252", "separator": ";"},
    "dbf": {"kind": "dbf"},
    "jsonl": {"kind": "json_lines"},
}
WIDTHS = {"id": ("N", 10), "nama": ("C", 30), "tempat_lahir": ("C", 20), "alamat": ("C", 40)}


def names() -> list[str]:
    return [one[0] for one in duckdb.execute(f"DESCRIBE {ROWS.format(rows=1, first=1)}").fetchall()]


def stream_of(kind: str):
    """The benchmark's table as a stream of ours."""
    from common.definition import Stream

    columns = {(name.upper()[:10] if kind == "dbf" else name): {"name": name} for name in names()}
    return Stream.model_validate(
        {"name": "rows", "title": "-", "connection": "made", "strategy": "files",
         "read": {"reader": "files", "pattern": "*", "format": FORMATS[kind]}, "key": ["id"],
         "columns": columns}
    )  # fmt: skip


def write(kind: str, path: Path, rows: int) -> None:
    """The table `penduduk`, with letters beyond ASCII."""
    query = ROWS.format(rows=rows, first=1)
    query = f"SELECT * REPLACE (replace(nama, 'WARGA', 'Désirée') AS nama) FROM ({query})"
    match kind:
        case "csv":
            duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT csv, DELIMITER ';', HEADER)")
            path.write_text(path.read_text("utf-8"), "cp1252")
        case "jsonl":
            duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT json)")
        case "dbf":
            _write_dbf(query, path)


def _write_dbf(query: str, path: Path) -> None:
    """dBase III in cp1252, every field as text of one width."""
    columns = names()
    widths = [WIDTHS.get(name, ("C", 26)) for name in columns]
    parts = " || ".join(
        f"rpad(coalesce(CAST({name} AS VARCHAR), ''), {width}, ' ')"
        for name, (_, width) in zip(columns, widths, strict=True)
    )
    record = 1 + sum(width for _, width in widths)
    found = duckdb.execute(f"SELECT ' ' || {parts} FROM ({query})").fetchall()
    header = bytearray(32)
    header[0], header[1:4], header[29] = 3, bytes([126, 11, 24]), 0x03
    header[4:8] = len(found).to_bytes(4, "little")
    header[8:10] = (32 + 32 * len(columns) + 1).to_bytes(2, "little")
    header[10:12] = record.to_bytes(2, "little")
    with path.open("wb") as file:
        file.write(header)
        for name, (kind, width) in zip(columns, widths, strict=True):
            field = bytearray(32)
            field[: len(name[:10])] = name.upper()[:10].encode()
            field[11], field[16] = ord(kind), width
            file.write(field)
        file.write(b"\r")
        for (row,) in found:
            file.write(row.encode("cp1252"))
        file.write(b"\x1a")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=CONTENDERS, action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv-rows", type=int, default=2_000_000)
    parser.add_argument("--rows", type=int, default=200_000, help="of other kinds of file")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    console, results = Console(width=120), []
    for kind in chosen.kind or CONTENDERS:
        rows = chosen.csv_rows if kind == "csv" else chosen.rows
        found = _compare(kind, rows, chosen.repeats)
        _show(console, kind, rows, found)
        results += found
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")


def _compare(kind: str, rows: int, repeats: int) -> list[dict]:
    with tempfile.TemporaryDirectory(prefix="muara-files-") as scratch:
        path, out = Path(scratch) / f"penduduk.{kind}", Path(scratch) / "out"
        write(kind, path, rows)
        results = [{"kind": kind, "name": one.name, "runs": []} for one in CONTENDERS[kind]]
        for _ in range(repeats):
            for one, result in zip(CONTENDERS[kind], results, strict=True):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                try:
                    cost, _said = measure(_command(one, kind, path, out), ROOT)
                except (RunFailed, NotInstalled) as error:
                    result["note"] = str(error)
                    continue
                result["runs"].append((cost.wall, cost.cpu, cost.peak))
                (count,) = duckdb.execute(
                    f"SELECT count(*) FROM '{out}/out.parquet'"
                ).fetchone() or (0,)
                if count != rows:
                    result["note"] = f"WRONG: {count} rows"
        return results


def _command(reader: Reader, kind: str, path: Path, out: Path) -> Command:
    python = Path(sys.executable)
    if reader.program == PIPE:
        program = Path(__file__).parent / "peers" / "tools" / "csv_pipe.py"
        return Command(
            ["bash", "-o", "pipefail", "-c", PIPE],
            {"FILE": str(path), "OUT": str(out), "PYTHON": str(python), "PROGRAM": str(program)},
        )
    if reader.environment:
        peer = Contender(reader.name, "Parquet", None, None, reader.environment)
        python = install(peer, ROOT / "var" / "bench" / "environments") / "bin" / "python"
    return Command(
        [str(python), "-c", reader.program, str(path), str(out), kind], {"PYTHONPATH": str(ROOT)}
    )


def _show(console: Console, kind: str, rows: int, results: list[dict]) -> None:
    table = Table(title=f"{kind}, {rows:,} rows × {len(names())}")
    for heading in ("tool", "wall s", "ratio", "processor s", "ratio", "peak MiB", ""):
        table.add_column(heading, justify="right" if heading else "left")
    floor = results[0]["runs"]
    for result in results:
        runs = result["runs"]
        if not runs:
            table.add_row(result["name"], *[""] * 5, result.get("note", ""))
            continue
        ratios = [
            (mine[0] / base[0], mine[1] / base[1]) for mine, base in zip(runs, floor, strict=False)
        ]
        table.add_row(
            result["name"],
            f"{median(run[0] for run in runs):.1f}",
            f"{median(one[0] for one in ratios):.2f}" if ratios else "",
            f"{median(run[1] for run in runs):.1f}",
            f"{median(one[1] for one in ratios):.2f}" if ratios else "",
            f"{max(run[2] for run in runs) >> 20}",
            result.get("note", ""),
        )
    console.print(table)


if __name__ == "__main__":
    main()

"""Workbooks of people (SIAK layout, 37 columns) to Arrow or rows, by several readers.

python -m benchmarks.workbooks [--rows N] [--only NAME …] [--json FILE]

An XLSX of 200,000 people, written by xlsxwriter, and an XLS (BIFF8) of 65,000, all that its sheet
holds, saved by LibreOffice; people invented. Each reader runs in a process of its own, the peers in
an environment of theirs; of ours the process that it starts counts as well. Seconds of processor
time matter more than wall time on a machine that is not alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

READERS = {
    "xlsx": ("muara", "calamine", "duckdb", "pandas_calamine", "openpyxl", "pandas_openpyxl"),
    "xls": ("muara", "calamine", "pandas_calamine", "pandas_xlrd"),
}
XLS_ROWS = 65_000
SHEET = "Data Penduduk"


def write_book(path: Path, rows: int) -> None:
    import xlsxwriter

    from common.definition import load_sources
    from common.settings import Settings

    stream = load_sources(Settings())["kelurahan"].stream("resident_book")
    columns = stream.read.format.layouts["siak_export"].columns
    with xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_numbers": False}) as book:
        page = book.add_worksheet(SHEET)
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        page.write_row(0, 0, columns)
        for n in range(rows):
            for at, sent in enumerate(columns.values()):
                match sent:
                    case "nik" | "nomor_kk" | "nik_ibu" | "nik_ayah":
                        page.write_string(n + 1, at, f"32740115{n + 10_000_000:08}")
                    case "tanggal_lahir":
                        page.write_number(n + 1, at, 20_000 + n % 20_000, day)
                    case "rt" | "rw":
                        page.write_number(n + 1, at, 1 + n % 9)
                    case "nama" | "ayah" | "ibu" | "alamat":
                        page.write_string(n + 1, at, f"{sent.upper()} {n % 5000}")
                    case _ if sent in stream.columns:
                        page.write_string(n + 1, at, "KARYAWAN SWASTA")


def read(name: str, path: Path) -> int:
    """How many people the reader finds."""
    match name:
        case "muara":
            from common.definition import load_sources
            from common.settings import Settings
            from connectors.readers.files.formats import workbook

            stream = load_sources(Settings())["kelurahan"].stream("resident_book")
            access = stream.read.format.model_copy(update={"memory_mb": 8192})
            return sum(one.num_rows for one in workbook.parse(access, stream, "bench", path))
        case "calamine":
            from python_calamine import CalamineWorkbook

            book = CalamineWorkbook.from_path(path)
            return len(book.get_sheet_by_index(0).to_python()) - 1
        case "duckdb":
            import duckdb

            spec = find_spec("duckdb_extension_excel")
            assert spec
            assert spec.origin
            folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
            with duckdb.connect() as connection:
                connection.execute(f"LOAD '{folder / 'excel.duckdb_extension'}'")
                query = f"FROM read_xlsx('{path}', all_varchar = true, header = true)"
                return connection.execute(query).to_arrow_table().num_rows
        case "pandas_calamine" | "pandas_openpyxl" | "pandas_xlrd":
            import pandas as pd

            return len(pd.read_excel(path, engine=name.partition("_")[2], dtype=str))
        case "openpyxl":
            from openpyxl import load_workbook

            book = load_workbook(path, read_only=True)
            return sum(1 for _ in book.active.iter_rows(values_only=True)) - 1
    raise ValueError(name)


def environment(name: str) -> str:
    """The Python that has the reader."""
    if name == "muara":
        return sys.executable
    from benchmarks.peers.contenders import ROOT, Contender, install

    peer = Contender(name, "Arrow", None, None, "workbooks")
    return str(install(peer, ROOT / "var" / "bench" / "environments") / "bin" / "python")


def measured(name: str, path: Path) -> dict[str, float | int | str]:
    python = environment(name)
    began = time.perf_counter()
    done = subprocess.run(
        [python, "-m", "benchmarks.workbooks", "--read", name, str(path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {
        "book": path.suffix.removeprefix("."),
        "reader": name,
        "wall_s": round(time.perf_counter() - began, 2),
        **json.loads(done.stdout),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    every = sorted({name for names in READERS.values() for name in names})
    parser.add_argument("--only", nargs="*", choices=every, default=every)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read:
        people = read(chosen.read[0], Path(chosen.read[1]))
        own, started = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        cpu = sum(one.ru_utime + one.ru_stime for one in (own, started))
        status = Path("/proc/self/status").read_text()  # ru_maxrss begins with the parent's
        peak = {"peak_mib": int(status.split("VmHWM:")[1].split()[0]) // 1024,
                "process_peak_mib": started.ru_maxrss // 1024}  # fmt: skip
        print(json.dumps({"people": people, "cpu_s": round(cpu, 2), **peak}))
        return
    from tests.books import converted

    found = []
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as folder:
        for kind, readers in READERS.items():
            rows = min(chosen.rows, XLS_ROWS) if kind == "xls" else chosen.rows
            path = Path(folder) / f"{kind}-book.xlsx"
            write_book(path, rows)
            if kind == "xls":
                path = converted(path, kind)
            print(f"{kind}: {rows:,} people, {os.path.getsize(path) >> 20} MB")
            for name in readers:
                if name in chosen.only:
                    found.append(measured(name, path))
                    print(found[-1], flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

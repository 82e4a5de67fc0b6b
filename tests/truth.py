"""The city's truth against the warehouse: every source row, its fault and what became of it."""

from pathlib import Path

import duckdb
import pyarrow as pa
import yaml

from common.definition import Source, Stream
from common.settings import ROOT, Settings
from warehouse.catalog import reading
from warehouse.tables import landing_name

# Streams without a primary key: the truth names a row by the MD5 of all its values as sent.
BY_CONTENT = ("resident", "family", "birth_notice", "resident_book")
OTHER_NAMES = {"birth_notice": "hospital_notice", "request": "requests", "mail": "surat",
               "resident_book": "resident_book"}  # fmt: skip
EXPECTED = {"reject": "rejected", "flag": "flagged", "undecidable": "sound", "exclude": "sound"}


def table_of(stream: Stream) -> str:
    """The name the truth gives to a stream's table."""
    return OTHER_NAMES.get(stream.name) or stream.read.table


def verdicts() -> dict[str, str]:
    """Fault → reject, flag, exclude or undecidable: the fixed table of the sample city."""
    tree = yaml.safe_load((ROOT / "city" / "dirt.yml").read_text())
    return {
        fault["code"]: fault["verdict"]
        for tables in tree.values()
        for faults in tables.values()
        for fault in faults
    }


def outcomes(settings: Settings, source: Source, stream: Stream) -> pa.Table:
    """(row_key, outcome, rules) of every row of a stream: sound, flagged or rejected."""
    landing = f"lake.{landing_name(source, stream)}"
    sent = [f"json_extract_string(row_as_sent, '$.{name}')" for name in stream.names]
    with reading(settings) as connection:
        return connection.execute(
            f"""
            WITH newest AS (
                SELECT * FROM {landing}
                QUALIFY row_number() OVER (PARTITION BY _record_id ORDER BY _batch_id DESC) = 1)
            SELECT {_key(stream, [f'"{name}"' for name in stream.names])} AS row_key,
                CASE WHEN len(_flags) > 0 THEN 'flagged' ELSE 'sound' END AS outcome,
                _flags AS rules
            FROM newest WHERE _op IN ('insert', 'update')
            UNION ALL
            SELECT {_key(stream, sent)}, 'rejected', rules FROM lake.quarantine.row
            WHERE source = '{source.name}' AND stream = '{stream.name}' AND state = 'open'
            """
        ).to_arrow_table()


def _key(stream: Stream, columns: list[str]) -> str:
    if stream.name in BY_CONTENT:
        # An empty field of a CSV file is NULL with us and '' in the truth.
        nothing = "" if stream.strategy == "files" else "\\N"
        parts = ", ".join(f"coalesce({column}, '{nothing}')" for column in columns)
        return f"md5(concat_ws('|', {parts}))"
    return columns[stream.names.index(stream.key[0])]


def wrong_outcomes(settings: Settings, source: Source, stream: Stream) -> list[tuple]:
    """Rows whose outcome is not what the verdict table says: (fault or 'none', expected, outcome,
    rules, how many). Empty when every planted fault was treated as it should and nothing else."""
    home = settings.home / "city"
    verdict = pa.table(
        {"fault": list(verdicts()), "expected": [EXPECTED[one] for one in verdicts().values()]}
    )
    found = outcomes(settings, source, stream)
    with duckdb.connect() as connection:
        connection.register("verdict", verdict)
        connection.register("found", found)
        return connection.execute(
            f"""
            WITH planted AS (
                SELECT DISTINCT row_key, fault FROM '{home}/truth/fault.parquet'
                WHERE system = '{source.name}' AND "table" = '{table_of(stream)}'
                    AND fault NOT IN ({_excluded()})),
            judged AS (
                SELECT coalesce(fault, 'none') AS fault, coalesce(expected, 'sound') AS expected,
                    coalesce(outcome, 'absent') AS outcome, rules
                FROM planted LEFT JOIN verdict USING (fault) FULL JOIN found USING (row_key))
            SELECT fault, expected, outcome, rules, count(*) FROM judged
            WHERE expected <> outcome GROUP BY ALL ORDER BY ALL
            """
        ).fetchall()


def _excluded() -> str:
    return ", ".join(f"'{fault}'" for fault, what in verdicts().items() if what == "exclude")


def rows_as_sent(home: Path, system: str, table: str) -> dict[str, int]:
    """Rows of a table as the truth counts them: rows, excluded, rejected."""
    row = duckdb.sql(
        f"SELECT rows, excluded, rejected FROM '{home}/truth/count.parquet' "
        f"WHERE system = '{system}' AND \"table\" = '{table}'"
    ).fetchone()
    assert row is not None
    return dict(zip(("rows", "excluded", "rejected"), row, strict=True))

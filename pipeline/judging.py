"""What judges a stream tonight, in two hashes: its rules, and what they look at beside the row."""

import json
import re
from collections.abc import Iterator
from datetime import date
from hashlib import sha256

import duckdb

from common.definition import Source, Stream
from expectations.suite import Rule
from transforms.standardise.typed import VERSION
from warehouse.judgement import Judgement
from warehouse.quarantine import in_force
from warehouse.tables import landing_name, tables


def judgement_of(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    rules: list[Rule],
    night: date,
) -> Judgement:
    """The lake is attached for reading. Rules about the table as a whole judge no row, and a rule's
    wording changes no verdict: both are left out."""
    about_rows = [rule for rule in rules if rule.is_about_rows]
    judging = {
        "rules": [
            rule.model_dump(include={"rule", "severity", "kind", "arguments"})
            for rule in about_rows
        ],
        "columns": [column.model_dump(exclude={"note"}) for column in stream.columns.values()],
        "key": stream.key,
        "typing": VERSION,
    }
    words = " ".join(str(rule.arguments) for rule in about_rows)
    return Judgement(
        _hash(judging), _hash(list(_context(connection, source, stream, words, night)))
    )


def _context(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream, words: str, night: date
) -> Iterator[tuple[str, str]]:
    """(what the rules' `words` name, its state)."""
    if re.search(r"\bnight\b", words):
        yield "night", str(night)
    for sibling in source.streams:
        if re.search(rf"\bcurrent_{sibling.name}\b", words):
            landed = f"lake.{landing_name(source, sibling)}"
            query = f"SELECT max(_batch_id), count(*) FROM {landed} WHERE _op <> 'hold'"
            yield sibling.name, str(connection.execute(query).fetchone())
    for name in sorted(set(re.findall(r"\blake\.(\w+\.\w+)", words)) & set(tables())):
        query = f"SELECT bit_xor(hash(one)), count(*) FROM lake.{name} AS one"
        yield name, str(connection.execute(query).fetchone())
    waivers = connection.execute(
        "SELECT CAST(waiver_id AS VARCHAR) FROM lake.quarantine.waiver "
        f"WHERE source = ? AND stream = ? AND {in_force(night)} ORDER BY ALL",
        [source.name, stream.name],
    ).fetchall()
    if waivers:
        yield "waivers", str(waivers)


def _hash(of: object) -> str:
    return sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()

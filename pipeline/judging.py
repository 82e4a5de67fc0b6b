"""What judges a stream tonight, in two hashes: its rules, and what they look at beside the row."""

import json
import re
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
    waivers = connection.execute(
        "SELECT CAST(waiver_id AS VARCHAR) FROM lake.quarantine.waiver "
        f"WHERE source = ? AND stream = ? AND {in_force(night)} ORDER BY ALL",
        [source.name, stream.name],
    ).fetchall()
    judging = {
        "rules": [
            rule.model_dump(include={"rule", "severity", "kind", "arguments", "implicates"})
            for rule in rules
            if rule.is_about_rows
        ],
        "columns": [column.model_dump(exclude={"note"}) for column in stream.columns.values()],
        "key": stream.key,
        "typing": VERSION,
        "waivers": waivers,
    }
    named = {
        name for rule in rules if rule.is_about_rows for name in looked_at(rule, source, stream)
    }
    context = {name: _state(connection, source, name, night) for name in named}
    return Judgement(_hash(judging), _hash(context))


def looked_at(rule: Rule, source: Source, stream: Stream) -> set[str]:
    """What a rule looks at beside the row: `night`, `current_<stream>` of its source, tables of the
    lake such as `ref.region`. A rule across rows looks at its own stream, where a batch is not all
    of it."""
    words = str(rule.arguments)
    inside = {"night", *(f"current_{one.name}" for one in source.streams)}
    found = set(re.findall(r"\w+", words)) & inside
    found |= set(re.findall(r"\blake\.(\w+\.\w+)", words)) & set(tables())
    across = rule.implicates != "all" or "unique" in rule.kind or re.search(r"\btyped\b", words)
    if across and stream.strategy != "snapshot":
        found.add(f"current_{stream.name}")
    return found


def _state(
    connection: duckdb.DuckDBPyConnection, source: Source, name: str, night: date
) -> list[str]:
    """Another one whenever what stands behind a name of `looked_at` changed."""
    if name == "night":
        return [str(night)]
    if name.startswith("current_"):
        landed = landing_name(source, source.stream(name.removeprefix("current_")))
        query = f"SELECT max(_batch_id), count(*) FROM lake.{landed} WHERE _op <> 'hold'"
    else:
        query = f"SELECT bit_xor(hash(one)), count(*) FROM lake.{name} AS one"
    return [str(value) for row in connection.execute(query).fetchall() for value in row]


def _hash(of: object) -> str:
    return sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()

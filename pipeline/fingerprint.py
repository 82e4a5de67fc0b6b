"""The parts of what judges a stream tonight: its rules, its columns, and what its rules look at
beside the row."""

import json
import re
from collections.abc import Iterator
from datetime import date
from hashlib import sha256

import duckdb

from common.definition import Source, Stream
from expectations.suite import Rule, columns_of
from transforms.standardise.typed import VERSION
from warehouse.fingerprint import Part
from warehouse.tables import landing_name, tables

ROWS = "rows:batch"
"""The other rows of the batch: never equal twice, so no hash is kept of them."""


def parts_of(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    rules: list[Rule],
    night: date,
) -> list[Part]:
    """The lake is attached for reading. Rules about the table as a whole judge no row, and a rule's
    wording changes no verdict: both are left out."""
    about_rows = [rule for rule in rules if rule.is_about_rows]
    parts = [_rule(source, stream, rule) for rule in about_rows]
    parts.append(Part("shape", "key", _hash(stream.key)))
    parts.append(Part("shape", "typing", VERSION))
    for column in stream.columns.values():
        judging = column.model_dump(exclude={"note", "protected"})
        parts.append(Part("column", column.name, _hash(judging)))
    seen = {one for part in parts for one in part.looks_at}
    parts += _beside(connection, source, seen, night)
    return parts


def _rule(source: Source, stream: Stream, rule: Rule) -> Part:
    says = rule.model_dump(include={"rule", "severity", "kind", "arguments"})
    return Part(
        "implied" if rule.is_implied else "rule",
        rule.rule,
        _hash(says),
        tuple(sorted(_looks_at(source, stream, rule))),
    )


def _looks_at(source: Source, stream: Stream, rule: Rule) -> Iterator[str]:
    words = str(rule.arguments)
    yield "shape:typing"
    for column in columns_of(rule, stream):
        yield f"column:{column}"
    if rule.rule.startswith("key_"):
        yield "shape:key"
    if rule.looks_at_other_rows:
        yield ROWS
    if re.search(r"\bnight\b", words):
        yield "night:today"
    for sibling in source.streams:
        if re.search(rf"\bcurrent_{sibling.name}\b", words):
            yield f"stream:{sibling.name}"
    for name in set(re.findall(r"\blake\.(\w+\.\w+)", words)) & set(tables()):
        yield f"code:{name}"


def _beside(
    connection: duckdb.DuckDBPyConnection, source: Source, seen: set[str], night: date
) -> Iterator[Part]:
    """The state of what rules look at beside the row and its definition."""
    for one in sorted(seen - {ROWS}):
        kind, name = one.split(":")
        if kind == "night":
            yield Part(kind, name, str(night))
        elif kind == "stream":
            landed = f"lake.{landing_name(source, source.stream(name))}"
            query = f"SELECT max(_batch_id), count(*) FROM {landed} WHERE _op <> 'hold'"
            yield Part(kind, name, _hash(str(connection.execute(query).fetchone())))
        elif kind == "code":
            text = "string_agg(CAST(one AS VARCHAR), chr(30) ORDER BY one)"
            query = f"SELECT {text} FROM lake.{name} AS one"
            yield Part(kind, name, _hash(str(connection.execute(query).fetchone())))


def _hash(of: object) -> str:
    return sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()

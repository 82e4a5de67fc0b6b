"""What judges a stream tonight, part by part: its rules, its columns, and what its rules look at
beside the row."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from hashlib import sha256

import duckdb

from common.definition import Source, Stream
from expectations.suite import Rule, columns_of
from transforms.standardise.typed import VERSION
from warehouse.fingerprint import Part
from warehouse.judgement import Judgement
from warehouse.quarantine import in_force
from warehouse.tables import landing_name, tables

ROWS = "rows:batch"
"""The other rows of the batch: never equal twice, so no hash is kept of them."""
WAIVERS = "waiver:all"
BESIDE = ("night", "stream", "code")


def judgement_of(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    rules: list[Rule],
    night: date,
) -> Judgement:
    """The lake is attached for reading. Rules about the table as a whole judge no row, and a rule's
    wording changes no verdict: both are left out."""
    own = [_rule(source, stream, rule) for rule in rules if rule.is_about_rows]
    seen = {one for part in own for one in part.looks_at}
    own.append(Part("shape", "key", _hash(stream.key)))
    own.append(Part("shape", "typing", VERSION))
    for column in stream.columns.values():
        judging = column.model_dump(exclude={"note", "protected"})
        own.append(Part("column", column.name, _hash(judging)))
    beside = list(_beside(connection, source, stream, seen, night))
    decided = own + [part for part in beside if part.kind not in BESIDE]
    context = [part for part in beside if part.kind in BESIDE]
    rules_hash, context_hash = (_hash([asdict(part) for part in one]) for one in (decided, context))
    return Judgement(rules_hash, context_hash, (*own, *beside))


def looks_beside(source: Source, stream: Stream, rule: Rule) -> bool:
    """Whether the rule may find otherwise although neither it nor the row changed."""
    return any(one.split(":")[0] in BESIDE for one in _looks_at(source, stream, rule))


def _rule(source: Source, stream: Stream, rule: Rule) -> Part:
    says = rule.model_dump(include={"rule", "severity", "kind", "arguments", "implicates"})
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
        # Rows that share a key are read together; others are not, where a batch is not the whole.
        if stream.strategy != "snapshot" and not rule.is_implied:
            yield f"stream:{stream.name}"
    if rule.severity == "critical":
        yield WAIVERS
    if re.search(r"\bnight\b", words):
        yield "night:today"
    for sibling in source.streams:
        if re.search(rf"\bcurrent_{sibling.name}\b", words):
            yield f"stream:{sibling.name}"
    for name in set(re.findall(r"\blake\.(\w+\.\w+)", words)) & set(tables()):
        yield f"code:{name}"


def _beside(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    stream: Stream,
    seen: set[str],
    night: date,
) -> Iterator[Part]:
    """The state of what rules look at beside the row and its definition."""
    for one in sorted(seen):
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
        elif kind == "waiver":
            waivers = connection.execute(
                "SELECT CAST(waiver_id AS VARCHAR) FROM lake.quarantine.waiver "
                f"WHERE source = ? AND stream = ? AND {in_force(night)} ORDER BY ALL",
                [source.name, stream.name],
            ).fetchall()
            if waivers:
                yield Part(kind, name, _hash(waivers))


def _hash(of: object) -> str:
    return sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()

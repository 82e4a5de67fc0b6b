"""What a batch found to differ from its definition, what that touches, and the safe default.

A new column: the batch loads, the column is reported and not read. A missing or renamed one: the
stream stops, or the file is refused. A retyped one: the batch loads when its values still read as
declared, else the stream stops. An unseen code: its rows are quarantined.
"""

from collections.abc import Iterator
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.backends.sql.datatypes import DuckDBType

from common.definition import Source, Stream
from common.errors import SourceShapeChanged
from common.log import log
from common.settings import Settings
from common.shape import Drift
from connectors.readers import Pull
from expectations.runner import Finding
from transforms.conform import conform_of
from transforms.standardise.typed import SENT, typed
from warehouse.catalog import reading
from warehouse.drift import Report, Seen, standing
from warehouse.shares import load_contracts
from warehouse.tables import LANDING_COLUMNS, tables

UNREADABLE_AT_MOST = 0.01
"""Share of a batch's rows that may not read as declared while a retyped column still lands."""

DEFAULTS = {
    "new": "not_read",
    "missing": "file_refused",
    "renamed": "file_refused",
    "retyped": "landed",
    "unseen_code": "quarantined",
}


def judge(pull: Pull, findings: list[Finding]) -> None:
    """Add to the pull's drifts what its rows tell: codes never seen, how many rows of a retyped
    column cannot be read. Raises SourceShapeChanged when those are too many."""
    broken = {finding.rule: finding.rows_broken for finding in findings}
    for sent, column in pull.stream.columns.items():
        if rows := broken.get(f"{column.name}_unknown", 0):
            pull.drifts.append(Drift("unseen_code", sent, rows=rows))
    for place, drift in enumerate(pull.drifts):
        if drift.kind != "retyped":
            continue
        column = pull.stream.columns[drift.column]
        rows = broken.get(f"{column.name}_unreadable", 0) + broken.get(f"{column.name}_unknown", 0)
        pull.drifts[place] = Drift("retyped", drift.column, None, drift.was, drift.now, rows)
        if rows > pull.extracted * UNREADABLE_AT_MOST:
            raise SourceShapeChanged(
                f"column {drift.column} was {drift.was} and is {drift.now}; {rows} of "
                f"{pull.extracted} rows no longer read as {column.type}",
                where=pull.where,
                next_step="ask the owner what changed and correct the column in source.yml.",
            )


def report(connection: duckdb.DuckDBPyConnection, pull: Pull, *, stopped: bool = False) -> Report:
    """What the batch has to write of its shape and drifts; the lake is attached for reading."""
    source, stream = pull.source, pull.stream
    known = standing(connection, source.name, stream.name)
    seen = {one.drift.identity for one in known}
    new = [drift for drift in pull.drifts if drift.identity not in seen]
    for drift in new:
        log.warning("drift", source=source.name, stream=stream.name, kind=drift.kind,
                    column=drift.column, likely=drift.likely, rows=drift.rows)  # fmt: skip
    return Report(
        shape=None if stopped or pull.shape == pull.known_shape else pull.shape,
        first_seen=[
            (drift, downstream(pull.settings, source, stream, drift),
             "stopped" if stopped else DEFAULTS[drift.kind])
            for drift in new
        ],
        over=[] if stopped else [one for one in known if _is_over(one, pull)],
    )  # fmt: skip


def open_counts(settings: Settings) -> dict[str, Any]:
    """Open drifts: how many, per source and kind, and the newest batch that saw one; empty when
    there are none."""
    with reading(settings) as connection:
        seen = [one for one in standing(connection) if one.state == "open"]
    if not seen:
        return {}
    sources: dict[str, dict[str, int]] = {}
    for one in seen:
        kinds = sources.setdefault(one.source, {})
        kinds[one.drift.kind] = kinds.get(one.drift.kind, 0) + 1
    return {"drifts": len(seen), "sources": sources, "up_to": seen[-1].batch_id}


def _is_over(seen: Seen, pull: Pull) -> bool:
    """A batch that loaded no longer shows it. What was retyped stays until a person accepted it
    or the definition was changed since."""
    if seen.drift.kind == "retyped":
        return seen.definition_hash != pull.source.fingerprint
    if seen.drift.identity in {drift.identity for drift in pull.drifts}:
        return False
    return pull.scope == "all" if seen.drift.kind == "unseen_code" else pull.shape is not None


def downstream(settings: Settings, source: Source, stream: Stream, drift: Drift) -> list[str]:
    """Core columns that are computed from a declared column (`core.person.sex`) and the datasets
    of contracts that grant one of them (`disdukcapil: resident`)."""
    if drift.column not in stream.columns:
        return []
    fed = [
        (table, column)
        for table, column, needs in lineage(source, stream)
        if stream.columns[drift.column].name in needs
    ]
    granted = [
        f"{contract.agency}: {dataset.name}"
        for contract in load_contracts(settings).values()
        for dataset in contract.datasets
        if any(table == dataset.table and column in dict(dataset.columns) for table, column in fed)
    ]
    return [f"{table}.{column}" for table, column in fed] + granted


def lineage(source: Source, stream: Stream) -> Iterator[tuple[str, str, set[str]]]:
    """Core table, its column, and our names of the stream's columns it is computed from, as the
    Ibis expressions of the conform module say: values, joins and filters alike."""
    sent = {name: DuckDBType.from_string(kind) for name, kind in LANDING_COLUMNS.items()}
    sent |= dict.fromkeys(stream.names, ibis.dtype("string"))
    shape = typed(ibis.table(sent, name="sent"), stream)
    rows = ibis.table(shape.schema(), name="rows")
    rows_op = rows.op()
    named = rows.rename(source_record_id="_record_id", flags="_flags")
    for table, conformed in conform_of(source, stream.name)(named, _unbound).items():
        for column in tables()[table].own_columns:
            needs = {name.removesuffix(SENT) for name in _needs(conformed[column].op(), rows_op)}
            yield table, column, needs | set(stream.key if "_record_id" in needs else ())


def _unbound(name: str) -> ir.Table:
    columns = {
        column: DuckDBType.from_string(one.type)
        for column, one in tables()[name].all_columns.items()
    }
    return ibis.table(columns, name=name)


def _needs(value: ops.Node, rows: ops.Node) -> set[str]:
    """Names of the columns of `rows` that a value depends on."""
    found: set[str] = set()
    asked: set[ops.Node] = set()
    queue: list[ops.Node] = [value]
    while queue:
        node = queue.pop()
        if node in asked:
            continue
        asked.add(node)
        if isinstance(node, ops.Field):
            if node.rel == rows:
                found.add(node.name)
            else:
                queue += _behind(node.rel, node.name)
        else:
            queue += [one for one in node.__children__ if isinstance(one, ops.Value)]
    return found


def _behind(relation: ops.Node, name: str) -> list[ops.Node]:
    """What decides a column of a relation: its value, and which rows there are at all."""
    conditions = [
        one for one in relation.__children__
        if isinstance(relation, ops.Filter) and isinstance(one, ops.Value)
    ]  # fmt: skip
    value = relation.values.get(name)
    if isinstance(relation, ops.JoinChain) and isinstance(value, ops.Field):
        conditions += [
            predicate
            for link in relation.rest
            if link.table == value.rel
            for predicate in link.predicates
        ]
    return [*([] if value is None else [value]), *conditions]

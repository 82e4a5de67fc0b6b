"""What a batch found to differ from its definition, what that touches, and the safe default.

A new column: the batch loads, the column is reported and not read. A missing or renamed one: the
stream stops, or the file is refused. A retyped one: the batch loads when its values still read as
declared, else the stream stops. An unseen code: its rows are quarantined.
"""

from typing import Any

import duckdb

from common.definition import Source, Stream
from common.errors import SourceShapeChanged
from common.log import log
from common.settings import Settings
from common.shape import Drift
from connectors.readers import Pull
from expectations.runner import Finding
from pipeline.lineage import Graph, after, graph, sent
from warehouse.catalog import reading
from warehouse.drift import Report, Seen, standing
from warehouse.tables import tables

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
    for name, column in pull.stream.columns.items():
        if rows := broken.get(f"{column.name}_unknown", 0):
            pull.drifts.append(Drift("unseen_code", name, rows=rows))
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
    made = graph(pull.settings) if new else {}
    for drift in new:
        log.warning("drift", source=source.name, stream=stream.name, kind=drift.kind,
                    column=drift.column, likely=drift.likely, rows=drift.rows)  # fmt: skip
    return Report(
        shape=None if stopped or pull.shape == pull.known_shape else pull.shape,
        first_seen=[
            (drift, downstream(made, source, stream, drift),
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


def downstream(made: Graph, source: Source, stream: Stream, drift: Drift) -> list[str]:
    """Core columns that depend on a declared column (`core.person.sex`), the tables of persons that
    do (`core.golden_record`), and the datasets of contracts that carry what depends on it
    (`disdukcapil: resident`)."""
    if drift.column not in stream.columns:
        return []
    touched = after(made, sent(source, stream, drift.column), choice=True)
    parts = [name.rsplit(".", 1) for name in touched if name.startswith("core.")]
    core = sorted(
        {f"{name}.{column}" if tables()[name].is_of_landing else name for name, column in parts}
    )
    datasets = {tuple(name.split(".")[1:3]) for name in touched if name.startswith("contract.")}
    return core + [f"{agency}: {dataset}" for agency, dataset in sorted(datasets)]

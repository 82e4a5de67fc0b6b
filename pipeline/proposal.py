"""A look at a source that drifted, and the definition that would fit it, for review.

Reads the source's shape and no row of it. The proposal keeps the comments and the order of the
definition as it is, and may be copied over it; nothing takes effect before that.
"""

import io
import json
import re
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import duckdb
import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from common.access import INSTEAD
from common.connection import Resolver
from common.definition import Source, Stream, folder_of
from common.errors import SourceShapeChanged
from common.home_files import write_whole
from common.settings import Settings
from common.shape import Drift
from connectors.readers import Pull
from connectors.readers import look as look_at
from pipeline.drift import downstream
from pipeline.lineage import graph
from warehouse.catalog import is_there, reading
from warehouse.drift import recorded_shape, standing

CODE_LENGTH, CODE_ROWS = 4, 5
"""A code that was never seen is told only when it is no longer, and in no fewer rows: otherwise it
may be a person's value in the wrong column."""

OUR_TYPES = {
    r"(tiny|small|medium|big)?int|integer|(big|small)?serial": "integer",
    r"decimal|numeric|float|double|real": "decimal",
    r"datetime|timestamp": "timestamp",
    r"date$": "date",
    r"bool": "boolean",
    r"json": "json",
}


@dataclass(frozen=True)
class Difference:
    """A drift of one stream, what depends on it, and codes that may be told."""

    stream: str
    drift: Drift
    downstream: tuple[str, ...] = ()
    codes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Proposal:
    """`path` is where the proposed definition lies; None when nothing differs."""

    differences: tuple[Difference, ...]
    diff: str
    path: Path | None


def propose(settings: Settings, source: Source, resolve: Resolver) -> Proposal:
    """Look at every stream of the source and write the definition that fits below
    `<home>/proposals/`. Raises the SourceError family when a stream cannot be looked at."""
    found: list[Difference] = []
    made = graph(settings)
    for stream in source.streams:
        pull = Pull(source, stream, resolve(stream.connection), settings)
        if is_there(settings):
            with reading(settings) as connection:
                pull.known_shape = recorded_shape(connection, source.name, stream.name)
                found += _remembered(connection, source, stream)
        try:
            look_at(pull)
        except SourceShapeChanged:
            if not pull.drifts:
                raise
        told = {(one.stream, one.drift.identity) for one in found}
        found += [
            Difference(stream.name, one, tuple(downstream(made, source, stream, one)))
            for one in pull.drifts
            if (stream.name, one.identity) not in told
        ]
    if not found:
        return Proposal((), "", None)
    original = (folder_of(settings, source) / "source.yml").read_text()
    proposed = edited(original, source, found)
    path = settings.home / "proposals" / source.name / "source.yml"
    write_whole(path, proposed)
    diff = unified_diff(
        original.splitlines(), proposed.splitlines(), "now", "proposed", lineterm=""
    )
    return Proposal(tuple(found), "\n".join(diff), path)


def _remembered(
    connection: duckdb.DuckDBPyConnection, source: Source, stream: Stream
) -> list[Difference]:
    """What a look at the shape cannot see: what was retyped and has landed since, and codes."""
    found = [
        Difference(stream.name, seen.drift, seen.downstream)
        for seen in standing(connection, source.name, stream.name)
        if seen.drift.kind == "retyped" and seen.state == "open"
        and seen.drift.column in stream.columns
    ]  # fmt: skip
    for seen in standing(connection, source.name, stream.name):
        if seen.drift.kind != "unseen_code" or seen.drift.column not in stream.columns:
            continue
        column = stream.columns[seen.drift.column]
        codes = connection.execute(
            "SELECT json_extract_string(row_as_sent, ?) AS code, count(*) AS rows "
            "FROM lake.quarantine.row WHERE source = ? AND stream = ? AND state = 'open' "
            "AND list_contains(rules, ?) GROUP BY code ORDER BY rows DESC, code",
            [f"$.{column.name}", source.name, stream.name, f"{column.name}_unknown"],
        ).fetchall()
        if codes:
            drift = Drift("unseen_code", seen.drift.column, rows=sum(rows for _, rows in codes))
            told = tuple(
                (code, rows)
                for code, rows in codes
                if column.values is not None and len(code) <= CODE_LENGTH and rows >= CODE_ROWS
            )
            found.append(Difference(stream.name, drift, seen.downstream, told))
    return found


def edited(original: str, source: Source, found: list[Difference]) -> str:
    """The text of the definition with the differences worked in, and a remark on each above the
    columns of its stream."""
    parser = YAML()
    parser.preserve_quotes, parser.width = True, 4096
    parser.indent(mapping=2, sequence=4, offset=2)
    definition = parser.load(original)
    for stream, own in zip(definition["streams"], source.streams, strict=True):
        differences = [one for one in found if one.stream == own.name]
        if not differences:
            continue
        columns = stream["columns"]
        columns.fa.set_block_style()
        remarks = [_worked_in(stream, own, one) for one in differences]
        columns.yaml_set_comment_before_after_key(
            next(iter(columns)), before="\n".join(remarks), indent=columns.lc.col
        )
    written = io.StringIO()
    parser.dump(definition, written)
    return written.getvalue()


def _worked_in(stream: CommentedMap, own: Stream, difference: Difference) -> str:
    """Change the stream's columns; returns what to remark."""
    columns, drift = stream["columns"], difference.drift
    used = f", used by {', '.join(difference.downstream)}" if difference.downstream else ""
    match drift.kind:
        case "new" if INSTEAD in drift.column:
            return f"decide: its name cannot be written here, ask for another: {drift.column}"
        case "new":
            names = [one["name"] for one in columns.values()]
            ours = _quoted(_our_name(drift.column, names))
            column = CommentedMap(name=ours, note="proposed")
            column.fa.set_flow_style()
            columns[_quoted(drift.column)] = column
            kind = f" ({drift.now})" if drift.now else ""
            return f"new: {drift.column}{kind}; `ignore` it when it has no purpose here"
        case "renamed":
            assert drift.likely
            _rename(columns, drift.column, drift.likely)
            if own.cursor and own.cursor.column == drift.column:
                stream["cursor"]["column"] = _quoted(drift.likely)
            return f"renamed, likely: {drift.column} is {drift.likely} ({drift.why}){used}"
        case "missing" if drift.candidates:
            candidates = " or ".join(drift.candidates)
            return f"decide: gone, and may now be {candidates}: {drift.column}{used}"
        case "missing":
            bears = own.columns[drift.column].name in own.key or (
                own.cursor and own.cursor.column == drift.column
            )
            if bears:
                return f"decide: gone, but rows cannot be told apart without: {drift.column}{used}"
            del columns[drift.column]
            return f"gone: {drift.column}{used}"
        case "retyped":
            was, now = _our_type(drift.was), _our_type(drift.now)
            if was != now and own.columns[drift.column].type == was:
                columns[drift.column]["type"] = now
            return f"retyped: {drift.column} was {drift.was}, is {drift.now}{used}"
        case _:
            codes = [f"{json.dumps(code)} in {rows} rows" for code, rows in difference.codes]
            return (
                f"decide: unseen codes of {drift.column} in {drift.rows} rows"
                + (f": {', '.join(codes)}" if codes else "")
                + used
            )


def _rename(columns: CommentedMap, old: str, new: str) -> None:
    place, comment = list(columns).index(old), columns.ca.items.pop(old, None)
    columns.insert(place, _quoted(new), columns.pop(old))
    if comment:
        columns.ca.items[new] = comment


def _quoted(name: str) -> str:
    """Quoted where YAML would take it for something else: no, 1, null, {x."""
    try:
        is_plain = yaml.safe_load(name) == name
    except yaml.YAMLError:
        is_plain = False
    return name if is_plain else DoubleQuotedScalarString(name)


def _our_name(name: str, taken: list[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "column"
    plain = plain[:36] if plain[0].isalpha() else f"column_{plain}"[:36]
    others = (f"{plain}_{number}" for number in range(2, 10_000))
    return plain if plain not in taken else next(one for one in others if one not in taken)


def _our_type(declared: str) -> str:
    return next((ours for kind, ours in OUR_TYPES.items() if re.match(kind, declared)), "text")

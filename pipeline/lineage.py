"""Column lineage, read from the code: source column → landing → core → mart → contract column.

Nothing is written down twice: source and landing columns come from the definitions, core and mart
columns from the Ibis expressions of the transforms, published and contract columns from the SQL of
masks and grants. A column's full name is one of

    source.<source>.<stream>.<name as sent>      landing.<source>__<stream>.<name>
    core.<table>.<name>   mart.<table>.<name>    quarantine.<source>.<name>   ref.<table>.<name>
    published.<schema>.<table>.<name>            contract.<agency>.<dataset>.<name>
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, reduce
from operator import or_

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import sqlglot
from ibis.backends.sql.datatypes import DuckDBType
from sqlglot import exp

from common.definition import Source, Stream, load_sources
from common.settings import Settings
from transforms import now
from transforms.conform import conform_of
from transforms.identity import golden
from transforms.identity.birth_cases import birth_cases
from transforms.identity.mentions import mentions
from transforms.marts import MARTS
from transforms.standardise.typed import SENT, parsed, typed
from warehouse.masks import selection
from warehouse.merge import Gathered
from warehouse.publish import AUDIENCE, published_tables
from warehouse.shares import read_contracts
from warehouse.tables import LANDING_COLUMNS, landing_name, tables

LANDED = {
    "_batch_id": "number of the batch",
    "_op": "how the row differs from what had landed",
    "_flags": "warning rules the row broke",
    "_row": "place of the row in its batch",
    "_origin": "file it came from",
}
"""Landing columns that come from no column of the source."""

HELD_AS_SENT = {
    "source_record_id": "_record_id",
    "row_hash": "_row_hash",
    "row_as_sent": "_row_hash",
}
"""Columns of the quarantine, and the landing column that is made of the same columns as sent."""

CONSTANT = "a constant of the transform"
PROFILE = "reference data of the profile"


@dataclass(frozen=True)
class Origin:
    """What one column is made of, as full names of columns.

    `values`: its value is computed from these. `choice`: these decide which rows it is taken from
    (filters, joins, groups). `own`: what Muara itself puts there, where `values` is empty. All
    three are empty for a column of a source.
    """

    values: frozenset[str] = frozenset()
    choice: frozenset[str] = frozenset()
    own: str = ""

    def __or__(self, other: "Origin") -> "Origin":
        values = self.values | other.values
        return Origin(values, self.choice | other.choice, "" if values else self.own or other.own)


Graph = dict[str, Origin]
LINKED = "person_id"
"""The column in which what was linked is told."""


def graph(settings: Settings) -> Graph:
    """Every column from the sources to the contracts, and what it is made of."""
    made = {
        f"{table.name}.{name}": Origin(own=PROFILE)
        for table in tables().values()
        for name in (table.columns if table.schema_name == "ref" else ())
    }
    for source in load_sources(settings).values():
        for stream in source.streams:
            for name, origin in brought_in(source, stream).items():
                made[name] = made.get(name, Origin()) | origin
    return made | linked() | published() | delivered(settings)


def brought_in(source: Source, stream: Stream) -> Graph:
    """What a sync of the stream writes: landing, quarantine and the core tables it feeds."""
    return landed(source, stream) | quarantined(source, stream) | conformed(source, stream)


def undeclared(source: Source, stream: Stream) -> list[str]:
    """Columns of the stream from which core takes direct identifiers, and of which `speaks` does
    not say whose they are: an erasure would not know what to empty."""
    made = conformed(source, stream)
    identifiers = (
        f"{table.name}.{name}"
        for table in tables().values()
        for name, column in table.columns.items()
        if column.disclosure == "direct"
    )
    landing = f"{landing_name(source, stream)}."
    taken = {
        origin.removeprefix(landing)
        for name in identifiers
        if name in made
        for origin in made[name].values
        if origin.startswith(landing)
    }
    return sorted(taken - (stream.speaks.columns if stream.speaks else set()))


@cache
def linked() -> Graph:
    """Persons: their ids are Muara's own; everything that a mention is made of decides which. Their
    golden records are made of the mentions, and the births of both."""
    mention = mentions(_unbound, ibis.literal(date.max))
    spoken = computed("mention", mention)
    read = frozenset().union(*(origin.values | origin.choice for origin in spoken.values()))
    claim = golden.claims(mention, now(_unbound("core.person_mention")))
    record = golden.golden(claim)
    given = {
        "core.golden_record": record,
        "core.golden_record_identity": record,
        "core.golden_origin": golden.origins(claim),
        "core.birth_case": birth_cases(_unbound),
    }
    return {
        f"{table.name}.{name}": Origin(own=one.en, choice=read if name == LINKED else frozenset())
        for table in tables().values()
        if table.schema_name == "core" and not table.is_of_landing
        for name, one in table.columns.items()
    } | {
        column: origin
        for name, expression in given.items()
        for column, origin in computed(name, expression.select(*tables()[name].columns)).items()
    }


@cache
def published() -> Graph:
    """The marts, and the analysts' copy of them and of core."""
    made: Graph = {}
    for name, mart in MARTS.items():
        made |= computed(name, mart(_unbound, date.max))
    for table in published_tables():
        columns = selection(table, AUDIENCE)
        made |= _given(f"published.{table.name}", [table.name], columns, "TRUE")
    return made


def delivered(settings: Settings) -> Graph:
    """The datasets of every contract."""
    made: Graph = {}
    sources = load_sources(settings)
    for contract in read_contracts(settings).in_force.values():
        for one in contract.datasets:
            name = f"contract.{contract.agency}.{one.name}"
            held = _meant(one.table, one.row_filter, sources)
            made |= _given(name, held, one.columns, one.row_filter)
    return made


def before(made: Graph, name: str, *, choice: bool = False) -> set[str]:
    """Every column that this one's value goes back to, at any distance; with `choice` also those
    that decided which rows it was taken from."""
    return _reached(name, lambda one: _inputs(made.get(one, Origin()), choice))


def starts(made: Graph, names: Iterable[str]) -> set[str]:
    """Where the values of these columns begin: columns of sources, and what is Muara's own."""
    everything = {one for name in names for one in {name} | before(made, name)}
    return {one for one in everything if not made[one].values}


def after(made: Graph, name: str, *, choice: bool = False) -> set[str]:
    """Every column whose value depends on this one, at any distance; with `choice` also those
    whose rows it helps to decide."""
    users: dict[str, set[str]] = {}
    for user, origin in made.items():
        for used in _inputs(origin, choice):
            users.setdefault(used, set()).add(user)
    return _reached(name, lambda one: users.get(one, ()))


def _inputs(origin: Origin, choice: bool) -> frozenset[str]:
    return origin.values | origin.choice if choice else origin.values


def _reached(name: str, steps: Callable[[str], Iterable[str]]) -> set[str]:
    found: set[str] = set()
    queue = [name]
    while queue:
        new = set(steps(queue.pop())) - found
        found |= new
        queue += new
    return found


def sent(source: Source, stream: Stream, column: str) -> str:
    """Full name of a column as the source itself calls it."""
    return f"source.{source.name}.{stream.name}.{column}"


def landed(source: Source, stream: Stream) -> Graph:
    """The stream's own columns, and the landing columns made of them."""
    landing = landing_name(source, stream)
    ours = {one.name: sent(source, stream, name) for name, one in stream.columns.items()}
    return {
        **{name: Origin() for name in ours.values()},
        **{f"{landing}.{name}": Origin(own=own) for name, own in LANDED.items()},
        f"{landing}._record_id": Origin(frozenset(ours[part] for part in stream.key)),
        f"{landing}._row_hash": Origin(frozenset(ours.values())),
        **{f"{landing}.{name}": Origin(frozenset({one})) for name, one in ours.items()},
    }


def conformed(source: Source, stream: Stream) -> Graph:
    """The core columns that the stream's landing table feeds, as its conform module computes them.

    What the schema home adds to a table with history is Muara's own, but for the flags.
    """
    landing = landing_name(source, stream)
    as_text = {name: DuckDBType.from_string(kind) for name, kind in LANDING_COLUMNS.items()}
    as_text |= dict.fromkeys(stream.names, ibis.dtype("string"))
    shape = typed(ibis.table(as_text, name=landing), stream).schema()
    found = {name for one in stream.parse for name in one.gives}
    held = ibis.table({name: shape[name] for name in shape if name not in found}, name=landing)
    rows = held.mutate(**parsed(stream, lambda name: held[name + SENT]))
    rows = rows.rename(source_record_id="_record_id", flags="_flags")
    made: Graph = {}
    for name, given in conform_of(source, stream.name)(rows, _unbound).items():
        table = tables()[name]
        expression = given
        if isinstance(given, Gathered):
            records = _unbound(name).select("source_record_id")
            expression = given.rows(records)
        made |= computed(name, expression.select(*table.own_columns, "flags"))
        made |= {
            f"{name}.{column}": Origin(own=one.en)
            for column, one in table.all_columns.items()
            if f"{name}.{column}" not in made
        }
    return made


def quarantined(source: Source, stream: Stream) -> Graph:
    """`quarantine.row`, as far as it holds rows of this source: they are kept as they were sent."""
    name, landing = f"quarantine.{source.name}", landing_name(source, stream)
    columns = tables()["quarantine.row"].columns.items()
    made = {f"{name}.{column}": Origin(own=one.en) for column, one in columns}
    as_sent = landed(source, stream)
    return made | {
        f"{name}.{column}": as_sent[f"{landing}.{like}"] for column, like in HELD_AS_SENT.items()
    }


def _meant(table: str, row_filter: str, sources: Iterable[str]) -> list[str]:
    """The table; of the quarantine only the sources that the filter names."""
    if table != "quarantine.row":
        return [table]
    equalities = sqlglot.parse_one(row_filter, dialect="duckdb").find_all(exp.EQ)
    named = [one.expression.name for one in equalities if one.this.name == "source"]
    return [f"quarantine.{name}" for name in named or sources]


def _given(
    dataset: str, held: list[str], columns: Iterable[tuple[str, str]], row_filter: str
) -> Graph:
    """Columns given away as (name, SQL over a table), of the rows that a condition chooses."""
    choice = _named(row_filter, held)
    return {f"{dataset}.{name}": Origin(_named(sql, held), choice) for name, sql in columns}


def _named(expression: str, held: list[str]) -> frozenset[str]:
    """Full names of the columns in SQL over a table, also below a subquery over another."""
    found = set()
    for column in sqlglot.parse_one(expression, dialect="duckdb").find_all(exp.Column):
        query = column.find_ancestor(exp.Select)
        other = query.find(exp.Table) if query else None
        for table in [f"{other.db}.{other.name}"] if other else held:
            found.add(f"{table}.{column.name}")
    return frozenset(found)


def _unbound(name: str) -> ir.Table:
    columns = {
        column: DuckDBType.from_string(one.type)
        for column, one in tables()[name].all_columns.items()
    }
    return ibis.table(columns, name=name)


def computed(table: str, expression: ir.Table) -> Graph:
    """The columns of a table as an Ibis expression over named tables makes them."""
    known: dict[ops.Value, Origin] = {}
    return {f"{table}.{name}": _origin(expression[name].op(), known) for name in expression.columns}


def _origin(value: ops.Value, known: dict[ops.Value, Origin]) -> Origin:
    """What an Ibis value is made of; the leaves are the columns of tables, and constants. `known`
    gains every value below it, for columns share most of what they are made of."""
    sides: dict[ops.Value, Sides] = {}
    queue = [value]
    while queue:
        node = queue[-1]
        if node not in sides:
            sides[node] = _sides(node)
        values, conditions = sides[node]
        if unknown := [one for one in (*values, *conditions) if one not in known]:
            queue += unknown
            continue
        queue.pop()
        made = reduce(or_, (known[one] for one in values), _leaf(node))
        chosen = reduce(or_, (known[one] for one in conditions), Origin())
        known[node] = Origin(made.values, made.choice | chosen.values | chosen.choice, made.own)
    return known[value]


def _leaf(node: ops.Value) -> Origin:
    match node:
        case ops.Field(rel=ops.UnboundTable()):
            return Origin(frozenset({f"{node.rel.name}.{node.name.removesuffix(SENT)}"}))
        case ops.Literal() if node.value is not None:
            return Origin(own=CONSTANT)
    return Origin()


Sides = tuple[Sequence[ops.Value], Sequence[ops.Value]]
"""What a value is computed from, and what decides which rows it is taken from."""


def _sides(node: ops.Value) -> Sides:
    match node:
        case ops.Field(rel=ops.UnboundTable()):
            return [], []
        case ops.Field():
            return _behind(node.rel, node.name)
        case ops.CountStar():
            return _counted(node.arg)
        case ops.ArgMin():
            return [node.arg], [one for one in (node.key, node.where) if one is not None]
    return [one for one in node.__children__ if isinstance(one, ops.Value)], []


def _behind(relation: ops.Relation, name: str) -> Sides:
    """The same column one relation further down."""
    match relation:
        case ops.Reference():
            return [ops.Field(relation.parent, name)], []
        case ops.Set():
            return [ops.Field(side, name) for side in (relation.left, relation.right)], []
        case ops.Filter():
            return [ops.Field(relation.parent, name)], relation.predicates
        case ops.TableUnnest() if name in (relation.column_name, relation.offset):
            return [relation.column], []
        case ops.Aggregate() if name in relation.metrics:
            return [relation.metrics[name]], tuple(relation.groups.values())
        case ops.JoinChain():
            value = relation.values[name]
            sides = {field.rel for field in value.find(ops.Field)}
            links = [link for link in relation.rest if link.table in sides]
            return [value], [one for link in links for one in link.predicates]
        case _:
            return [relation.values[name]], []


def _counted(relation: ops.Relation) -> Sides:
    """A count of rows depends on the keys of the tables below, and on what is left out of them."""
    keys = [
        ops.Field(table, part)
        for table in relation.find(ops.UnboundTable)
        for part in tables()[table.name].key
    ]
    left_out = relation.find((ops.Filter, ops.JoinLink))
    return keys, [one for node in left_out for one in node.predicates]

"""Who is who tonight: all mentions of people compared, grouped into persons, given permanent ids.

The model is trained once and kept with its version in the lake; it changes only when somebody asks
for it. One run is one transaction: a run that fails leaves the persons of the run before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir

import transforms
from common import clock
from common.errors import DefinitionError, WarehouseFault
from common.kept import kept, key_of
from common.log import log
from common.quoting import literal
from common.settings import Settings
from transforms import identity, standardise
from transforms.identity import affected, golden, matching, training
from transforms.identity.birth_cases import birth_cases
from transforms.identity.mentions import couples, mentions, mentions_of, renewed
from transforms.identity.partition import candidates, partition
from warehouse import decisions, linking, models, persons, tables
from warehouse.account import last_batch
from warehouse.catalog import (
    attach,
    by_name,
    make_equal,
    open_duckdb,
    rehearsal,
    temporary,
    transaction,
    writer_lock,
)

VERSION_LENGTH = 12


@ibis.udf.scalar.builtin
def tonight() -> date:  # type: ignore[empty-body]
    """A macro of the connection, for SQL that is kept from night to night."""


@ibis.udf.scalar.builtin
def seen() -> int:  # type: ignore[empty-body]
    """Another: the newest batch that the newest linking saw."""


@dataclass(frozen=True)
class Linked:
    """One run. `compared`: mentions that are new or another than before, compared with all;
    `moved`: mentions that another person had before; `events`: what happened to ids → how many."""

    model: str
    trained: bool
    mentions: int
    compared: int
    persons: int
    linked: int
    moved: int
    events: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def link(settings: Settings, *, retrain: bool = False, dry_run: bool = False) -> Linked:
    """Link all mentions of people that core holds; `dry_run`: tell what that would change, and
    change nothing. Another linking, or an erasure, is waited for.

    Raises DefinitionError without the reference of an impact assessment, which matching groups of
    personal data needs (UU 27/2022 Ps 34(2)), and WarehouseFault where there is nothing to link.
    """
    if not settings.impact_assessment:
        raise DefinitionError(
            "matching people needs an impact assessment (UU 27/2022, art. 34)",
            where="setting impact_assessment",
            next_step="write the assessment's reference into muara.toml: "
            'impact_assessment = "PDP/3/2026", or MUARA_IMPACT_ASSESSMENT.',
        )
    with linking.alone(settings):
        return _link(settings, retrain, dry_run)


def _link(settings: Settings, retrain: bool, dry_run: bool) -> Linked:
    began = time.monotonic()
    connection = open_duckdb(settings)
    try:
        connection.execute(f"SET memory_limit = {literal(f'{settings.linkage_memory_limit}B')}")
        attach(connection, settings)
        connection.execute("USE memory.main")
        today, rules = clock.today(settings), _rules()
        version = None if retrain else models.newest(connection)
        after = linking.newest(connection)
        newest_batch = last_batch(connection)  # before any of core is read
        since = after.batch_id if after and after.compared_by(version, rules) else None
        if since is None:
            gather(connection, settings)
            affected.anew(connection)
        else:
            _gather_changes(connection, settings, today, since)
        definition = models.load(connection, version) if version else training.train(connection)
        decisions.standing(connection)
        matching.compare(connection, definition)
        if since is not None:
            affected.edges(connection)
        candidates(connection)
        persons.holders(connection)
        (affected.everyone if since is None else affected.concerned)(connection)
        partition(connection)
        with writer_lock(settings), (rehearsal if dry_run else transaction)(connection):
            if trained := version is None:
                version = models.keep(connection, definition, today, settings.impact_assessment)
            run = linking.Run(version, rules, today, newest_batch)
            linking.keep(connection, after, run, anew=since is None)
            persons.past(connection)
            persons.succeed(connection)
            persons.assign(connection)
            events = persons.record(connection, today, version)
            if not dry_run:
                _describe(connection, settings)
            count, compared, people, linked, moved = connection.execute(
                """
                SELECT (SELECT count(*) FROM lake.core.mention_identity),
                    (SELECT count(*) FROM changed),
                    (SELECT count(DISTINCT person_id) FROM lake.core.person_mention
                        WHERE valid_to IS NULL),
                    (SELECT count(*) FROM lake.core.person_mention
                        WHERE valid_to IS NULL AND how = 'model'),
                    (SELECT count(*) FROM opening SEMI JOIN closing USING (source_record_id, role))
                """
            ).fetchall()[0]
    finally:
        connection.close()
    seconds = round(time.monotonic() - began, 1)
    done = Linked(version, trained, count, compared, people, linked, moved, events, seconds)
    if not dry_run:
        log.info("linked", mentions=count, persons=people, model=version, events=events)
    return done


def gather(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Table `mention` of `transforms.identity.mentions` from core. Raises WarehouseFault where it
    would be empty."""
    _set_night(connection, clock.today(settings))
    _create(connection, settings, "mention", lambda: mentions(by_name(connection), tonight()))
    if not connection.execute("SELECT count(*) FROM mention").fetchall()[0][0]:
        raise WarehouseFault(
            "core speaks of nobody yet", next_step="run a night first: `muara night`."
        )


def _gather_changes(
    connection: duckdb.DuckDBPyConnection, settings: Settings, today: date, since: int
) -> None:
    """View `mention` too, made anew only for the records that changed since batch `since`."""
    _set_night(connection, today)
    linking.recall(connection)
    connection.execute(f"CREATE OR REPLACE TEMP MACRO seen() AS {since}")
    _create(connection, settings, "renewed", lambda: renewed(by_name(connection), seen()))
    _create(connection, settings, "couple", lambda: couples(by_name(connection)))
    affected.touched(connection, today)
    if not connection.execute("SELECT count(*) FROM touched").fetchall()[0][0]:
        connection.execute("CREATE TEMP VIEW fresh AS FROM before LIMIT 0")
    else:
        _create(
            connection,
            settings,
            "fresh",
            lambda: mentions_of(temporary(connection, "touched"), by_name(connection), tonight()),
        )
    affected.changed(connection)


def _set_night(connection: duckdb.DuckDBPyConnection, night: date) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP MACRO tonight() AS DATE {literal(night)}")


def _create(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    name: str,
    expression: Callable[[], ir.Table],
) -> None:
    """Temporary table `name` of an expression, whose SQL is kept: Ibis takes seconds to write it,
    and it is that of the night before unless the code or the schema home changed."""
    query = kept(
        settings.home / "queries" / f"{name}.json",
        key_of(name, _code()),
        lambda: str(expression().compile()),
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")


@cache
def _code() -> str:
    """What the SQL of expressions follows from."""
    written_by = [version_of(name) for name in ("ibis-framework", "sqlglot", "duckdb")]
    files = [Path(__file__)]
    for folder, kind in ((transforms, "*.py"), (tables, "*.yml")):
        files += sorted(Path(folder.__path__[0]).rglob(kind))
    return key_of(written_by, files=files)


def _rules() -> str:
    """What mentions are made and compared by, beside the model: its version is that of the code."""
    versions_of = [version_of(name) for name in ("duckdb", "splink")]
    folders = [Path(folder.__path__[0]) for folder in (identity, standardise)]
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return key_of(versions_of, files=files)[:VERSION_LENGTH]


def _describe(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """The golden record of every person concerned, and the birth case of every child."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE described AS
        SELECT person_id FROM holder SEMI JOIN concerned USING (mention_id)
        UNION SELECT person_id FROM linked
        """
    )
    if not connection.execute("SELECT count(*) FROM described").fetchall()[0][0]:
        return
    _create(
        connection,
        settings,
        "claim",
        lambda: golden.claims(temporary(connection, "mention"), temporary(connection, "linked")),
    )
    _create(connection, settings, "golden", lambda: golden.golden(temporary(connection, "claim")))
    _create(
        connection,
        settings,
        "golden_origin",
        lambda: golden.origins(temporary(connection, "claim")),
    )
    for name, query in (
        ("golden_record", "FROM golden"),
        ("golden_record_identity", "FROM golden"),
        ("golden_origin", "FROM golden_origin"),
    ):
        held = f"FROM lake.core.{name} SEMI JOIN described USING (person_id)"
        make_equal(connection, f"core.{name}", query, held)
    _create(connection, settings, "birth_case", lambda: birth_cases(by_name(connection)))
    make_equal(connection, "core.birth_case", "FROM birth_case")

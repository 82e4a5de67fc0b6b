"""Who is who tonight: all mentions of people compared, grouped into persons, given permanent ids.

The model is trained once and kept with its version in the lake; it changes only when somebody asks
for it. One run is one transaction: a run that fails leaves the persons of the run before.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir

from common import clock
from common.errors import DefinitionError, WarehouseFault
from common.log import log
from common.settings import Settings
from transforms import now
from transforms.identity import golden, matching, training
from transforms.identity.birth_cases import birth_cases
from transforms.identity.mentions import mentions
from transforms.identity.partition import candidates, partition
from warehouse import decisions, persons
from warehouse.catalog import (
    attach,
    by_name,
    make_equal,
    open_duckdb,
    rehearsal,
    transaction,
    writer_lock,
)

VERSION_LENGTH = 12
NEWEST_MODEL = "FROM lake.ops.identity_model ORDER BY trained_night DESC, rowid DESC LIMIT 1"


@dataclass(frozen=True)
class Linked:
    """One run. `pairs`: those that may be one person; `moved`: mentions that another person had
    before; `events`: what happened to ids → how many."""

    model: str
    trained: bool
    mentions: int
    pairs: int
    persons: int
    linked: int
    moved: int
    events: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def link(settings: Settings, *, retrain: bool = False, dry_run: bool = False) -> Linked:
    """Link all mentions of people that core holds; `dry_run`: tell what that would change, and
    change nothing.

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
    began = time.monotonic()
    connection = open_duckdb(settings)
    try:
        connection.execute(f"SET memory_limit = '{settings.linkage_memory_limit}'")
        attach(connection, settings)
        connection.execute("USE memory.main")
        gather(connection, settings)
        version, definition = _model(connection, settings, retrain)
        matching.compare(connection, definition)
        decisions.standing(connection)
        candidates(connection)
        partition(connection)
        with writer_lock(settings), (rehearsal if dry_run else transaction)(connection):
            if trained := version is None:
                version = _keep(connection, settings, definition)
            persons.succeed(connection)
            persons.assign(connection)
            events = persons.record(connection, clock.today(settings), version)
            if not dry_run:
                _describe(connection)
            count, pairs, people, linked, moved = connection.execute(
                """
                SELECT (SELECT count(*) FROM mention), (SELECT count(*) FROM edge),
                    (SELECT count(DISTINCT cluster) FROM member),
                    (SELECT count(*) FROM reason WHERE how = 'model'),
                    (SELECT count(*) FROM opening SEMI JOIN closing USING (source_record_id, role))
                """
            ).fetchall()[0]
    finally:
        connection.close()
    seconds = round(time.monotonic() - began, 1)
    done = Linked(version, trained, count, pairs, people, linked, moved, events, seconds)
    if not dry_run:
        log.info("linked", mentions=count, persons=people, model=version, events=events)
    return done


def gather(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Table `mention` of `transforms.identity.mentions` from core. Raises WarehouseFault where it
    would be empty."""
    spoken = mentions(by_name(connection), clock.today(settings))
    query = ibis.to_sql(spoken, dialect="duckdb")
    connection.execute(f"CREATE TABLE mention AS {query}")
    if not connection.execute("SELECT count(*) FROM mention").fetchall()[0][0]:
        raise WarehouseFault(
            "core speaks of nobody yet", next_step="run a night first: `muara night`."
        )


def _describe(connection: duckdb.DuckDBPyConnection) -> None:
    """The golden record of every person, and the birth case of every child."""
    backend = ibis.duckdb.from_connection(connection)

    def keep(name: str, expression: ir.Table) -> ir.Table:
        query = ibis.to_sql(expression, dialect="duckdb")
        connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
        return backend.table(name, database=("temp", "main"))

    holds = now(by_name(connection)("core.person_mention"))
    mention = backend.table("mention", database=("memory", "main"))
    claim = keep("claim", golden.claims(mention, holds))
    keep("golden", golden.golden(claim))
    keep("golden_origin", golden.origins(claim))
    for name in ("golden_record", "golden_record_identity"):
        make_equal(connection, f"core.{name}", "FROM golden")
    make_equal(connection, "core.golden_origin", "FROM golden_origin")
    keep("birth_case", birth_cases(by_name(connection)))
    make_equal(connection, "core.birth_case", "FROM birth_case")


def _model(
    connection: duckdb.DuckDBPyConnection, settings: Settings, retrain: bool
) -> tuple[str | None, dict[str, Any]]:
    """The newest model's version and settings, its terms in table `term`; a new one, which has no
    version yet, where there is none or it is asked for."""
    kept = connection.execute(f"SELECT model_version, settings {NEWEST_MODEL}").fetchall()
    if retrain or not kept:
        return None, training.train(connection)
    version, text = kept[0]
    connection.execute(
        "CREATE TABLE term AS SELECT column_name, term, share FROM lake.ops.identity_term "
        "WHERE model_version = ?",
        [version],
    )
    return version, json.loads(text)


def _keep(
    connection: duckdb.DuckDBPyConnection, settings: Settings, definition: dict[str, Any]
) -> str:
    text = json.dumps(definition, sort_keys=True)
    terms = connection.execute(
        "SELECT md5(string_agg(concat_ws('|', column_name, term, share), ';' "
        "ORDER BY column_name, term)) FROM term"
    ).fetchall()[0][0]
    version = hashlib.sha256(f"{text}{terms}".encode()).hexdigest()[:VERSION_LENGTH]
    if connection.execute(f"SELECT model_version {NEWEST_MODEL}").fetchall() == [(version,)]:
        return version
    # One that was learnt before and is learnt again is the newest again; its terms are kept.
    known = connection.execute(
        "DELETE FROM lake.ops.identity_model WHERE model_version = ?", [version]
    ).fetchall()
    connection.execute(
        """
        INSERT INTO lake.ops.identity_model
        SELECT ?, ?, count(*) FILTER (role = 'resident'), count(*), ?, ? FROM mention
        """,
        [version, clock.today(settings), settings.impact_assessment, text],
    )
    if known == [(0,)]:
        connection.execute("INSERT INTO lake.ops.identity_term SELECT ?, * FROM term", [version])
    return version

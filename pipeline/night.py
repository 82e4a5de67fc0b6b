"""The whole night, and the questions it must answer before it may be called good."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import clock
from common.connection import Resolver
from common.definition import Source
from common.errors import MuaraError
from common.log import log
from common.settings import Settings
from pipeline import alarms, leave, open311
from pipeline.core_rules import judge_core
from pipeline.data_docs import write_data_docs
from pipeline.rejections import FOLDER
from pipeline.replay import replay_due
from pipeline.sync import prepare, sync
from warehouse import alarms as stored
from warehouse import finding, manifest
from warehouse.account import attempts
from warehouse.catalog import disagreements, reading
from warehouse.copies import copy_catalog
from warehouse.damage import look
from warehouse.shares import load_contracts

NAMES_SAMPLED = 500


@dataclass(frozen=True)
class Check:
    """One promise, asked after the night: does it hold, and if not, where."""

    name: str
    holds: bool
    detail: str


def run(settings: Settings, sources: dict[str, Source], resolve: Resolver) -> list[MuaraError]:
    """The night without Airflow: every stream, what is to be judged again, core's own rules, then
    publish, deliver, send and the morning's alarms. Returns its failures.

    One source's failure never stops the others.
    """
    failures: list[MuaraError] = []
    prepare(settings, sources)
    for source in sources.values():
        for stream in source.streams:
            try:
                sync(settings, source, stream, resolve)
            except MuaraError as error:
                failures.append(error)
        failures += replay_due(settings, source)[1]
    steps = [
        judge_core,
        write_data_docs,
        leave.publish,
        leave.deliver,
        leave.return_rejections,
        copy_catalog,
    ]
    if settings.impact_assessment:
        from pipeline.link import link

        steps.insert(0, link)
    for step in steps:
        try:
            step(settings)
        except MuaraError as error:
            log.error(f"{step.__name__}_failed", error=error.code, text=str(error))
            failures.append(error)
    try:
        open311.send(settings, resolve)
    except MuaraError as error:
        failures.append(error)
    try:
        alarms.check(settings, sources, resolve)
    except MuaraError as error:
        log.error("alarms_failed", error=error.code, text=str(error))
        failures.append(error)
    return failures


def checks(settings: Settings, sources: dict[str, Source], after_batch: int) -> list[Check]:
    """What `make night` promises: exit 0 only if every one of these holds."""
    with reading(settings) as connection:
        tonight = attempts(connection, after_batch=after_batch)
        wrong_shape = disagreements(connection, sources)
        leaks = list(_leaks(settings, _canaries(connection)))
        broken = [
            f"{one.stream}.{one.rule}"
            for one in finding.newest(connection)
            if one.source == finding.CORE and one.severity == "critical" and one.rows_broken
        ]
    loaded = {(one.source, one.stream) for one in tonight if one.outcome == "loaded"}
    wanted = {
        (source.name, stream.name) for source in sources.values() for stream in source.streams
    }
    missing = sorted(".".join(pair) for pair in wanted - loaded)
    unbalanced = [f"{one.source}.{one.stream}" for one in tonight if not one.balances
                  and one.outcome == "loaded"]  # fmt: skip
    return [
        _check("every stream loaded", missing, f"{len(loaded)} of {len(wanted)} streams"),
        _check("every row accounted for", unbalanced, f"{len(tonight)} batches balance"),
        _check("tables as the schema home says", sorted(wrong_shape), "no difference"),
        _check("core keeps its own rules", broken, "no critical rule broken"),
        _check("no person in logs or metadata", leaks, "no name or number found"),
        _verified(settings, sources),
        _undamaged(settings),
    ]


def summary(settings: Settings, after_batch: int, seconds: float) -> dict[str, Any]:
    """The night in numbers, for people."""
    with reading(settings) as connection:
        tonight = attempts(connection, after_batch=after_batch)
        persons = connection.execute(
            "SELECT count(*) FROM lake.core.person WHERE valid_to IS NULL AND status = 'resident'"
        ).fetchall()[0][0]
        open_alarms = [one for one in stored.alarms(connection) if one.state == "open"]
        # A stream that reads only what changed does not count again what is still broken.
        in_quarantine = connection.execute(
            "SELECT count(*) FROM lake.quarantine.row WHERE state = 'open'"
        ).fetchall()[0][0]
    night = clock.today(settings)
    folders = (settings.home / "extracts").glob(f"*/{night}/*")
    return {
        "night": str(night),
        "extracted": sum(one.counts["extracted"] for one in tonight),
        "inserted": sum(one.counts["inserted"] for one in tonight),
        "updated": sum(one.counts["updated"] for one in tonight),
        "deleted": sum(one.counts["deleted"] for one in tonight),
        "quarantined": in_quarantine,
        "persons": persons,
        "extract_files": sum(1 for _ in folders),
        "alarms": len(open_alarms),
        "seconds": round(seconds, 1),
    }


def _check(name: str, faults: list[str], otherwise: str) -> Check:
    return Check(name, not faults, ", ".join(faults[:10]) if faults else otherwise)


def _verified(settings: Settings, sources: dict[str, Source]) -> Check:
    folders = [settings.home / "published" / "current"]
    night = str(clock.today(settings))
    extracts = settings.home / "extracts"
    folders += [extracts / agency / night for agency in load_contracts(settings)]
    owners = sorted({source.agency for source in sources.values()})
    folders += [extracts / agency / FOLDER for agency in owners]
    faults = []
    for folder in folders:
        try:
            manifest.verify(folder)
        except MuaraError as error:
            faults.append(str(error))
    return _check("what left matches its manifest", faults, f"{len(folders)} verified")


def _undamaged(settings: Settings) -> Check:
    faults = [str(one) for found in look(settings).values() for one in found]
    return _check("nothing is damaged", faults, "catalog, files, nights and published copy")


def _canaries(connection) -> tuple[set[str], list[str]]:
    """Every NIK of the registry, and a sample of names long enough not to be ordinary words."""
    niks = {
        nik
        for (nik,) in connection.execute(
            "SELECT DISTINCT nik FROM lake.core.person_identity"
        ).fetchall()
    }
    names = [
        name
        for (name,) in connection.execute(
            "SELECT DISTINCT person_name FROM lake.core.person_identity "
            f"WHERE length(person_name) >= 14 ORDER BY hash(person_name) LIMIT {NAMES_SAMPLED}"
        ).fetchall()
    ]
    return niks, names


def _leaks(settings: Settings, canaries: tuple[set[str], list[str]]) -> Iterator[str]:
    niks, names = canaries
    named = re.compile("|".join(map(re.escape, names)).encode()) if names else None
    for path in _where_nobody_may_be(settings):
        content = path.read_bytes()
        found = {number.decode() for number in re.findall(rb"(?<!\d)\d{16}(?!\d)", content)} & niks
        if found or (named and named.search(content)):
            yield path.relative_to(settings.home).as_posix()


def _where_nobody_may_be(settings: Settings) -> Iterator[Path]:
    for folder in ("logs", "airflow", "data_docs", "lineage"):
        yield from (path for path in sorted((settings.home / folder).rglob("*")) if path.is_file())

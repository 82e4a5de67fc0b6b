"""What leaves the warehouse each night: the published copy, the agencies' extracts and the rows
that each of them gets back."""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TypeVar

from common import clock
from common.definition import Source, load_sources
from common.errors import DefinitionError, MuaraError
from common.log import log
from common.settings import Settings
from pipeline import rejections
from pipeline.data_docs import write_disclosure
from transforms.marts import MARTS
from warehouse import publish as published
from warehouse import shares
from warehouse.marts import build_marts

Given = TypeVar("Given")


def publish(settings: Settings) -> dict[str, int]:
    """Rebuild the marts and swap in tonight's published warehouse. Returns rows per table."""
    today = clock.today(settings)
    changed = build_marts(settings, MARTS, today)
    rows = published.publish(settings, today)
    write_disclosure(settings)
    log.info("published", marts_changed=len(changed), rows=sum(rows.values()))
    return rows


def deliver(settings: Settings, agency: str | None = None) -> dict[str, dict[str, int]]:
    """Cut, verify and deliver every contract's extract, or that of one agency. Returns agency →
    dataset → rows.

    One agency's failure, or a fault in its contract, does not stop the others; the first is raised
    at the end. Raises DefinitionError for an agency without a contract in force.
    """
    today = clock.today(settings)
    contracts = shares.read_contracts(settings)
    if agency and f"{agency}{shares.SUFFIX}" in contracts.faults:
        contracts.require_sound()
    given = _to_each(
        "delivered",
        _chosen(agency, sorted(contracts.in_force), "has no contract in force"),
        lambda name: shares.deliver(settings, contracts.in_force[name], today),
    )
    if agency is None:
        contracts.require_sound()
    return given


def return_rejections(settings: Settings, agency: str | None = None) -> dict[str, int]:
    """Deliver to every agency that owns a source, or to one, its rejected rows. Returns agency →
    rows.

    One agency's failure does not stop the others; the first is raised at the end. Raises
    DefinitionError for an agency that owns none.
    """
    today = clock.today(settings)
    sources = load_sources(settings)
    return _to_each(
        "returned",
        _chosen(agency, _owners(sources), "owns no source"),
        lambda name: rejections.return_rejections(settings, name, sources, today),
    )


def due(settings: Settings, sources: dict[str, Source], night: date) -> dict[Path, set[str]]:
    """Every folder that must have left in a night, with the files that are declared for it; of
    agencies whose contract has a fault, none."""
    extracts = settings.home / "extracts"
    contracts = shares.read_contracts(settings).in_force
    return {
        settings.home / "published" / "current": published.files_published(),
        **{
            extracts / agency / str(night): shares.files_of(contract)
            for agency, contract in contracts.items()
        },
        **{
            extracts / agency / rejections.FOLDER: {rejections.workbook_of(agency, night)}
            for agency in _owners(sources)
        },
    }


def _owners(sources: dict[str, Source]) -> list[str]:
    return sorted({source.agency for source in sources.values()})


def _chosen(agency: str | None, known: list[str], otherwise: str) -> list[str]:
    if agency is None:
        return known
    if agency not in known:
        raise DefinitionError(
            f"agency {agency} {otherwise}", next_step=f"use one of: {', '.join(known)}"
        )
    return [agency]


def _to_each(event: str, agencies: Iterable[str], give: Callable[[str], Given]) -> dict[str, Given]:
    given, failures = {}, []
    for agency in agencies:
        try:
            given[agency] = give(agency)
        except MuaraError as error:
            log.error(f"not_{event}", agency=agency, error=error.code, text=str(error))
            failures.append(error)
    log.info(event, agencies=sorted(given))
    if failures:
        raise failures[0]
    return given

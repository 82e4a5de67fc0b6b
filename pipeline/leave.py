"""What leaves the warehouse each night: the published copy, the agencies' extracts and the rows
that each of them gets back."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from common import clock
from common.definition import load_sources
from common.errors import MuaraError
from common.log import log
from common.settings import Settings
from pipeline import rejections
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
    log.info("published", marts_changed=len(changed), rows=sum(rows.values()))
    return rows


def deliver(settings: Settings) -> dict[str, dict[str, int]]:
    """Cut, verify and deliver every contract's extract. Returns agency → dataset → rows.

    One agency's failure does not stop the others; the first is raised at the end.
    """
    today = clock.today(settings)
    contracts = shares.load_contracts(settings)
    return _to_each(
        "delivered", contracts, lambda agency: shares.deliver(settings, contracts[agency], today)
    )


def return_rejections(settings: Settings) -> dict[str, int]:
    """Deliver to every agency that owns a source its rejected rows. Returns agency → rows.

    One agency's failure does not stop the others; the first is raised at the end.
    """
    today = clock.today(settings)
    sources = load_sources(settings)
    owners = sorted({source.agency for source in sources.values()})
    return _to_each(
        "returned",
        owners,
        lambda agency: rejections.return_rejections(settings, agency, sources, today),
    )


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

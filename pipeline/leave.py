"""What leaves the warehouse each night: the published copy and the agencies' extracts."""

from common import clock
from common.errors import MuaraError
from common.log import log
from common.settings import Settings
from transforms.marts import MARTS
from warehouse import publish as published
from warehouse import shares
from warehouse.marts import build_marts


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
    delivered, failures = {}, []
    for agency, contract in shares.load_contracts(settings).items():
        try:
            delivered[agency] = shares.deliver(settings, contract, today)
        except MuaraError as error:
            log.error("deliver_failed", agency=agency, error=error.code, text=str(error))
            failures.append(error)
    log.info("delivered", agencies=sorted(delivered))
    if failures:
        raise failures[0]
    return delivered

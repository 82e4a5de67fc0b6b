"""Data Docs of the newest batches. `data_docs/current` in MUARA_HOME is swapped in whole."""

import secrets
from collections.abc import Iterator

from common.definition import Source, load_sources
from common.settings import Settings
from expectations.data_docs import Outcome, build
from expectations.suite import Rule, load_core_rules, load_rules
from warehouse import finding
from warehouse.catalog import reading
from warehouse.manifest import building, leaving, point_current_to, remove


def write_data_docs(settings: Settings) -> int:
    """Rebuild the pages from what every rule last found. Returns how many tables they tell of."""
    home = settings.home / "data_docs"
    with leaving(settings), building(home) as folder:
        outcomes = list(_outcomes(settings, load_sources(settings)))
        build(outcomes, folder)
        made = home / secrets.token_hex(4)
        folder.rename(made)
        point_current_to(made)
        for other in set(home.iterdir()) - {made, home / "current"}:
            remove(other)
    return len(outcomes)


def _outcomes(settings: Settings, sources: dict[str, Source]) -> Iterator[Outcome]:
    with reading(settings) as connection:
        found = finding.newest(connection)
    for (source, stream), rules in _rules(settings, sources).items():
        here = [one for one in found if (one.source, one.stream) == (source, stream)]
        if here:
            name = stream if source == finding.CORE else f"{source}.{stream}"
            yield Outcome(
                name=name,
                batch_id=here[0].batch_id,
                night=here[0].night,
                rows=here[0].rows_asked,
                rules=rules,
                broken={one.rule: one.rows_broken for one in here},
            )


def _rules(settings: Settings, sources: dict[str, Source]) -> dict[tuple[str, str], list[Rule]]:
    of_streams = {
        (source.name, stream): rules
        for source in sources.values()
        for stream, rules in load_rules(settings, source).items()
    }
    of_core = {(finding.CORE, table): rules for table, rules in load_core_rules(settings).items()}
    return of_streams | of_core

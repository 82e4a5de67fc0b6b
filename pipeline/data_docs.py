"""Data Docs of the newest batches and of the newest publication. `data_docs/current` in MUARA_HOME
is swapped in whole; what is published of single people is a page of its own."""

import secrets
from collections.abc import Iterator
from html import escape
from typing import Any

from common.definition import Source, load_sources
from common.settings import Settings
from expectations.data_docs import DISCLOSURE, Outcome, build, page
from expectations.suite import Rule, load_core_rules, load_rules
from warehouse import finding
from warehouse.catalog import reading
from warehouse.manifest import building, leaving, point_current_to, remove, require_link
from warehouse.publish import current_manifest


def write_data_docs(settings: Settings) -> int:
    """Rebuild the pages from what every rule last found. Returns how many tables they tell of."""
    home = settings.home / "data_docs"
    with leaving(settings), building(home) as folder:
        require_link(home)
        outcomes = list(_outcomes(settings, load_sources(settings)))
        build(outcomes, folder)
        (folder / DISCLOSURE).write_text(_disclosure(settings))
        made = home / secrets.token_hex(4)
        folder.rename(made)
        point_current_to(made)
        for other in set(home.iterdir()) - {made, home / "current"}:
            remove(other)
    return len(outcomes)


def write_disclosure(settings: Settings) -> None:
    """Rebuild the page of what the newest publication tells of single people."""
    current = settings.home / "data_docs" / "current"
    with leaving(settings):
        if current.exists():
            fresh = current / f".{DISCLOSURE}"
            fresh.write_text(_disclosure(settings))
            fresh.replace(current / DISCLOSURE)


def _disclosure(settings: Settings) -> str:
    manifest = current_manifest(settings)
    told = manifest.get("disclosure", {"floor": {}, "tables": {}})
    floor = told["floor"]
    people = {name: one for name, one in told["tables"].items() if "k" in one}
    counts = {
        f"{name}.{count}": one
        for name, table in told["tables"].items()
        for count, one in table.get("counts", {}).items()
    }
    return page(
        "What is published of single people",
        f"<p>Publication of {manifest.get('night', 'no night yet')}. The floor: records of which "
        f"at least {floor.get('people', '?')} are alike in all that is published of them; counts "
        f"of people of at least {floor.get('cells', '?')}.</p>",
        _grid(
            ("table", "records", "alike, at least", "like no other", "below the floor",
             "rows withheld", "like no other, uncoarsened", "below the floor, uncoarsened"),
            [
                (name, one["records"], one["k"], one["unique"], one["below_floor"],
                 one["withheld"], one["unique_before"], one["below_floor_before"])
                for name, one in people.items()
            ],
        ),
        _grid(
            ("table", "rows", "share of the rows that hold each column"),
            [
                (name, one["rows"], ", ".join(f"{column} {share:.0%}"
                 for column, share in one["held"].items() if share is not None))
                for name, one in people.items()
            ],
        ),
        _grid(
            ("count", "cells", "smallest", "below the floor"),
            [
                (name, one["cells"], one["smallest"], one["below_floor"])
                for name, one in counts.items()
            ],
        ),
    )  # fmt: skip


def _grid(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = ["".join(f"<td>{_cell(value)}</td>" for value in row) for row in rows]
    return (
        f"<table><tr>{''.join(f'<th>{escape(one)}</th>' for one in head)}</tr>"
        + "".join(f"<tr>{row}</tr>" for row in cells)
        + "</table>"
    )


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escape("" if value is None else str(value))


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

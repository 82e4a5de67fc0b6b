"""The definitions of the agency systems: what there is, whether it is sound, what drifted."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.connection import resolver
from common.definition import load_source, load_sources
from common.errors import DefinitionError
from muara.cli.shared import Json, answer, city_services, console, read_settings


def sources(as_json: Json = False) -> None:
    """List the agency systems and their streams. Example: muara sources"""
    found = load_sources(read_settings())

    def show() -> None:
        table = Table("source", "agency", "stream", "reads", "strategy", "key")
        for source in found.values():
            for stream in source.streams:
                table.add_row(source.name, source.agency, stream.name, stream.read.reader,
                              stream.strategy, ", ".join(stream.key))  # fmt: skip
        console.print(table)

    answer(as_json, [source.model_dump(mode="json") for source in found.values()], show)


def check(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    propose: Annotated[
        bool, typer.Option(help="look at it and write the definition that fits")
    ] = False,
    accept: Annotated[bool, typer.Option(help="its open drifts were looked at")] = False,
    as_json: Json = False,
) -> None:
    """Check definitions, rules and contracts; touches no source unless asked to propose.

    Example: muara check brojol --propose
    """
    if propose or accept:
        _check_drift(source, propose, as_json)
        return
    from expectations.suite import load_core_rules, load_rules
    from pipeline.lineage import undeclared
    from transforms.conform import conform_of, landing_only
    from warehouse.comparison import check as check_comparison
    from warehouse.disclosure import load_floor
    from warehouse.shares import load_contracts

    settings = read_settings()
    found = load_sources(settings)
    chosen = [load_source(settings, source)] if source else list(found.values())
    rules, parked = {}, []
    silent = [
        f"{one.name}.{stream.name}: {', '.join(columns)}"
        for one in chosen
        for stream in one.streams
        if (columns := undeclared(one, stream))
    ]
    if silent:
        raise DefinitionError(
            f"`speaks` does not say whose identifiers these are: {'; '.join(silent)}",
            next_step="name the people of a row in source.yml: docs/adding-a-source.md, 'Of whom "
            "a row speaks'.",
        )
    for one in chosen:
        for own in one.streams:
            if own.compare:
                check_comparison(own.compare, f"{one.name}.{own.name}")
        for stream, found_rules in load_rules(settings, one).items():
            rules[f"{one.name}.{stream}"] = len(found_rules)
            if conform_of(one, stream) is landing_only:
                parked.append(f"{one.name}.{stream}")
    if not source:
        rules |= {table: len(of_table) for table, of_table in load_core_rules(settings).items()}
    contracts = load_contracts(settings)
    load_floor(settings)
    data = {"rules": rules, "contracts": sorted(contracts), "landing_only": parked}

    def show() -> None:
        if parked:
            console.print(f"landed and in no core table: {', '.join(parked)}")
        console.print(
            f"{len(chosen)} source(s), {len(rules)} streams and core tables, "
            f"{sum(rules.values())} rules, {len(contracts)} contracts: no fault"
        )

    answer(as_json, data, show)


def _check_drift(name: str | None, propose: bool, as_json: bool) -> None:
    """How a source differs from its definition; or mark what is open as looked at."""
    from pipeline import proposal
    from warehouse.drift import accept

    settings = read_settings()
    if name is None:
        raise DefinitionError("this asks for one source", next_step="`muara check SOURCE …`.")
    source = load_source(settings, name)
    if not propose:
        count = accept(settings, source=name)
        answer(as_json, {"accepted": count}, lambda: console.print(f"{count} drift(s) accepted"))
        return
    with city_services(settings):
        found = proposal.propose(settings, source, resolver(settings))

    def show() -> None:
        if not found.path:
            console.print(f"{name}: as its definition says")
            return
        table = Table("stream", "kind", "column", "likely", "was", "is", "rows", "touches")
        for one in found.differences:
            drift = one.drift
            rows = "" if drift.rows is None else f"{drift.rows:,}"
            parts = (one.stream, drift.kind, drift.column, drift.likely or "", drift.was, drift.now,
                     rows, "\n".join(one.downstream))  # fmt: skip
            table.add_row(*map(escape, parts))
        console.print(table)
        console.print(found.diff, markup=False, highlight=False)
        console.print(f"\nReview {found.path}, then copy it over {source.name}/source.yml")

    data = {
        "differences": [{"stream": one.stream, **vars(one.drift), "downstream": one.downstream,
                         "codes": one.codes} for one in found.differences],
        "diff": found.diff,
        "proposal": found.path,
    }  # fmt: skip
    answer(as_json, data, show)

"""Alarms for silence: what did not come, or not as it always does."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.connection import resolver
from common.definition import Source, load_sources
from muara.cli.shared import Json, answer, console, read_settings


def alarms(
    every: Annotated[bool, typer.Option("--all", help="also those that are over")] = False,
    check: Annotated[bool, typer.Option("--check", help="judge the night now, and tell")] = False,
    accept: Annotated[
        list[int] | None, typer.Option(help="number of an alarm that is the new habit; repeatable")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who sent nothing, too little, nothing new, or with an odd clock, and whom to ask. Exit code 0
    when no alarm is open, 1 when some are. Example: muara alarms --accept 12"""
    from pipeline import alarms as mornings
    from warehouse.alarms import alarms as stored
    from warehouse.catalog import reading

    settings = read_settings()
    sources = load_sources(settings)
    learning = None
    if accept:
        mornings.accept(settings, accept)
    if check:
        learning = mornings.check(settings, sources, resolver(settings)).learning
    with reading(settings) as connection:
        found = stored(connection, every=every)
    is_open = any(one.state == "open" for one in found)

    def show() -> None:
        if found:
            console.print(_table(sources, found))
        if not is_open:
            console.print("no open alarm")
        if learning:
            console.print(
                f"{len(learning)} streams and submitters are too young, or too quiet, to be judged"
            )

    answer(as_json, [_data(sources, one) for one in found], show)
    if is_open:
        raise typer.Exit(1)


def _data(sources: dict[str, Source], alarm: Any) -> dict[str, Any]:
    from pipeline.telling import contact_of

    return {**vars(alarm), "contact": contact_of(sources, alarm).model_dump()}


def _table(sources: dict[str, Source], found: list[Any]) -> Table:
    from pipeline.telling import contact_of

    table = Table("no.", "since", "kind", "where", "expected", "seen", "contact", "state", "told",
                  box=None, pad_edge=False)  # fmt: skip
    for one in found:
        contact = contact_of(sources, one)
        unit = " h" if one.kind == "clock" else ""
        expected, seen = ("" if value is None else f"{value:,.0f}{unit}"
                          for value in (one.expected, one.seen))  # fmt: skip
        kind = one.kind if one.cause == "habit" else f"{one.kind}, {one.cause}"
        parts = (str(one.alarm_id), str(one.since), kind, one.where, expected, seen,
                 f"{contact.unit} <{contact.email}>", one.state,
                 one.channel_outcome or "")  # fmt: skip
        table.add_row(*map(escape, parts))
    return table

"""Asking the warehouse: what loaded, what is in it, whether tonight can fail."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.settings import Settings
from muara.cli.shared import Json, answer, city_services, console, counted, read_settings


def status(
    every: Annotated[bool, typer.Option("--all", help="every batch, not only the newest")] = False,
    as_json: Json = False,
) -> None:
    """What the newest batch of every stream did. Example: muara status --all"""
    from warehouse.account import attempts
    from warehouse.catalog import reading

    settings = read_settings()
    with reading(settings) as connection:
        rows = attempts(connection, every=every)
        drifts = _open_drifts(connection)
        unreconciled = _unreconciled(connection)
        alarms = _open_alarms(connection)
    data = [
        {**vars(row), "drifts": drifts.get((row.source, row.stream), []),
         "unreconciled": unreconciled.get((row.source, row.stream), {}),
         "alarms": [vars(one) for one in alarms if one.stream_key == (row.source, row.stream)]}
        for row in rows
    ]  # fmt: skip
    answer(as_json, data, lambda: show_status(settings, every=every))


def _open_drifts(connection: Any) -> dict[tuple[str, str], list[str]]:
    """(source, stream) → `kind column` of every open drift."""
    from warehouse.drift import standing

    found: dict[tuple[str, str], list[str]] = {}
    for seen in standing(connection):
        if seen.state == "open":
            told = f"{seen.drift.kind} {seen.drift.column}"
            found.setdefault((seen.source, seen.stream), []).append(told)
    return found


def _open_alarms(connection: Any) -> list[Any]:
    from warehouse.alarms import alarms

    return [one for one in alarms(connection) if one.state == "open"]


def _failed_steps(connection: Any) -> list[Any]:
    """The steps that failed in the newest night that took any."""
    from warehouse.steps import newest_night, outcomes

    night = newest_night(connection)
    return [one for one in outcomes(connection, night).values() if one.outcome == "failed"]


def _unreconciled(connection: Any) -> dict[tuple[str, str], dict[str, int]]:
    """(source, stream) → what its last reconciliation left unexplained, where it did."""
    from warehouse.reconcile import newest

    return {
        (one.source, one.stream): one.unexplained_kinds
        for one in newest(connection)
        if one.unexplained
    }


def show_status(settings: Settings, *, every: bool = False, source: str | None = None) -> None:
    from warehouse.account import COUNTS, attempts
    from warehouse.catalog import reading

    with reading(settings) as connection:
        rows = attempts(connection, every=every)
        drifts = _open_drifts(connection)
        unreconciled = _unreconciled(connection)
        alarms = _open_alarms(connection)
        failed_steps = _failed_steps(connection)
    table = Table(box=None, pad_edge=False)
    for name in ("batch", "night", "stream", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fresh as of", no_wrap=True)
    for row in rows:
        if source and row.source != source:
            continue
        good = row.outcome == "loaded" and not row.error
        table.add_row(str(row.batch_id), str(row.night), f"{row.source}.{row.stream}",
                      f"[{'green' if good else 'red'}]{row.outcome}[/]",
                      *(f"{row.counts[name]:,}" for name in COUNTS),
                      str(row.fresh_as_of or "never"))  # fmt: skip
    console.print(table)
    for row in rows:
        if row.error and (not source or row.source == source):
            stream = f"[red]{row.source}.{row.stream}[/]"
            console.print(f"{stream} {escape(row.error)}", highlight=False)
    for step in [] if source else failed_steps:
        console.print(f"[red]{step.task}[/] {escape(step.error_message or '')}", highlight=False)
    for (name, stream_name), told in drifts.items():
        if not source or name == source:
            stream = f"[yellow]{name}.{stream_name}[/]"
            console.print(f"{stream} drifted: {escape(', '.join(told))}. Next: "
                          f"`muara check {name} --propose`", highlight=False)  # fmt: skip
    for alarm in alarms:
        if not source or alarm.source == source:
            console.print(f"[red]{alarm.where}[/] {alarm.kind} since {alarm.since}. Next: "
                          f"`muara alarms`", highlight=False)  # fmt: skip
    for (name, stream_name), kinds in unreconciled.items():
        if not source or name == source:
            stream = f"[red]{name}.{stream_name}[/]"
            console.print(f"{stream} is not as its source: {counted(kinds)}. Next: "
                          f"`muara reconcile {name} {stream_name}`", highlight=False)  # fmt: skip


def sql(
    query: str,
    limit: Annotated[int, typer.Option(help="rows shown")] = 100,
    as_json: Json = False,
) -> None:
    """Ask the lake, read-only, also while a load runs.

    Example: muara sql "SELECT status, count(*) FROM lake.core.person WHERE valid_to IS NULL
    GROUP BY 1"
    """
    from warehouse.guest import ask

    found = ask(read_settings(), query, limit)

    def show() -> None:
        table = Table(*map(escape, found.columns))
        for row in found.rows:
            table.add_row(*("" if value is None else escape(str(value)) for value in row))
        console.print(table)
        if len(found.rows) == limit:
            console.print(f"the first {limit} rows; --limit shows more")

    answer(as_json, [dict(zip(found.columns, row, strict=True)) for row in found.rows], show)


def doctor(
    rebuild: Annotated[bool, typer.Option(help="also rebuild core from landing")] = False,
    as_json: Json = False,
) -> None:
    """Look for what would make tonight fail. Example: muara doctor --rebuild"""
    from pipeline.doctor import examine

    settings = read_settings()
    with city_services(settings):
        checks = examine(settings, rebuild=rebuild)

    def show() -> None:
        for check in checks:
            sign = "[green]ok[/]" if check.holds else "[bold red]NO[/]"
            console.print(f"{sign}  {check.name}: {check.detail}", highlight=False)

    answer(as_json, [vars(check) for check in checks], show)
    if not all(check.holds for check in checks):
        raise typer.Exit(1)

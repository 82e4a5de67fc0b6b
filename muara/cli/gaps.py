"""What is not covered, and reading it again."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.connection import resolver
from common.definition import load_source, load_sources
from common.errors import DefinitionError, MuaraError
from muara.cli.shared import (
    Json,
    answer,
    chosen_sources,
    city_services,
    console,
    progress,
    read_settings,
)


def gaps(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """What is not covered: streams, stretches of cursors and files that did not load, and what to
    do next. Exit code 0 when there are none, 1 when there are some. Example: muara gaps brojol"""
    from pipeline.gaps import gaps as find_gaps

    settings = read_settings()
    found = find_gaps(settings, chosen_sources(settings, source))

    def show() -> None:
        if not found:
            console.print("no gaps")
        _show(found)

    answer(as_json, [vars(gap) for gap in found], show)
    if found:
        raise typer.Exit(1)


def repair(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Read again what `muara gaps` names, and say what is closed and what remains. Ends with the
    first error's exit code when something remains. Example: muara repair brojol birth_report"""
    from pipeline.gaps import repair as repair_gaps
    from pipeline.sync import prepare

    settings = read_settings()
    chosen = chosen_sources(settings, source)
    if source and stream:
        chosen[source].stream(stream)
    with city_services(settings), progress(as_json):
        prepare(settings, load_sources(settings))
        done = repair_gaps(settings, chosen, resolver(settings), stream)

    def show() -> None:
        for gap in done.closed:
            console.print(f"[green]closed[/] {gap.source}.{gap.stream}: {escape(gap.what)}",
                          highlight=False)  # fmt: skip
        _show(done.remaining)
        console.print(f"{len(done.closed)} closed, {len(done.remaining)} remain")

    answer(as_json, {"closed": [vars(gap) for gap in done.closed],
                      "remaining": [vars(gap) for gap in done.remaining]}, show)  # fmt: skip
    if done.remaining:
        raise done.failure or typer.Exit(1)


def _show(found: list[Any]) -> None:
    for gap in found:
        console.print(f"[red]{gap.source}.{gap.stream}[/] {gap.kind}: {escape(gap.what)}. "
                      f"Next: {escape(gap.next_step)}", highlight=False)  # fmt: skip


MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def backfill(
    source: str,
    stream: str,
    low: Annotated[
        datetime,
        typer.Option("--from", formats=MOMENTS, metavar="TIME", help="in the source's own time"),
    ],
    high: Annotated[
        datetime, typer.Option("--to", formats=MOMENTS, metavar="TIME", help="up to, without it")
    ],
    step: Annotated[str, typer.Option(help="length of one batch: 7d, 12h")] = "1d",
    again: Annotated[bool, typer.Option("--again", help="also steps that loaded before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count and estimate")] = False,
    as_json: Json = False,
) -> None:
    """Read a stretch of the past again from a source with a cursor, a batch for each step. After a
    failure the same command goes on where it stopped.

    Example: muara backfill archive letter --from 2026-01-01 --to 2026-02-01 --step 7d --dry-run
    """
    from pipeline import backfill as backfills
    from pipeline.sync import prepare

    settings = read_settings()
    chosen = load_source(settings, source)
    one = chosen.stream(stream)
    planned = backfills.steps(settings, chosen, one, low, high, _length(step))
    todo = [each for each in planned if again or not each.is_loaded]
    resolve = resolver(settings)
    if dry_run:
        with city_services(settings), progress(as_json):
            todo = backfills.estimate(settings, chosen, one, resolve, todo)
        answer(as_json, [_as_data(each) for each in todo],
                lambda: _show_estimate(todo, len(planned) - len(todo)))  # fmt: skip
        return
    accounts, failure = [], None
    with city_services(settings), progress(as_json):
        prepare(settings, load_sources(settings))
        try:
            for account in backfills.backfill(settings, chosen, one, resolve, todo):
                accounts.append(account)
        except MuaraError as error:
            failure = error

    def show() -> None:
        rows = sum(account.extracted for account in accounts)
        console.print(f"{len(accounts)} of {len(todo)} steps loaded, {rows:,} rows read"
                      + _skipped(len(planned) - len(todo)))  # fmt: skip

    answer(as_json, [vars(account) for account in accounts], show)
    if failure:
        raise failure


def _length(step: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,3})([dh])", step)
    if not found:
        raise DefinitionError(f"{step} is no length of a step",
                              where="--step", next_step="give days or hours: 7d, 12h.")  # fmt: skip
    return timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})


def _as_data(step: Any) -> dict[str, Any]:
    return {"low": step.interval.low, "high": step.interval.high, "rows": step.rows,
            "seconds": step.seconds}  # fmt: skip


def _skipped(number: int) -> str:
    return f"; {number} loaded before (--again reads them too)" if number else ""


def _show_estimate(steps: list[Any], skipped: int) -> None:
    table = Table("from", "to", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("seconds", justify="right")
    for step in steps:
        table.add_row(str(step.interval.low), str(step.interval.high),
                      _total([step.rows], ",d"), _total([step.seconds], ",.1f"))  # fmt: skip
    console.print(table)
    rows = _total([step.rows for step in steps], ",d")
    seconds = _total([step.seconds for step in steps], ",.1f")
    console.print(f"{len(steps)} steps, {rows} rows, {seconds} seconds{_skipped(skipped)}; "
                  "nothing was read")  # fmt: skip


def _total(numbers: list[Any], form: str) -> str:
    return "unknown" if None in numbers else format(sum(numbers), form)

"""Comparing the warehouse with its sources."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.connection import resolver
from common.definition import load_sources
from muara.cli.shared import (
    Json,
    answer,
    chosen_streams,
    city_services,
    console,
    counted,
    each_stream,
    progress,
    read_settings,
)

SHOWN = 20


def reconcile(
    source: str,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Compare a source as it is now with what the warehouse holds of it: counts, then sums of rows,
    then the rows of what differs; name every difference and why where it is known. Exit code 14
    when something is unexplained. A stream whose definition names another source that speaks of the
    same records is compared with that one too. Example: muara reconcile civil_registry resident"""
    from pipeline.comparison import compare as compare_sources
    from pipeline.reconcile import reconcile as compare
    from pipeline.reconcile import require_explained
    from pipeline.sync import prepare

    settings = read_settings()
    chosen = chosen_streams(settings, source, stream)
    with city_services(settings), progress(as_json):
        prepare(settings, load_sources(settings))
        resolve = resolver(settings)
        reports, failure = each_stream(
            chosen,
            lambda system, one: (
                compare(settings, system, one, resolve),
                compare_sources(settings, system, one),
            ),
        )
    data = [
        {**vars(report.outcome), "quarantine_rules": report.rules,
         "differences": [vars(one) for one in report.differences],
         "compared": compared and {
             **vars(compared.outcome),
             "disagreements": [vars(one) for one in compared.disagreements]}}
        for report, compared in reports
    ]  # fmt: skip
    answer(as_json, data, lambda: _show(reports))
    if failure:
        raise failure
    require_explained(report.outcome for report, _ in reports)


def _show(pairs: list[Any]) -> None:
    reports = [report for report, _ in pairs]
    table = Table(box=None, pad_edge=False)
    table.add_column("stream", no_wrap=True)
    for name in ("source", "landed", "quarantine", "on hold", "pulled", "unexplained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("explained")
    for report in reports:
        one = report.outcome
        counts = (one.source_rows, one.landed_rows, one.quarantined_rows, one.held_records,
                  one.rows_pulled)  # fmt: skip
        color = "red" if one.unexplained else "green"
        table.add_row(f"{one.source}.{one.stream}", *(f"{count:,}" for count in counts),
                      f"[{color}]{one.unexplained:,}[/]", counted(one.explained))  # fmt: skip
    console.print(table)
    for report in reports:
        _show_differences(report)
    for _, compared in pairs:
        if compared:
            _show_compared(compared)


def _show_compared(compared: Any) -> None:
    one = compared.outcome
    console.print(
        f"{one.source}.{one.stream} beside {one.other}: {one.same:,} the same, "
        f"{one.differing:,} differing, {one.only_here:,} only here, {one.elsewhere:,} there but "
        f"elsewhere, {one.only_there:,} only there; in quarantine {one.quarantined_here:,} here, "
        f"{one.quarantined_there:,} there",
        highlight=False,
    )
    if not compared.disagreements:
        return
    table = Table("difference", "record here", "record there", "columns", "file", "row")
    for each in compared.disagreements[:SHOWN]:
        cells = (each.record_id, each.other_record_id, ", ".join(each.columns), each.origin,
                 each.row)  # fmt: skip
        table.add_row(each.kind, *("" if cell is None else escape(str(cell)) for cell in cells))
    console.print(table)
    if len(compared.disagreements) > SHOWN:
        count = f"{len(compared.disagreements):,}"
        console.print(f"the first {SHOWN} of {count}; --json gives them all")


def _show_differences(report: Any) -> None:
    if report.rules:
        console.print(f"{report.outcome.stream} in quarantine by rule: {counted(report.rules)}",
                      highlight=False)  # fmt: skip
    if not report.differences:
        return
    table = Table("record", "key", "difference", "reason", "batch", "row", "file")
    for one in report.differences[:SHOWN]:
        reason = one.reason if one.is_explained else f"[red]{one.reason}[/]"
        cells = (one.key, one.kind, one.batch_id, one.row, one.origin)
        key, kind, *place = ("" if cell is None else escape(str(cell)) for cell in cells)
        table.add_row(one.record_id, key, kind, reason, *place)
    console.print(table)
    if len(report.differences) > SHOWN:
        console.print(f"the first {SHOWN} of {len(report.differences):,}; --json gives them all")

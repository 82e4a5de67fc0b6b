"""Bringing sources up to now: one stream, a whole night, or Airflow's scheduler."""

import subprocess
import sys
import time
from typing import Annotated, Any

import typer

from common.connection import resolver
from common.definition import load_sources
from common.home_files import read_json
from common.settings import Settings
from muara.cli.asking import show_status
from muara.cli.shared import (
    Json,
    answer,
    chosen_streams,
    city_services,
    console,
    each_stream,
    progress,
    read_settings,
)


def sync(
    source: str,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    accept: Annotated[bool, typer.Option(help="accept that many rows vanished")] = False,
    as_json: Json = False,
) -> None:
    """Bring one source, or one stream, up to now. Example: muara sync brojol birth_report"""
    from pipeline.sync import prepare
    from pipeline.sync import sync as sync_stream

    settings = read_settings()
    chosen = chosen_streams(settings, source, stream)
    with city_services(settings), progress(as_json):
        prepare(settings, load_sources(settings))
        resolve = resolver(settings)
        accounts, failure = each_stream(
            chosen,
            lambda system, one: sync_stream(
                settings, system, one, resolve, accept_deletions=accept
            ),
        )
    answer(as_json, [vars(account) for account in accounts],
            lambda: show_status(settings, source=source))  # fmt: skip
    if failure:
        raise failure


def night(
    direct: Annotated[bool, typer.Option(help="without Airflow, in this process")] = False,
    as_json: Json = False,
) -> None:
    """A whole night: every source, publish, extracts, then the checks. Example: muara night"""
    from pipeline import night as nights
    from warehouse.account import last_batch
    from warehouse.catalog import lake_folder, reading

    settings = read_settings()
    found = load_sources(settings)
    with nights.one_night(settings):
        before = 0
        if (lake_folder(settings) / "catalog.sqlite").exists():
            with reading(settings) as connection:
                before = last_batch(connection)
        started = time.monotonic()
        with city_services(settings), progress(as_json):
            if direct:
                failed = [one.task for one in nights.run(settings, found, resolver(settings))]
                checks = nights.checks(settings, found, before)
            else:
                failed, checks = _through_airflow(settings, as_json)
        every_task = nights.Check(
            "every task succeeded", not failed, ", ".join(failed) or "none failed"
        )
        checks = [every_task, *(checks or nights.checks(settings, found, before))]
        summary = nights.summary(settings, before, time.monotonic() - started)
    data = {"summary": summary, "checks": [vars(check) for check in checks]}
    answer(as_json, data, lambda: _show_night(settings, summary, checks))
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


def _through_airflow(settings: Settings, quiet: bool) -> tuple[list[str], list[Any]]:
    """The tasks that failed and what the night's own checks were answered, none when it did not get
    that far. The DAGs run in a process of their own; Airflow's settings are in place before it is
    imported.

    Ends with the exit code of a night that could not run at all; it has said why.
    """
    from dags.local import night_report
    from pipeline.night import Check, answers_of

    answers, report = answers_of(settings), night_report(settings)
    for left_before in (answers, report):
        left_before.unlink(missing_ok=True)
    output = subprocess.DEVNULL if quiet else None
    command = [sys.executable, "-m", "dags.local", "night"]
    code = subprocess.run(command, check=False, stdout=output).returncode
    if not report.exists():
        raise typer.Exit(code or 1)
    again = "run `muara night` again."
    asked = read_json(answers, list[Check], again) if answers.exists() else []
    return read_json(report, dict[str, list[str]], again).get("failed", []), asked


def _show_night(settings: Settings, summary: dict[str, Any], checks: list[Any]) -> None:
    show_status(settings)
    console.print(
        f"\nNight of [bold]{summary['night']}[/]: {summary['extracted']:,} rows read, "
        f"{summary['quarantined']:,} in quarantine, {summary['persons']:,} persons, "
        f"{summary['extract_files']} extract files, {summary['seconds']:.0f} s"
    )
    if not settings.impact_assessment:
        console.print(
            "Nobody was linked: the setting impact_assessment is empty (docs/identity.md)."
        )
    for check in checks:
        sign = "[green]yes[/]" if check.holds else "[bold red]NO[/] "
        console.print(f"  {sign}  {check.name}: {check.detail}", highlight=False)
    home = settings.home
    console.print(
        f"\nLook: {home}/published/current/warehouse.duckdb · {home}/extracts · "
        "`.venv/bin/muara status` · `.venv/bin/muara sql 'FROM lake.core.person LIMIT 5'`"
    )


def serve() -> None:
    """Airflow's scheduler and UI on this machine, until stopped. Example: muara serve"""
    settings = read_settings()
    with city_services(settings):
        code = subprocess.run([sys.executable, "-m", "dags.local", "up"], check=False).returncode
    raise typer.Exit(code)

"""The command line. Every command answers `--help` with an example and `--json` for machines.

One module for each family of commands; this one lists them in the order of the help.
"""

import json
import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from common.failures import ours, print_no_traces
from muara.cli import (
    alarms,
    asking,
    backup,
    catalog,
    city,
    comparing,
    definitions,
    desk,
    difference,
    expectations,
    gaps,
    giving,
    lineage,
    linking,
    loading,
    person,
    quarantine,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="One warehouse out of a city's scattered agency systems.")  # fmt: skip
for command in (
    definitions.sources,
    definitions.check,
    loading.sync,
    loading.night,
    loading.serve,
    asking.status,
    alarms.alarms,
    gaps.gaps,
    gaps.repair,
    gaps.backfill,
    quarantine.replay,
    comparing.reconcile,
    linking.link,
    desk.review,
    desk.portal,
    desk.audit,
    asking.sql,
    lineage.trace,
    lineage.lineage,
    giving.publish,
    giving.extract,
    giving.rejections,
    giving.send,
    giving.verify,
    difference.diff,
    backup.restore,
    asking.doctor,
):
    app.command()(command)
app.add_typer(expectations.expectations_app, name="expectations")
app.add_typer(quarantine.quarantine_app, name="quarantine")
app.add_typer(backup.backup_app, name="backup")
app.add_typer(catalog.catalog_app, name="catalog")
app.add_typer(city.city_app, name="city")
app.add_typer(person.person_app, name="person")
app.add_typer(desk.account_app, name="account")


def main() -> None:
    """Run the command line; an error is one message and its family's exit code. What it writes is
    for its owner only."""
    os.umask(0o077)
    print_no_traces()
    try:
        app()
    except Exception as failure:
        error = ours(failure)
        if "--json" in sys.argv:
            print(json.dumps({"error": error.code, "what": error.what, "where": error.where,
                              "next": error.next_step}))  # fmt: skip
        else:
            message = f"[bold red]{error.code}[/] {escape(str(error))}"
            Console(stderr=True).print(message, highlight=False)
        sys.exit(error.exit_code)

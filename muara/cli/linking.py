"""Who is who: linking the records that speak of one person."""

from typing import Annotated

import typer

from common.definition import load_sources
from muara.cli.shared import Json, answer, console, counted, read_settings


def link(
    retrain: Annotated[
        bool, typer.Option("--retrain", help="learn the model anew from what core holds")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="tell what would change, and change nothing")
    ] = False,
    as_json: Json = False,
) -> None:
    """Link all records that speak of one person and give each person a permanent id. Needs the
    reference of an impact assessment in the settings. Example: muara link
    --retrain --dry-run"""
    from pipeline.link import link as run
    from pipeline.sync import prepare

    settings = read_settings()
    prepare(settings, load_sources(settings))
    done = run(settings, retrain=retrain, dry_run=dry_run)

    def show() -> None:
        console.print(
            f"{done.mentions:,} mentions of {done.persons:,} persons, {done.linked:,} linked by "
            f"model {done.model}{' (learnt now)' if done.trained else ''} in {done.seconds} s"
        )
        console.print(f"ids: {counted(done.events) or 'nothing changed'}")
        console.print(f"mentions that another person had before: {done.moved:,}")
        if dry_run:
            console.print("a dry run: nothing of this was kept.")

    answer(as_json, vars(done), show)

"""What leaves the warehouse: the marts and the analysts' copy, the agencies' extracts and the rows
they get back."""

from pathlib import Path
from typing import Annotated

import typer

from common import clock
from common.connection import resolver
from common.definition import load_sources
from common.settings import Settings
from muara.cli.shared import Json, answer, console, read_settings


def publish(as_json: Json = False) -> None:
    """Rebuild the marts and the analysts' warehouse now. Example: muara publish"""
    from pipeline import leave

    rows = leave.publish(read_settings())
    answer(as_json, rows, lambda: console.print(f"{len(rows)} tables, {sum(rows.values()):,} rows"))


def extract(
    agency: Annotated[str | None, typer.Argument(help="one agency; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Cut, verify and deliver extracts now. Example: muara extract bp4d"""
    from pipeline import leave

    settings = read_settings()
    today = clock.today(settings)
    rows = leave.deliver(settings, agency)

    def show() -> None:
        for name, datasets in rows.items():
            console.print(f"{settings.home}/extracts/{name}/{today}", highlight=False)
            for dataset, count in datasets.items():
                console.print(f"  {dataset}: {count:,} rows", highlight=False)

    answer(as_json, rows, show)


def rejections(
    agency: Annotated[str | None, typer.Argument(help="one agency; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Give agencies their rejected rows as a workbook now. Example: muara rejections disdukcapil"""
    from pipeline import leave
    from pipeline.rejections import FOLDER

    settings = read_settings()
    rows = leave.return_rejections(settings, agency)

    def show() -> None:
        for name, count in rows.items():
            place = f"{settings.home}/extracts/{name}/{FOLDER}"
            console.print(f"{place}: {count:,} rows", highlight=False)

    answer(as_json, rows, show)


def send(
    agency: Annotated[str | None, typer.Argument(help="one agency; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Give agencies' own Open311 servers the reports of their contracts, and the states they
    reached since. Example: muara send dputr"""
    from pipeline import open311

    settings = read_settings()
    counts = open311.send(settings, resolver(settings), agency)

    def show() -> None:
        for name, one in counts.items():
            told = ", ".join(f"{count:,} {what}" for what, count in one.items() if count)
            console.print(f"{name}: {told or 'nothing new'}", highlight=False)
        if not counts:
            console.print("no contract says open311")

    answer(as_json, counts, show)


def verify(folder: Path, as_json: Json = False) -> None:
    """Check a delivery against its manifest. Example: muara verify var/extracts/bp4d/2026-11-23"""
    from warehouse.manifest import verify as verify_folder

    manifest = verify_folder(folder, _declared_for(folder))
    answer(as_json, manifest, lambda: console.print(f"{len(manifest['files'])} files as delivered"))


def _declared_for(folder: Path) -> set[str] | None:
    """The files that a folder of tonight's must hold by our own definitions; None for any other
    folder, which is held to its manifest alone."""
    from pipeline import leave

    settings = Settings()
    if not folder.resolve().is_relative_to(settings.home):
        return None
    due = leave.due(settings, load_sources(settings), clock.today(settings))
    return {place.resolve(): files for place, files in due.items()}.get(folder.resolve())

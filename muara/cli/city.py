"""The sample city: synthetic people, real shapes."""

import os
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import DefinitionError
from common.home_files import write_whole
from common.settings import Settings
from muara.cli.shared import city_date, console, read_settings

city_app = typer.Typer(no_args_is_help=True, help="The sample city: synthetic people, real shapes.")


@city_app.command("build")
def city_build(
    residents: Annotated[int, typer.Option(min=100)] = 356_629,
    seed: int = 1,
    today: Annotated[str, typer.Option(help="the city's date")] = "2026-11-23",
    if_missing: Annotated[bool, typer.Option(help="keep a city that is already there")] = False,
) -> None:
    """Build the sample city and its legacy systems. Example: muara city build --residents 5000"""
    import city

    settings = read_settings()
    home = settings.home / "city"
    if (home / "city.json").exists():
        if if_missing:
            console.print(f"keeping the sample city of {city_date(home)} in {home}")
            return
        raise DefinitionError("there is a sample city already", where=str(home),
                              next_step="`make clean` forgets it and its warehouse.")  # fmt: skip
    if (settings.home / "lake").exists():
        console.print(
            f"{settings.home} holds a warehouse of its own; no sample city is built there"
        )
        raise typer.Exit(0 if if_missing else 1)
    started = time.monotonic()
    with console.status(f"building a city of {residents:,} residents"):
        city.build(home, residents, seed, date.fromisoformat(today), _legacy_servers(home))
    _adopt(settings, home)
    console.print(
        f"a city of {residents:,} synthetic residents in {time.monotonic() - started:.0f} s"
    )


@city_app.command("tomorrow")
def city_tomorrow() -> None:
    """Advance the sample city by one day. Example: muara city tomorrow"""
    import city
    from pipeline.night import one_night

    settings = read_settings()
    home = settings.home / "city"
    if not (home / "city.json").exists():
        raise DefinitionError("there is no sample city", next_step="run `muara city build` first.")
    with one_night(settings):
        city_date(home)
        city.tomorrow(home, _legacy_servers(home))
        _adopt(settings, home)
    console.print(f"it is {city.today(home)} in the city")


@city_app.command("serve")
def city_serve() -> None:
    """Serve the sample city's report inbox until stopped. Example: muara city serve"""
    import city

    with city.serve_open311(read_settings().home / "city") as url:
        console.print(f"AIRFLOW_CONN_REPORT_INBOX={url}  (Ctrl-C stops it)", highlight=False)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


def _legacy_servers(home: Path) -> Any:
    """Real servers for the city's databases where MUARA_CITY_<SYSTEM> names them."""
    import city

    named = {system: os.environ[f"MUARA_CITY_{system.upper()}"]
             for system in ("simreda", "civil_registry", "brojol", "cctv")
             if f"MUARA_CITY_{system.upper()}" in os.environ}  # fmt: skip
    return city.Systems(**named) if named else None


def _adopt(settings: Settings, home: Path) -> None:
    """Let the warehouse live in the city's date and know its connections."""
    import city

    write_whole(settings.home / "today", f"{city.today(home)}\n")
    lines = [f'{name} = "{url}"' for name, url in city.connections(home).items()]
    write_whole(settings.home / "connections.toml", "[connections]\n" + "\n".join(lines) + "\n")

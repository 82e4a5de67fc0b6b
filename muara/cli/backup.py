"""Backing the home up, and bringing it back."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.connection import resolver
from common.definition import load_sources
from common.errors import DefinitionError
from muara.cli.shared import Json, answer, city_services, console, progress, read_settings

Keys = Annotated[
    Path | None,
    typer.Option("--keys", help="the file that `muara backup keys` wrote; default: this home's"),
]
backup_app = typer.Typer(
    help="Backups of everything that a night cannot make anew. Example: muara backup",
    invoke_without_command=True,
)


@backup_app.callback()
def make(
    context: typer.Context,
    anew: Annotated[
        bool, typer.Option("--anew", help="begin at an empty place, though an earlier was known")
    ] = False,
    as_json: Json = False,
) -> None:
    """Back up now, also while loads run, and verify. Example: muara backup"""
    if context.invoked_subcommand:
        return
    from pipeline.backup import backup
    from warehouse.backup.keys import are_kept_apart

    settings = read_settings()
    with progress(as_json):
        taken = backup(settings, resolver(settings), anew=anew)

    def show() -> None:
        console.print(
            f"backup {taken.id} of {taken.night}: {taken.files:,} files, {_size(taken.bytes)}, "
            f"{_size(taken.added)} of them not yet at the place; verified"
        )
        if not are_kept_apart(settings):
            console.print(
                "[bold red]Its keys are in this home only, and no backup holds them.[/] Write them "
                "to a file that you keep apart: `muara backup keys FILE`"
            )

    answer(as_json, vars(taken), show)


@backup_app.command("list")
def list_backups(as_json: Json = False) -> None:
    """The nights that can be restored. Example: muara backup list"""
    from pipeline.backup import backups

    settings = read_settings()
    found = backups(settings, resolver(settings))

    def show() -> None:
        table = Table("night", "made at (UTC)", "backup", box=None, pad_edge=False)
        for one in found:
            table.add_row(str(one.night), one.made_at.replace("T", " "), one.id)
        console.print(table if found else "none")

    answer(as_json, [vars(one) for one in found], show)


@backup_app.command()
def verify(as_json: Json = False) -> None:
    """Read every byte of every backup and compare it with its manifest. Example: muara backup
    verify"""
    from pipeline.backup import verify as verify_all

    settings = read_settings()
    with progress(as_json):
        count = verify_all(settings, resolver(settings))
    answer(as_json, {"backups": count}, lambda: console.print(f"{count} backups are whole"))


@backup_app.command()
def keys(file: Path) -> None:
    """Write the keys, which are in no backup, to a new file that you keep apart. Example: muara
    backup keys /media/safe/muara.keys"""
    from warehouse.backup.keys import write_keys

    settings = read_settings()
    _ = settings.backup_key  # made now when there is none yet
    write_keys(settings, file)
    console.print(
        f"{file} holds every key of {settings.home}. Whoever has it and a backup has the "
        "warehouse; who lost it cannot restore. Keep it apart from both.",
        highlight=False,
    )


@backup_app.command()
def drill(as_json: Json = False) -> None:
    """Restore the newest backup beside this home, play a night on it, remove it. Example: muara
    backup drill"""
    from pipeline.drill import drill as run

    settings = read_settings()
    with city_services(settings), progress(as_json):
        done = run(settings, load_sources(settings), resolver(settings))

    def show() -> None:
        console.print(
            f"the backup of {done.night} can be restored: {done.files:,} files and {done.tables} "
            f"tables are as they were, and a night of {done.streams} streams was played on it"
        )

    answer(as_json, vars(done), show)


def restore(
    to: Annotated[Path, typer.Option(help="the new home: a new or empty folder")],
    night: Annotated[str, typer.Option(help="a date, or `newest`")] = "newest",
    place: Annotated[
        str, typer.Option("--from", help="folder or connection id; default: `backup_place`")
    ] = "",
    keys: Keys = None,
    as_json: Json = False,
) -> None:
    """Bring a night back into another home and verify all of it. Example: muara restore --to
    /srv/muara --night 2026-11-23 --keys /media/safe/muara.keys"""
    from pipeline.backup import restore as bring_back
    from warehouse.backup.copy import LEFT_OUT
    from warehouse.backup.keys import read_keys

    settings = read_settings()
    with progress(as_json):
        done = bring_back(
            settings, resolver(settings), to=to, night=_night(night), place=place,
            keys=read_keys(keys) if keys else None,
        )  # fmt: skip

    def show() -> None:
        console.print(
            f"{done.home}: the night of {done.night}, {done.files:,} files, {_size(done.bytes)}, "
            f"{done.tables} tables; every one as it was",
            highlight=False,
        )
        console.print("Not in a backup:")
        for folder, why in LEFT_OUT.items():
            console.print(f"  {folder:13} {why}", highlight=False)
        _show_erasures(done.erased_since)
        console.print(f"Next: MUARA_HOME={done.home} muara night")

    answer(as_json, vars(done), show)


def _show_erasures(erasures: list[dict[str, Any]]) -> None:
    if erasures:
        console.print("[bold red]Erased since that night, and to be erased again now:[/]")
    for one in erasures:
        console.print(
            f"  muara person erase {one['source_record_id']} --reference {one['reference']}",
            highlight=False,
        )


def _night(said: str) -> date | None:
    try:
        return None if said == "newest" else datetime.strptime(said, "%Y-%m-%d").date()
    except ValueError:
        raise DefinitionError(
            "this is no night", where="--night", next_step="say YYYY-MM-DD or newest."
        ) from None


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"

"""The lake's catalog: its copies beside the lake, the way back to one, files that none names."""

from datetime import datetime
from typing import Annotated, Any

import typer

from common.errors import WarehouseFault
from muara.cli.shared import Json, answer, console, read_settings

catalog_app = typer.Typer(no_args_is_help=True, help="Copies of the lake's catalog.")


@catalog_app.command()
def copies(as_json: Json = False) -> None:
    """The copies beside the lake, and what going back to each would mean.

    Example: muara catalog copies
    """
    from warehouse.copies import copies as kept
    from warehouse.copies import weigh

    settings = read_settings()
    data = []
    for copy in kept(settings):
        meaning = weigh(settings, copy)
        data.append(_as_data(meaning))

    def show() -> None:
        for one in data:
            would = (
                f"of no use: {one['fault']}"
                if one["fault"]
                else f"{one['lost']} later snapshots would be lost, {one['damaged']} of its files "
                f"are damaged or gone, {one['unknown']} files would be of no use"
            )
            console.print(f"{one['night']}  snapshot {one['snapshot']}: {would}", highlight=False)
        if not data:
            console.print("there is no copy yet; each night makes one")

    answer(as_json, data, show)


def _as_data(meaning: Any) -> dict[str, Any]:
    return {
        "night": meaning.copy.night,
        "snapshot": meaning.copy.snapshot,
        "lost": meaning.lost,
        "damaged": len(meaning.damaged),
        "unknown": meaning.unknown.files,
        "fault": meaning.fault,
    }


@catalog_app.command()
def copy(as_json: Json = False) -> None:
    """Copy the catalog now, as each night does. Example: muara catalog copy"""
    from warehouse.copies import copy_catalog

    made = copy_catalog(read_settings())
    answer(as_json, {"path": made.path, "snapshot": made.snapshot},
           lambda: console.print(str(made.path), highlight=False))  # fmt: skip


@catalog_app.command()
def restore(
    night: Annotated[
        datetime | None,
        typer.Argument(formats=["%Y-%m-%d"], metavar="[NIGHT]", help="the newest when left out"),
    ] = None,
    accept: Annotated[
        bool, typer.Option(help="accept that what came after the copy is lost")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a copy in the place of the catalog. Example: muara catalog restore 2026-11-30"""
    from warehouse.copies import copies as kept
    from warehouse.copies import put_back

    settings = read_settings()
    found = [one for one in kept(settings) if night is None or one.night == night.date()]
    if not found:
        raise WarehouseFault(
            f"there is no copy of the catalog of {night.date()}" if night else "there is no copy",
            where=f"{settings.home}/lake/copies",
            next_step="`muara catalog copies` lists them; a backup may have it: `muara restore`.",
        )
    meaning = put_back(settings, found[0], accept=accept)
    answer(as_json, _as_data(meaning), lambda: console.print(
        f"The catalog is that of {found[0].night}, snapshot {found[0].snapshot}. Next: "
        "`muara doctor --all`, then `muara night`."
    ))  # fmt: skip


@catalog_app.command()
def orphans(
    delete: Annotated[
        bool, typer.Option("--delete", help="delete those older than a day, however many")
    ] = False,
    as_json: Json = False,
) -> None:
    """Files of the data folder that no snapshot names. Few of them go by themselves; many may be
    the data of a catalog that is not this one.

    Example: muara catalog orphans --delete
    """
    from warehouse.catalog import data_folder, delete_orphans, reading, require_sound, writing
    from warehouse.files import orphans as found_in

    settings = read_settings()
    data_of = data_folder(settings)
    deleted = 0
    if delete:
        with writing(settings, "upkeep") as connection:
            require_sound(connection, data_of)
            deleted = delete_orphans(connection, data_of, few=False)
    with reading(settings) as connection:
        found = found_in(connection, data_of)
    answer(as_json, {**vars(found), "deleted": deleted},
           lambda: console.print(f"{deleted} deleted; {found}", highlight=False))  # fmt: skip

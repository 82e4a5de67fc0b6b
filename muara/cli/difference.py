"""What changed from one night to another."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from common.definition import load_sources
from muara.cli.shared import Json, answer, console, read_settings

NIGHT = "%Y-%m-%d"


def diff(
    night_a: Annotated[datetime, typer.Argument(formats=[NIGHT], help="the earlier night")],
    night_b: Annotated[datetime, typer.Argument(formats=[NIGHT], help="the later one")],
    as_json: Json = False,
) -> None:
    """What changed in core and quarantine between two nights, by cause; counts only.

    Example: muara diff 2026-11-23 2026-11-24
    """
    from warehouse.catalog import reading
    from warehouse.changes import changes, reasons

    settings = read_settings()
    after, until = night_a.date(), night_b.date()
    with reading(settings) as connection:
        found = changes(connection, load_sources(settings), after, until)
        why = reasons(connection, after, until)

    def show() -> None:
        if not found:
            console.print("nothing changed in core or quarantine")
        else:
            table = Table("source", "stream", "table", "cause", "opened", "closed")
            for one in found:
                table.add_row(one.source, one.stream, one.table, one.cause.replace("+", " and "),
                              f"{one.opened:,}", f"{one.closed:,}")  # fmt: skip
            console.print(table)
        for part in why:
            where = f"{part.night}  {part.source}.{part.stream}"
            console.print(
                f"{where}: {part.kind} {part.name} is new, other or gone", highlight=False
            )

    data: dict[str, Any] = {
        "changes": [asdict(one) for one in found],
        "reasons": [asdict(one) for one in why],
    }
    answer(as_json, data, show)

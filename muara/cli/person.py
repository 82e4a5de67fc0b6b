"""One person's records."""

from typing import Annotated

import typer

from common import clock
from common.definition import load_sources
from muara.cli.shared import Json, answer, console, read_settings

person_app = typer.Typer(no_args_is_help=True, help="One person's records.")


@person_app.command("erase")
def person_erase(
    record: Annotated[str, typer.Argument(help="source_record_id in core.person_identity")],
    reference: Annotated[str, typer.Option(help="number of the request, no person data")],
    as_json: Json = False,
) -> None:
    """Erase a resident's record everywhere we keep it, then publish and deliver anew.

    Example: muara person erase 6f1c… --reference 470/12/2026
    """
    from pipeline import leave
    from warehouse.erase import erase

    settings = read_settings()
    found = load_sources(settings)
    source = found["civil_registry"]
    touched = erase(settings, found, source, source.stream("resident"), record,
                    reference=reference, night=clock.today(settings))  # fmt: skip
    leave.publish(settings)
    leave.deliver(settings)
    leave.return_rejections(settings)
    answer(as_json, touched, lambda: console.print(
        "erased: " + ", ".join(f"{name} {count}" for name, count in touched.items())))  # fmt: skip

"""What the families of commands share: settings, the answer in both forms, progress, the city."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from common import log
from common.definition import Source, Stream, load_source, load_sources
from common.errors import HomeFault, MuaraError
from common.settings import Settings

WIDTH = 160
console = Console(width=None if sys.stdout.isatty() else WIDTH)
Json = Annotated[bool, typer.Option("--json", help="answer as JSON")]


def read_settings() -> Settings:
    """The settings, with the log set up by them.

    Raises DefinitionError for a setting that is none.
    """
    settings = Settings()
    log.configure(settings)
    return settings


def answer(as_json: bool, data: Any, show: Callable[[], None]) -> None:
    """Print `data` as JSON, or let `show` print it for people."""
    if as_json:
        print(json.dumps(data, default=str, indent=2, ensure_ascii=False))
    else:
        show()


@contextmanager
def progress(as_json: bool) -> Iterator[None]:
    """A line that follows the stage marks, on a terminal only."""
    if as_json or not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[step]}{task.description}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None, step="")

        def follow(name: str, where: dict[str, Any]) -> None:
            if step := where.get("step"):
                progress.update(task, step=f"{step}, ")
            progress.update(
                task, description=f"{where.get('source')}.{where.get('stream')}: {name}"
            )

        log.on_stage(follow)
        yield


def counted(counts: dict[str, int]) -> str:
    """`3 changed_since, 1 new_since`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def chosen_sources(settings: Settings, source: str | None) -> dict[str, Source]:
    """Name → definition of one source, or of all when none is named."""
    return {source: load_source(settings, source)} if source else load_sources(settings)


def chosen_streams(
    settings: Settings, name: str, stream: str | None
) -> list[tuple[Source, Stream]]:
    """One stream of a source, or all when none is named."""
    source = load_source(settings, name)
    return [(source, one) for one in ([source.stream(stream)] if stream else source.streams)]


def each_stream(
    chosen: list[tuple[Source, Stream]], act: Callable[[Source, Stream], Any]
) -> tuple[list[Any], MuaraError | None]:
    """What `act` answers for each; and the first failure, which does not stop the others."""
    answers, failure = [], None
    for source, stream in chosen:
        try:
            answers.append(act(source, stream))
        except MuaraError as error:
            failure = failure or error
    return answers, failure


def city_date(home: Path) -> date:
    """The sample city's own date. Raises HomeFault when the city in `home` is damaged."""
    import city

    try:
        return city.today(home)
    except (ValueError, LookupError, TypeError):
        raise HomeFault(
            "damaged: not what `muara city build` wrote",
            where=str(home / "city.json"),
            next_step="put it back; `make clean` forgets the city and its warehouse.",
        ) from None


@contextmanager
def city_services(settings: Settings) -> Iterator[None]:
    """The sample city's inbox answers while a command runs; nothing where there is no such city."""
    home = settings.home / "city"
    if not (home / "city.json").exists() or "AIRFLOW_CONN_REPORT_INBOX" in os.environ:
        yield
        return
    import city

    city_date(home)
    with city.serve_open311(home) as url:
        os.environ["AIRFLOW_CONN_REPORT_INBOX"] = url
        try:
            yield
        finally:
            del os.environ["AIRFLOW_CONN_REPORT_INBOX"]

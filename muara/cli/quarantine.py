"""What was refused, letting a row pass, and judging again."""

import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from common import clock
from common.definition import load_source, load_sources
from common.errors import DefinitionError, MuaraError
from muara.cli.shared import Json, answer, chosen_sources, console, progress, read_settings


class ListsByDefault(TyperGroup):
    """`muara quarantine SOURCE` is `muara quarantine list SOURCE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


quarantine_app = typer.Typer(
    cls=ListsByDefault,
    help="What was refused and what became of it. Example: muara quarantine cctv monitor",
)


@quarantine_app.command("list")
def list_entries(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    stream: Annotated[str | None, typer.Argument(help="one stream; also lists entries")] = None,
    entry: Annotated[str | None, typer.Option(help="show one entry, by its id")] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="with --entry: its row too, on a terminal only")
    ] = False,
    limit: Annotated[int, typer.Option(help="open entries listed, the oldest first")] = 20,
    as_json: Json = False,
) -> None:
    """Count entries by stream, rule and state; with a stream, list its open ones; or show one.
    Never the values of a row, unless asked for. Example: muara quarantine cctv monitor"""
    from warehouse import quarantine
    from warehouse.catalog import reading

    settings = read_settings()
    if show_values and (as_json or not entry or not sys.stdout.isatty()):
        raise DefinitionError(
            "values are shown for one entry and on a terminal only",
            where="--show-values",
            next_step="give --entry, without --json, and do not redirect the output.",
        )
    if source:
        chosen = load_source(settings, source)
        if stream:
            chosen.stream(stream)
    with reading(settings) as connection:
        if entry:
            one = quarantine.entry_of(connection, entry)
            values = quarantine.values_of(connection, entry) if show_values else {}
            answer(as_json, _as_data(one), lambda: _show_entry(one, values))
            return
        found = quarantine.counts(connection, source, stream)
        listed = (
            quarantine.open_entries(connection, source, stream, limit) if source and stream else []
        )

    def show() -> None:
        table = Table("stream", "rule", "state", box=None, pad_edge=False)
        table.add_column("entries", justify="right")
        table.add_column("since")
        for one in found:
            table.add_row(f"{one.source}.{one.stream}", one.rule, one.state, f"{one.entries:,}",
                          str(one.oldest))  # fmt: skip
        console.print(table)
        _show_entries(listed)

    answer(as_json, {"counts": [vars(one) for one in found],
                     "entries": [_as_data(one) for one in listed]}, show)  # fmt: skip


@quarantine_app.command()
def waive(
    entry: str,
    by: Annotated[str, typer.Option(help="who decides: an office or function")],
    why: Annotated[str, typer.Option(help="the reason, without data of residents")],
    until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="last night it holds")
    ],
    as_json: Json = False,
) -> None:
    """Let an entry's row pass, from the next sync or replay on: it loads, flagged `waived`. A row
    that changes is judged anew. Example: muara quarantine waive ID --by "Kepala bidang" --why
    "checked on paper" --until 2027-01-31"""
    from warehouse import quarantine

    settings = read_settings()
    found = quarantine.waive(
        settings, entry, by=by, why=why, until=until.date(), night=clock.today(settings)
    )
    answer(as_json, _as_data(found), lambda: _show_entry(found, {}))


@quarantine_app.command()
def undo(entry: str, as_json: Json = False) -> None:
    """Take back what was waived: the row is judged by the next sync or replay. Example: muara
    quarantine undo ID"""
    from warehouse import quarantine

    settings = read_settings()
    found = quarantine.undo_waiver(settings, entry, night=clock.today(settings))
    answer(as_json, _as_data(found), lambda: _show_entry(found, {}))


def replay(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Judge again what the warehouse holds, after a rule, a code list or a definition changed; asks
    no source. A night does it by itself where it is due. Example: muara replay cctv monitor"""
    from pipeline.replay import replay as replay_stream
    from pipeline.sync import prepare

    settings = read_settings()
    chosen = chosen_sources(settings, source)
    if source and stream:
        chosen[source].stream(stream)
    accounts, failure = [], None
    with progress(as_json):
        prepare(settings, load_sources(settings))
        for one in chosen.values():
            for each in one.streams:
                if stream in (None, each.name):
                    try:
                        accounts.append(replay_stream(settings, one, each))
                    except MuaraError as error:
                        failure = failure or error

    def show() -> None:
        counted = ("extracted", "inserted", "updated", "unchanged", "quarantined", "excluded")
        table = Table("stream", box=None, pad_edge=False)
        for name in counted:
            table.add_column(name, justify="right")
        for account in accounts:
            table.add_row(f"{account.source}.{account.stream}",
                          *(f"{getattr(account, name):,}" for name in counted))  # fmt: skip
        console.print(table)

    answer(as_json, [vars(account) for account in accounts], show)
    if failure:
        raise failure


def _as_data(entry: Any) -> dict[str, Any]:
    return {**vars(entry), "waivers": [vars(one) for one in entry.waivers]}


def _show_entries(entries: list[Any]) -> None:
    if not entries:
        return
    table = Table("open entry", "first seen", "last seen", "rules", "row", "file", box=None,
                  pad_edge=False)  # fmt: skip
    for one in entries:
        table.add_row(one.quarantine_id, str(one.first_night), str(one.last_seen),
                      ", ".join(one.rules), str(one.row_number),
                      escape(one.origin or ""))  # fmt: skip
    console.print()
    console.print(table)


def _show_entry(entry: Any, values: dict[str, str | None]) -> None:
    facts = {
        "entry": entry.quarantine_id,
        "stream": f"{entry.source}.{entry.stream}",
        "record": entry.source_record_id,
        "rules": ", ".join(entry.rules),
        "state": entry.state,
        "came as": f"row {entry.row_number}" + (f" of {entry.origin}" if entry.origin else ""),
        "first seen": f"{entry.first_night}, batch {entry.first_batch_id}",
        "last seen": entry.last_seen,
    }
    if entry.closed_batch_id:
        facts["closed"] = f"{entry.closed_night}, batch {entry.closed_batch_id}"
    for one in entry.waivers:
        undone = f", taken back {one.undone_night}" if one.undone_night else ""
        facts["waived"] = f"by {one.waived_by} until {one.until_night}: {one.why}{undone}"
    for name, fact in (facts | values).items():
        console.print(f"{name:<12} {escape(str(fact))}", highlight=False)

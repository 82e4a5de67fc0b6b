"""Where things come from and where they went: one record, one column."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common.errors import DefinitionError
from muara.cli.shared import Json, answer, console, read_settings


def trace(
    record: Annotated[str, typer.Argument(help="source_record_id, or a quarantine_id")],
    person: Annotated[
        bool, typer.Option(help="also records that name this resident by NIK")
    ] = False,
    as_json: Json = False,
) -> None:
    """Follow one record: back to its batch, row and original bytes, forward to the files that
    carried it. Shows ids, counts and places, never a value.

    Example: muara trace 6f1c2c1e-0d40-b42c-464e-f4b1f9b0014a
    """
    from pipeline.trace import trace as trace_record

    found = trace_record(read_settings(), record, person=person)
    answer(as_json, asdict(found), lambda: _show_trace(found))


def _show_trace(found: Any) -> None:
    console.print(f"record {found.record_id} of {found.source}.{found.stream}", highlight=False)
    if found.erased_on:
        console.print(f"erased on {found.erased_on}: what is left has no name and no number")
    _show("landed", ("batch", "night", "read by", "change", "row", "flags", "from", "original",
                      "its rows"), [
        (one.batch_id, one.night, one.strategy, one.op, one.row, ", ".join(one.flags), one.origin,
         *_original(one.original))
        for one in found.landed])  # fmt: skip
    _show("in quarantine", ("entry", "state", "rules", "row", "from", "original", "its rows",
                            "batches", "nights"), [
        (one.quarantine_id, one.state, ", ".join(one.rules), one.row, one.origin,
         *_original(one.original), _span(one.first_batch_id, one.closed_batch_id),
         _span(one.first_night, one.closed_night))
        for one in found.held])  # fmt: skip
    _show("in core", ("table", "rows", "nights", "batches", "closed"), [
        (one.table, one.rows, _span(one.valid_from, one.valid_to),
         _span(one.batch_id, one.closed_batch_id), one.closed_reason)
        for one in found.versions])  # fmt: skip
    _list("marts computed from these tables", found.marts)
    _show("granted by contract now", ("agency", "dataset", "of table", "rows"), [
        (one.audience, one.dataset, one.table, "counted" if one.rows is None else one.rows)
        for one in found.granted])  # fmt: skip
    _show("carried by files", ("to", "night", "dataset", "rows", "file", "as delivered"), [
        (one.audience, one.night, one.dataset, one.rows, one.file,
         "yes" if one.is_as_delivered else "CHANGED SINCE")
        for one in found.carried])  # fmt: skip
    if found.looked_into:
        console.print(f"\n{found.looked_into} kept deliveries and publications were searched")
    _show("named in other records", ("table", "column", "record"), [
        (one.table, one.column, one.record_id) for one in found.mentions])  # fmt: skip


def _show(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table under its title; nothing where there are no rows."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    console.print(f"\n[bold]{title}[/]")
    console.print(table)


def _list(title: str, names: list[str]) -> None:
    if names:
        console.print(f"\n[bold]{title}[/]")
        console.print("\n".join(names), highlight=False)


def _original(original: Any) -> tuple[str, str]:
    if original is None:
        return "", ""
    rows = "gone" if original.rows is None else ", ".join(map(str, original.rows))
    return original.path, rows


def _span(first: Any, last: Any) -> str:
    return f"{first} to {last or 'now'}"


def lineage(
    column: Annotated[
        str | None, typer.Argument(metavar="[TABLE.COLUMN]", help="or a table; all when left out")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where a column comes from and what it is used for, from the agency's column to the contract.

    Example: muara lineage core.person.sex
    """
    from pipeline.lineage import graph

    made = graph(read_settings())
    named = [name for name in made if column in (None, name, name.rpartition(".")[0])]
    if not named:
        raise DefinitionError(
            f"no column or table is named {column}",
            next_step="names look like core.person.sex, source.brojol.birth_report.jk_anak, "
            "contract.bp4d.proposal.title; `muara lineage` lists all.",
        )
    if column in made:
        one = _described(made, column) | _used(made, column)
        answer(as_json, one, lambda: _show_column(one))
        return
    described = [_described(made, name) for name in named]
    answer(as_json, described, lambda: _show_columns(described))


def _described(made: Any, name: str) -> dict[str, Any]:
    from pipeline.lineage import starts

    return {
        "column": name,
        "computed_from": sorted(made[name].values),
        "chosen_by": sorted(made[name].choice),
        "own": made[name].own,
        "begins_in": sorted(starts(made, [name])),
    }


def _used(made: Any, name: str) -> dict[str, list[str]]:
    from pipeline.lineage import after

    used = after(made, name)
    return {"used_for": sorted(used), "chooses": sorted(after(made, name, choice=True) - used)}


def _show_column(one: dict[str, Any]) -> None:
    console.print(one["column"], highlight=False)
    if one["own"]:
        console.print(f"\nMuara's own: {one['own']}")
    _list("computed from", one["computed_from"])
    _list("chosen or looked up by", one["chosen_by"])
    _list("begins in", one["begins_in"])
    _list("used for", one["used_for"])
    _list("helps to choose the rows of", one["chooses"])


def _show_columns(columns: list[dict[str, Any]]) -> None:
    _show("columns", ("column", "computed from", "begins in"), [
        (one["column"], "\n".join(one["computed_from"]) or one["own"], "\n".join(one["begins_in"]))
        for one in columns])  # fmt: skip

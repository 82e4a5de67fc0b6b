"""One person's records."""

from dataclasses import asdict
from datetime import date
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from common import clock
from common.definition import load_sources
from common.errors import DefinitionError
from muara.cli.shared import Json, answer, console, read_settings

person_app = typer.Typer(no_args_is_help=True, help="One person's records.")


@person_app.command("show")
def person_show(
    person: Annotated[str, typer.Argument(help="person_id, also one that was merged or split")],
    as_of: Annotated[str | None, typer.Option(help="a night, YYYY-MM-DD")] = None,
    as_json: Json = False,
) -> None:
    """Which records speak of a person, which of them gives each value of the golden record, and
    what happened to the id. No names: those are in core.

    Example: muara person show 6f1c… --as-of 2026-11-20
    """
    from pipeline.past import find
    from warehouse.catalog import reading

    with reading(read_settings()) as connection:
        found = find(connection, _id(person), _night(as_of))
    if found is None:
        raise DefinitionError(
            f"no person had this id yet on {as_of}" if as_of else "no person has or had this id",
            where=person,
            next_step="ids are in lake.core.person_history, with the night each was given.",
        )

    def show() -> None:
        if found.person_id != found.asked:
            console.print(f"now {found.person_id}")
        if found.golden:
            leads = f"{found.golden['role']}:{found.golden['source_record_id']}"
            console.print(f"{found.golden['status']}; values from {leads}")
        for one in found.origins:
            console.print(f"{one['attribute']} from {one['role']}:{one['source_record_id']}")
        for one in found.mentions:
            console.print(
                f"{one['role']}:{one['source_record_id']}  {one['how']} since {one['valid_from']}"
            )
        for one in found.history:
            other = f" {one['other_person_id']}" if one["other_person_id"] else ""
            console.print(
                f"{one['night']} {one['person_id']} {one['event'].replace('_', ' ')}{other}"
            )

    answer(as_json, vars(found), show)


One = Annotated[str, typer.Argument(help="a mention as `muara person show` writes it")]
Other = Annotated[str, typer.Argument(help="another one")]
Who = Annotated[str, typer.Option("--by", help="who decides")]
Why = Annotated[str, typer.Option("--why", help="the reason, no person data")]


def _decide(one: str, other: str, by: str, why: str, *, is_same: bool, as_json: bool) -> None:
    from warehouse.decisions import Mention, decide

    settings = read_settings()
    made = decide(settings, Mention.read(one), Mention.read(other), is_same=is_same, by=by,
                  why=why, night=clock.today(settings))  # fmt: skip
    answer(as_json, {"decision_id": made}, lambda: console.print(
        f"decision {made}; `muara link` follows it, each night by itself"))  # fmt: skip


@person_app.command("same")
def person_same(one: One, other: Other, by: Who, why: Why, as_json: Json = False) -> None:
    """Decide that two mentions are one person, in every run until it is undone.

    Example: muara person same child:6f1c… resident:9a2b… --by "Petugas 7" --why 470/12/2026
    """
    _decide(one, other, by, why, is_same=True, as_json=as_json)


@person_app.command("different")
def person_different(one: One, other: Other, by: Who, why: Why, as_json: Json = False) -> None:
    """Decide that two mentions are two people, in every run until it is undone.

    Example: muara person different child:6f1c… resident:9a2b… --by "Petugas 7" --why 470/12/2026
    """
    _decide(one, other, by, why, is_same=False, as_json=as_json)


@person_app.command("decisions")
def person_decisions(as_json: Json = False) -> None:
    """What was decided about persons, by whom and why. Example: muara person decisions"""
    from warehouse.catalog import reading
    from warehouse.decisions import decisions

    with reading(read_settings()) as connection:
        found = decisions(connection)

    def show() -> None:
        table = Table("decision", "mention", "", "mention", "by", "reason", "since", "undone")
        for one in found:
            table.add_row(
                str(one["decision_id"]), one["mention"], "same" if one["is_same"] else "different",
                one["other_mention"], one["decided_by"], one["reason"], str(one["decided_night"]),
                str(one["undone_night"] or ""),
            )  # fmt: skip
        console.print(table)

    answer(as_json, found, show)


@person_app.command("undo")
def person_undo(
    decision: Annotated[str, typer.Argument(help="decision_id of `muara person decisions`")],
    by: Who,
    as_json: Json = False,
) -> None:
    """Take a decision back from the next run on.

    Example: muara person undo 6f1c… --by "Petugas 8"
    """
    from warehouse.decisions import undo

    settings = read_settings()
    undo(settings, _id(decision), by=by, night=clock.today(settings))
    answer(as_json, {"undone": decision}, lambda: console.print("undone"))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise DefinitionError(
            "an id is a UUID of 36 characters", where=text, next_step="copy it whole."
        ) from None


def _night(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise DefinitionError(
            "a night is a date like 2026-11-20", where="--as-of", next_step="write it so."
        ) from None


@person_app.command("erase")
def person_erase(
    persons: Annotated[
        list[str] | None,
        typer.Argument(help="a person_id, a record in core.person_identity, or role:record"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="number of the request, no person data")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="carry out again every request that is still open")
    ] = False,
    as_json: Json = False,
) -> None:
    """Erase persons everywhere we keep them, publish and deliver anew, and search for what may be
    left. A request that was interrupted stays open; the next night resumes it.

    Example: muara person erase 6f1c… --reference 470/12/2026
    """
    from pipeline import erasure

    settings = read_settings()
    sources = load_sources(settings)
    if resume and not persons:
        done = erasure.resume(settings, sources)
    elif persons and reference and not resume:
        done = erasure.erase(settings, sources, persons, reference=reference)
    else:
        raise DefinitionError(
            "an erasure needs an id and a --reference, or --resume alone",
            next_step="see `muara person erase --help`.",
        )

    def show() -> None:
        for one in done:
            counts = ", ".join(f"{name} {count}" for name, count in one.touched.items() if count)
            console.print(f"{one.reference} erased: {counts}")
            if one.delivered:
                console.print(f"ask who received extracts: {', '.join(one.delivered)}")
            for mention, probability in one.unsure:
                console.print(f"may be the same person ({probability}): {mention}")
        if not done:
            console.print("no request is open")

    answer(as_json, [asdict(one) for one in done], show)


@person_app.command("erasures")
def person_erasures(as_json: Json = False) -> None:
    """Requests that are still open, and erasures that were made. Example: muara person erasures"""
    from pipeline.erasure import requests

    found = requests(read_settings())

    def show() -> None:
        table = Table("request", "night", "", "surrogates kept")
        for one in found:
            table.add_row(one["reference"], str(one["night"]), one["state"],
                          str(one["surrogates"] or ""))  # fmt: skip
        console.print(table)

    answer(as_json, found, show)

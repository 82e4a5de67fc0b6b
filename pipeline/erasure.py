"""An erasure from its request to the search that proves it, whatever interrupts it.

A request is a file below `<home>/erasure/`, readable by its owner only, written before anything is
erased: it holds what is sought, for afterwards nothing else could tell. Every step may be repeated,
so one that was interrupted is begun again from the first. The file goes when the search found
nothing; until then the request is open, and the next night resumes it.
"""

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from uuid import uuid4

from pydantic import TypeAdapter

from common import clock, scratch
from common.definition import Source
from common.errors import ErasureIncomplete, MuaraError
from common.home_files import read_json, write_json
from common.log import log
from common.log import stage as mark
from common.settings import Settings
from connectors.readers.files.originals import kept_at
from pipeline import leave
from warehouse import erase as lake
from warehouse import linking, remains
from warehouse.catalog import (
    attach,
    data_folder,
    naming_damage,
    open_duckdb,
    reading,
    require_sound,
    writer_lock,
)
from warehouse.copies import forget_copies
from warehouse.erase import Sought
from warehouse.manifest import leaving, remove
from warehouse.staging import clear_abandoned

RESUME = "`muara person erase --resume`"


@dataclass
class Request:
    """Somebody's request to be erased, open until nothing is found. `delivered`: agency/night of
    extracts that left before."""

    request_id: str
    asked: str
    reference: str
    night: date
    sought: Sought = field(default_factory=Sought)
    delivered: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Erased:
    """`touched`: rows removed or emptied per table, and files deleted. `delivered`: agency/night of
    extracts that left before: their agencies must be asked. `unsure`: mentions that may be this
    person too, with how probably: for people to decide."""

    request_id: str
    reference: str
    touched: dict[str, int]
    delivered: list[str]
    unsure: list[list]


def erase(
    settings: Settings, sources: dict[str, Source], asked: list[str], *, reference: str
) -> list[Erased]:
    """Erase the persons of these ids, each of a record, a person or a mention (role:record). A
    request of the same id that is still open is resumed.

    Raises DefinitionError when nobody has one of them, ErasureIncomplete when the search finds
    something in the end, and, when all is erased, what publishing or delivering anew raised.
    """
    with linking.alone(settings):
        _clear_half_written(settings)
        still_open = {request.asked: request for request in _open_requests(settings)}
        night = clock.today(settings)
        return _carry_out(
            settings,
            sources,
            [still_open.get(one) or Request(str(uuid4()), one, reference, night) for one in asked],
        )


def resume(settings: Settings, sources: dict[str, Source]) -> list[Erased]:
    """Carry out again every request that is still open."""
    if not _folder(settings).exists():
        return []
    with linking.alone(settings):
        _clear_half_written(settings)
        still_open = _open_requests(settings)
        return _carry_out(settings, sources, still_open) if still_open else []


def requests(settings: Settings) -> list[dict]:
    """Open requests, and the erasures that were made, newest first; no person data."""
    found = [
        {"reference": one.reference, "night": one.night, "state": "open", "surrogates": None}
        for one in _open_requests(settings)
    ]
    still = {(one["reference"], one["night"]) for one in found}
    with reading(settings) as connection:
        made = connection.execute(
            "SELECT reference, erased_on, count(*) FROM lake.ops.erasure GROUP BY ALL "
            "ORDER BY erased_on DESC, reference"
        ).fetchall()
    return found + [
        {"reference": reference, "night": night, "state": "done", "surrogates": count}
        for reference, night, count in made
        if (reference, night) not in still
    ]


def _carry_out(settings: Settings, sources: dict[str, Source], some: list[Request]) -> list[Erased]:
    touched = _take_out(settings, sources, some)
    mark("taken_out")
    with leaving(settings):
        for request in some:
            touched[request.request_id]["files"] = _forget_copies(settings, request)
    mark("copies_forgotten")
    refused = _leave_anew(settings)
    mark("left_anew")
    left = {request.request_id: _search(settings, request) for request in some}
    mark("searched")
    for request in some:
        if not left[request.request_id]:
            _close(settings, request)
    for request_id, places in left.items():
        if places:
            raise ErasureIncomplete(
                f"something of the person is still in {', '.join(places)}",
                where=f"request {request_id}",
                next_step="let what runs end or remove it there, then "
                f"{RESUME}; the request stays open.",
            )
    done = [
        Erased(one.request_id, one.reference, touched[one.request_id], one.delivered,
               one.sought.unsure)
        for one in some
    ]  # fmt: skip
    log.info("erased", requests=[one.request_id for one in done])
    if refused:
        raise refused
    return done


def _leave_anew(settings: Settings) -> MuaraError | None:
    """Publish and deliver of what is left. What is refused does not leave, and what left before is
    gone all the same. Returns the first refusal."""
    refused: list[MuaraError] = []
    published = False
    try:
        leave.publish(settings)
        published = True
    except MuaraError as error:
        refused.append(error)
    with leaving(settings):
        _forget_publications(settings, but_current=published)
    for give in (leave.deliver, leave.return_rejections):
        try:
            give(settings)
        except MuaraError as error:
            refused.append(error)
    return refused[0] if refused else None


def _take_out(
    settings: Settings, sources: dict[str, Source], some: list[Request]
) -> dict[str, dict[str, int]]:
    """The requests on disk, then the lake's rows, then its files. Returns rows removed or emptied,
    per request and table."""
    touched = {}
    with writer_lock(settings):
        with naming_damage(settings), closing(open_duckdb(settings)) as connection:
            attach(connection, settings)
            require_sound(connection, data_folder(settings))
            for request in some:
                if not request.sought.values:
                    request.sought = lake.find(connection, sources, request.asked)
                    request.delivered = _delivered(settings)
                lake.gather(connection, sources, request.sought)
            for request in some:
                _write(settings, request)
            mark("requested")
            for request in some:
                touched[request.request_id] = lake.take_out(
                    connection, sources, request.sought,
                    reference=request.reference, night=request.night,
                )  # fmt: skip
                _write(settings, request)
                mark("rows_gone")
            lake.forget_files(connection, data_folder(settings))
            mark("files_rewritten")
        forget_copies(settings)
        lake.vacuum(settings)
    return touched


def _delivered(settings: Settings) -> list[str]:
    folders = sorted((settings.home / "extracts").glob("*/[!.]*"))
    return [f"{one.parent.name}/{one.name}" for one in folders if any(one.rglob("*"))]


def _forget_copies(settings: Settings, request: Request) -> int:
    """Delete original files that named the person, what killed runs left, and every extract and
    share that was made before. Returns files deleted."""
    clear_abandoned(settings)
    scratch.clear_abandoned(settings.home / "spill")
    home, pattern = settings.home, lake.pattern_of(request.sought.told_apart)
    originals = set(_linked_originals(settings, request.sought))
    originals |= {
        path
        for path in (home / "originals").rglob("*")
        if path.is_file() and pattern and remains.names(settings, path, pattern)
    }
    made = [
        path
        for folder in ("extracts", "shares")
        for path in (home / folder).rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]
    for path in (*originals, *made):
        path.unlink(missing_ok=True)
    for folder in (home / "extracts").glob("*/*"):
        with suppress(OSError):
            folder.rmdir()
    return len(originals) + len(made)


def _linked_originals(settings: Settings, sought: Sought) -> Iterator[Path]:
    """The bytes of files whose rows named the person, and what was attached to them."""
    with reading(settings) as connection:
        kept = connection.execute(
            """
            SELECT DISTINCT file.source, sha256
            FROM lake.ops.file AS file JOIN (SELECT unnest(?) AS one) ON source = one[1]
                AND (origin = one[2] OR starts_with(one[2], origin || '/'))
            """,
            [[list(one) for one in sought.origins]],
        ).fetchall()
    for source, digest in kept:
        path = kept_at(settings, source, digest)
        yield from path.parent.glob(f"{path.name}*")
    for digest in sought.attachments:
        yield from (settings.home / "originals").glob(f"*/??/{digest}*")


def _forget_publications(settings: Settings, *, but_current: bool) -> None:
    """Of the analysts' copies only one that was made after the erasure stays."""
    home = settings.home / "published"
    current = (home / "current").resolve() if but_current else None
    for path in home.glob("[!.]*"):
        if path.resolve() != current:
            remove(path)


def _search(settings: Settings, request: Request) -> list[str]:
    """Tables and files in which something of the person is found."""
    pattern = lake.pattern_of(request.sought.told_apart)
    if not pattern:
        return []
    return remains.in_tables(settings, pattern) + remains.in_files(settings, pattern)


# The request on disk


def _folder(settings: Settings) -> Path:
    return settings.home / "erasure"


def _path(settings: Settings, request: Request) -> Path:
    return _folder(settings) / f"{request.request_id}.json"


def _write(settings: Settings, request: Request) -> None:
    """Durable when this returns."""
    path = _path(settings, request)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_json(path, TypeAdapter(Request).dump_python(request, mode="json"))
    _sync(path)
    _sync(path.parent)


def _close(settings: Settings, request: Request) -> None:
    _path(settings, request).unlink()
    _sync(_folder(settings))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_half_written(settings: Settings) -> None:
    for path in _folder(settings).glob(".*"):
        path.unlink()


def _open_requests(settings: Settings) -> list[Request]:
    """Raises HomeFault for one that is damaged: what it seeks is known nowhere else."""
    return [
        read_json(path, Request, "restore it from a backup, or delete it and erase anew.")
        for path in sorted(_folder(settings).glob("[!.]*.json"))
    ]

"""Backups of the home, and bringing one back into another."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from common import clock
from common.connection import Resolver
from common.errors import BackupFault, DefinitionError, HomeFault
from common.home_files import flush_new, read_json, write_json
from common.lock import exclusive
from common.log import log
from common.log import stage as mark
from common.settings import Settings
from warehouse.backup import keys as secret
from warehouse.backup.copy import (
    CATALOG,
    COPIES,
    alone,
    backup_folder,
    check_databases,
    copy_home,
)
from warehouse.backup.manifest import (
    FORMAT,
    NAME,
    Manifest,
    describe_files,
    describe_tables,
    file_faults,
    lake_of,
    parse,
    table_faults,
)
from warehouse.backup.repository import Kept, Repository, repository

PARTS = 7
UNFINISHED = ".restoring"


@dataclass(frozen=True)
class Taken:
    """A backup that was made and verified."""

    id: str
    night: str
    files: int
    bytes: int
    added: int


@dataclass(frozen=True)
class Restored:
    """A backup that was brought back and verified; `erased_since`: who must be erased again."""

    home: str
    night: str
    files: int
    bytes: int
    tables: int
    erased_since: list[dict[str, str]]


@dataclass(frozen=True)
class Last:
    """What this home knows of its newest backup without asking the place."""

    repository: str
    backup: str
    manifest: Manifest


def backup(settings: Settings, resolve: Resolver, *, anew: bool = False) -> Taken:
    """Back the home up as it is now, while loads run; verify; let go of what is kept no longer.

    `anew`: begin at a place that holds none, though an earlier one did. Raises BackupFault when the
    home is damaged, the place holds another lake's backups or what it holds is damaged.
    """
    with alone(settings, "backup") as lock:
        last = _last(settings)
        with _opened(settings, resolve, lock) as place:
            known = _agreed(place, last, anew)
            staged = backup_folder(settings) / COPIES["backup"]
            shutil.rmtree(staged, ignore_errors=True)
            try:
                mark("backup_copying")
                copy_home(settings, staged)
                mark("backup_copied")
                found = place.backups()
                if not last or last.backup not in [one.id for one in found]:
                    last = None
                manifest = _describe(settings, staged, last.manifest if last else None)
                _require_same_lake(manifest.lake, found)
                (staged / NAME).write_text(manifest.text())
                mark("backup_described")
                backup_id, added = place.store(
                    staged,
                    lake=manifest.lake,
                    night=date.fromisoformat(manifest.night),
                    made_at=manifest.made_at,
                    before=last.backup if last else None,
                )
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            mark("backup_stored")
            _require_whole(place, backup_id)
            night = date.fromisoformat(manifest.night)
            place.check(part_of(night))
            write_json(_last_file(settings), asdict(Last(known, backup_id, manifest)))
            place.forget_old(
                nights=settings.backup_kept_nights,
                weeks=settings.backup_kept_weeks,
                months=settings.backup_kept_months,
            )
    taken = Taken(backup_id, manifest.night, len(manifest.files), manifest.bytes, added)
    log.info("backed_up", **asdict(taken))
    return taken


def part_of(night: date) -> str:
    """The part of the backups that is read again in this night; a week's nights read all."""
    return f"{night.toordinal() % PARTS + 1}/{PARTS}"


def backups(settings: Settings, resolve: Resolver, keys: secret.Keys | None = None) -> list[Kept]:
    """Every backup at the place, the oldest first."""
    with _opened(settings, resolve, keys=keys) as place:
        return place.backups()


def verify(settings: Settings, resolve: Resolver) -> int:
    """Read everything the place holds, and compare each backup with its manifest. Returns their
    number; raises BackupFault when anything is missing, cut, altered or another lake's."""
    with alone(settings, "backup") as lock, _opened(settings, resolve, lock) as place:
        found = place.backups()
        if last := _last(settings):
            _require_same_lake(last.manifest.lake, found)
        place.check("1/1")
        for one in found:
            _require_whole(place, one.id)
        return len(found)


def restore(
    settings: Settings,
    resolve: Resolver,
    *,
    to: Path,
    night: date | None = None,
    place: str = "",
    keys: secret.Keys | None = None,
) -> Restored:
    """Bring the backup of a night (the newest, when none is named) back into the home `to`.

    It appears there when every file, the catalog and every table were found to be as they were. A
    try that was cut off is done again. Raises BackupFault for a wrong key, and for a backup that is
    cut, altered or not there; DefinitionError when `to` holds anything.
    """
    to = to.resolve()
    keys = keys or secret.keys_of(settings.home)
    with _room(settings, to) as lock:
        with _opened(settings, resolve, lock, keys=keys, place=place) as source:
            found = source.backups()
            chosen = _chosen(found, night)
            manifest = _require_whole(source, chosen.id)
            secret.require_right(keys, manifest.keys)
            _require_same_lake(manifest.lake, found)
            newest = _newest_readable(source, found)
            home = to / UNFINISHED / "home"
            shutil.rmtree(home, ignore_errors=True)
            _require_space(to, manifest.bytes)
            mark("restore_fetching")
            source.restore(chosen.id, home)
        mark("restore_fetched")
        _require_as_it_was(manifest, home, settings, keys)
        flush_new(home)
        mark("restore_verified")
        _move_in(home, to)
    since = _erased_since(manifest, newest)
    log.info("restored", night=manifest.night, files=len(manifest.files), erased_since=len(since))
    return Restored(
        str(to), manifest.night, len(manifest.files), manifest.bytes, len(manifest.tables), since
    )


def at(settings: Settings, home: Path) -> Settings:
    """The same settings for another home, with that home's own keys."""
    return Settings(**(settings.model_dump() | {"home": home}))


def newest_night(settings: Settings) -> date | None:
    """The night of the newest backup that this home made, without asking the place."""
    last = _last(settings)
    return date.fromisoformat(last.manifest.night) if last else None


@contextmanager
def _opened(
    settings: Settings,
    resolve: Resolver,
    lock: int | None = None,
    *,
    keys: secret.Keys | None = None,
    place: str = "",
) -> Iterator[Repository]:
    if keys is None:
        password, cache = settings.backup_key, backup_folder(settings) / "cache"
    elif secret.OF_BACKUPS in keys:
        password, cache = keys[secret.OF_BACKUPS], None
    else:
        raise BackupFault(
            "the key of the backups is not here",
            next_step="give the file that `muara backup keys` wrote: --keys FILE.",
        )
    with repository(settings, resolve, password, place=place, cache=cache, lock=lock) as found:
        yield found


def _agreed(place: Repository, last: Last | None, anew: bool) -> str:
    """The id of the repository, created when there is none yet."""
    there = place.id
    if last and there != last.repository and not anew:
        what = "holds no backups any more" if there is None else "is another one than before"
        raise BackupFault(
            f"the place of backups {what}; the newest backup was of {last.manifest.night}",
            where="backup_place",
            next_step="mount the right disk or correct the setting; to begin anew there: "
            "`muara backup --anew`.",
        )
    if there is None:
        place.create()
        there = place.id
    assert there is not None
    place.release()
    return there


def _describe(settings: Settings, staged: Path, before: Manifest | None) -> Manifest:
    lake, snapshot = lake_of(staged / CATALOG)
    if before and before.lake != lake:
        before = None
    _ = settings.pseudonym_key  # of the home, not of the copy, which has none
    with _without_leftovers(staged):
        tables, erasures = describe_tables(settings.model_copy(update={"home": staged}), before)
    check_databases(staged)
    return Manifest(
        FORMAT,
        lake,
        str(clock.today(settings)),
        f"{clock.now():%Y-%m-%dT%H:%M:%S}",
        snapshot,
        secret.checks(secret.keys_of(settings.home)),
        describe_files(staged, before),
        tables,
        erasures,
    )


@contextmanager
def _without_leftovers(home: Path) -> Iterator[None]:
    """Let no room for sorting stay in a copy that was read."""
    try:
        yield
    finally:
        shutil.rmtree(home / "spill", ignore_errors=True)


def _require_same_lake(lake: str, found: list[Kept]) -> None:
    if others := [one for one in found if one.lake != lake]:
        raise BackupFault(
            f"{len(others)} of {len(found)} backups at this place are of another lake",
            where="backup_place",
            next_step="give each warehouse a place of its own.",
        )


def _require_whole(place: Repository, backup_id: str) -> Manifest:
    """The manifest of a backup that holds every file it names, each of its size."""
    there = place.listed(backup_id)
    if NAME not in there:
        raise BackupFault(f"it has no {NAME}", where=f"backup {backup_id}",
                          next_step="take another: `muara backup list`.")  # fmt: skip
    manifest = parse(place.read(backup_id, NAME))
    del there[NAME]
    wanted = {path: file.bytes for path, file in manifest.files.items()}
    if there != wanted:
        wrong = {path for path in there.keys() | wanted.keys()
                 if there.get(path) != wanted.get(path)}  # fmt: skip
        raise BackupFault(
            f"{len(wrong)} files are not as its manifest says",
            where=f"backup of {manifest.night}",
            next_step="take another night: `muara backup list`.",
        )
    return manifest


def _chosen(found: list[Kept], night: date | None) -> Kept:
    of_night = [one for one in found if night in (None, one.night)]
    if not of_night:
        listed = ", ".join(sorted({str(one.night) for one in found})[-5:]) or "none"
        raise BackupFault(
            f"there is no backup of {night or 'any night'}",
            where="backup_place",
            next_step=f"choose another; the newest are of: {listed}.",
        )
    return of_night[-1]


def _newest_readable(source: Repository, found: list[Kept]) -> Manifest:
    """A damaged newest backup is no reason to be without an older one that is whole."""
    for one in reversed(found):
        try:
            return parse(source.read(one.id, NAME))
        except BackupFault:
            log.warning("backup_unreadable", night=str(one.night))
    raise BackupFault("no backup here can be read", next_step="see docs/backup.md.")


def _erased_since(manifest: Manifest, newest: Manifest) -> list[dict[str, str]]:
    """The erasures of whole records that the newest backup knows and this one does not."""
    known = {one["source_record_id"] for one in manifest.erasures}
    return [
        one
        for one in newest.erasures
        if one["source_record_id"] not in known and one.get("what", "record") == "record"
    ]


@contextmanager
def _room(settings: Settings, to: Path) -> Iterator[int]:
    """The folder `to` for one restore alone, which leaves nothing there when it fails.

    Nothing but a restore of ours that was killed may lie there; the lake comes last, so where it is
    the restore was done.
    """
    unfinished = to / UNFINISHED
    is_left = unfinished.is_dir() and not (to / "lake").exists()
    if to.exists() and not is_left and (not to.is_dir() or any(to.iterdir())):
        raise DefinitionError(
            "a home is restored into a new or empty folder only",
            where=str(to),
            next_step="name another; nothing was changed.",
        )
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    to.chmod(0o700)
    with exclusive(
        unfinished / "restore.lock",
        settings.lock_timeout_seconds,
        what="another restore",
        next_step="wait for it.",
    ) as lock:
        try:
            yield lock
        finally:
            is_half_moved = len(list(to.iterdir())) > 1 and not (to / "lake").exists()
            if not is_half_moved:
                shutil.rmtree(unfinished, ignore_errors=True)
            with suppress(OSError):
                to.rmdir()  # when nothing came


def _require_space(to: Path, wanted: int) -> None:
    free = shutil.disk_usage(to).free
    if free < wanted:
        raise HomeFault(
            f"{wanted / 1024**3:.1f} GiB are to be restored and {free / 1024**3:.1f} are free",
            where=str(to),
            next_step="make room or name another folder.",
        )


def _require_as_it_was(
    manifest: Manifest, home: Path, settings: Settings, keys: secret.Keys
) -> None:
    (home / NAME).unlink()
    faults = file_faults(manifest, home)
    if not faults:
        for path in home.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        check_databases(home)
        if lake_of(home / CATALOG) != (manifest.lake, manifest.snapshot):
            faults.append("its catalog is of another lake or snapshot")
        secret.put_keys(keys, home)
        with _without_leftovers(home):
            faults += table_faults(manifest, at(settings, home))
        check_databases(home)
    if faults:
        raise BackupFault(
            f"{len(faults)} faults, the first: {faults[0]}",
            where=f"backup of {manifest.night}",
            next_step="take another night: `muara backup list`.",
        )


def _move_in(home: Path, to: Path) -> None:
    """Move everything to its place, the lake last: without it a folder is no home."""
    for child in sorted(home.iterdir(), key=lambda one: one.name == "lake"):
        place = to / child.name
        if place.is_dir():
            shutil.rmtree(place)
        child.replace(place)


def _last(settings: Settings) -> Last | None:
    path = _last_file(settings)
    if not path.exists():
        return None
    return read_json(path, Last, "move it away and run `muara backup --anew`: all is read again.")


def _last_file(settings: Settings) -> Path:
    return backup_folder(settings) / "last.json"

"""The drill: the newest backup is brought back beside the home and compared with what it says of
itself, and a night is played on it of which nothing leaves. Then the copy is removed."""

import shutil
from dataclasses import dataclass

from common.connection import Resolver
from common.definition import Source
from common.errors import BackupFault, SourceError
from common.log import log
from common.settings import Settings
from pipeline import night
from pipeline.backup import at, restore
from warehouse.backup.copy import COPIES, alone, backup_folder


@dataclass(frozen=True)
class Drill:
    """A backup that was restored as it was and bore a night; `unread`: tasks whose source did not
    answer."""

    night: str
    files: int
    tables: int
    streams: int
    unread: list[str]


def drill(settings: Settings, sources: dict[str, Source], resolve: Resolver) -> Drill:
    """Raises BackupFault when the backup is not as it was, or the night on it fails otherwise than
    by sources that do not answer."""
    copy = backup_folder(settings) / COPIES["drill"]
    with alone(settings, "drill"):
        shutil.rmtree(copy, ignore_errors=True)
        try:
            restored = restore(settings, resolve, to=copy)
            failures = night.run(at(settings, copy), sources, resolve, on_copy=True)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    streams = sum(len(source.streams) for source in sources.values())
    broken = [one for one in failures if not isinstance(one.error, SourceError)]
    if broken or len(failures) >= streams:
        named = sorted(f"{one.task} ({one.error.code})" for one in broken or failures)
        raise BackupFault(
            f"a night on the restored copy failed: {', '.join(named)}",
            where=f"backup of {restored.night}",
            next_step="restore it by hand and run `muara night` on it: docs/backup.md.",
        )
    done = Drill(
        restored.night,
        restored.files,
        restored.tables,
        streams - len(failures),
        sorted(one.task for one in failures),
    )
    log.info("drilled", **vars(done))
    return done

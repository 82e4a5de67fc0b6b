"""The keys of a home, which are in no backup: they are kept apart, in a file of their own.

`backup.key` opens the backups; every other secret is what the restored home works with. A backup
holds a keyed check of each, so that a wrong one is found before anything is restored.
"""

import hashlib
import hmac
import json
import os
from pathlib import Path

from common.errors import BackupFault, DefinitionError
from common.home_files import write_json
from common.settings import Settings
from warehouse.backup.copy import backup_folder

FOLDER = "secrets"
OF_BACKUPS = "backup.key"
Keys = dict[str, str]
"""Name of a file in `secrets/` → what it holds."""


def keys_of(home: Path) -> Keys:
    """Every secret of a home."""
    return {path.name: path.read_text() for path in sorted((home / FOLDER).glob("[!.]*"))}


def write_keys(settings: Settings, path: Path) -> None:
    """Write the keys of the home to a new file that is kept apart from home and backups.

    Raises DefinitionError when the file exists or would lie in the home.
    """
    path = path.resolve()
    if path.is_relative_to(settings.home):
        raise DefinitionError(
            "the keys would lie in the home that they are kept apart from",
            next_step="name a file elsewhere, at best on a medium that goes into a safe.",
        )
    keys = keys_of(settings.home)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise DefinitionError(
            "there is such a file already", where=path.name, next_step="name a new one."
        ) from None
    with open(descriptor, "w") as file:
        json.dump({"keys of a Muara home": keys}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    write_json(_noted(settings), checks(keys))


def are_kept_apart(settings: Settings) -> bool:
    """Whether the keys as they are now were written to a file by `write_keys`."""
    try:
        return json.loads(_noted(settings).read_text()) == checks(keys_of(settings.home))
    except (FileNotFoundError, ValueError):
        return False


def read_keys(path: Path) -> Keys:
    """The keys in a file that `write_keys` wrote. Raises BackupFault when it is none."""
    try:
        ((_, keys),) = json.loads(path.read_text()).items()
        if OF_BACKUPS in keys and all(isinstance(value, str) for value in keys.values()):
            return dict(keys)
    except FileNotFoundError:
        raise BackupFault(
            "there is no such file of keys", where=path.name, next_step="name the right one."
        ) from None
    except (ValueError, AttributeError, TypeError):
        pass
    raise BackupFault(
        "this is no file of keys, or a part of one",
        where=path.name,
        next_step="give the file that `muara backup keys` wrote.",
    )


def put_keys(keys: Keys, home: Path) -> None:
    folder = home / FOLDER
    folder.mkdir(mode=0o700)
    for name, value in keys.items():
        path = folder / Path(name).name
        path.touch(mode=0o600)
        path.write_text(value)


def checks(keys: Keys) -> dict[str, str]:
    """Name → what tells a key from another without telling the key."""
    return {
        name: hmac.new(value.encode(), f"muara backup {name}".encode(), hashlib.sha256).hexdigest()
        for name, value in keys.items()
        if name != OF_BACKUPS
    }


def require_right(keys: Keys, wanted: dict[str, str]) -> None:
    """Raises BackupFault unless these are the keys that a backup's checks were made of."""
    given = checks(keys)
    if missing := sorted(wanted.keys() - given.keys()):
        what = f"the file of keys lacks {', '.join(missing)}"
    elif wrong := sorted(name for name in wanted if wanted[name] != given[name]):
        what = f"wrong key: {', '.join(wrong)} is not the one this backup was made with"
    else:
        return
    raise BackupFault(
        what, next_step="give the file that `muara backup keys` wrote for this warehouse."
    )


def _noted(settings: Settings) -> Path:
    return backup_folder(settings) / "keys.json"

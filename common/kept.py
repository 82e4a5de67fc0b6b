"""What was worked out once and holds as long as what it follows from: in this process, and in a
file for the next."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from common.home_files import write_whole

Made = TypeVar("Made")
_made: dict[str, Any] = {}


def key_of(*told: object, files: Iterable[Path] = ()) -> str:
    """A hash of what something follows from: values, and the contents of files in this order."""
    key = hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode())
    for path in files:
        key.update(hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()


def kept(path: Path | None, key: str, make: Callable[[], Made]) -> Made:
    """What was made for `key`, that of all it follows from; else what is made now.

    It is JSON. The file holds the newest with a hash of both, and one that is damaged is replaced.
    """
    if key not in _made:
        _made[key] = _of_file(path, key, make) if path else make()
    return _made[key]


def _of_file(path: Path, key: str, make: Callable[[], Made]) -> Made:
    with suppress(FileNotFoundError, ValueError, LookupError, TypeError):
        held = json.loads(path.read_bytes())
        if held["sha256"] == key_of(key, held[key]):
            return held[key]
    made = make()
    write_whole(path, json.dumps({key: made, "sha256": key_of(key, made)}, indent=1))
    return made

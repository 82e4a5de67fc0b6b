"""Small files of ours below MUARA_HOME: written whole or not at all, and believed only when they
are what we write."""

import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from common.errors import HomeFault

Content = TypeVar("Content")


def write_whole(path: Path, text: str) -> None:
    """Readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content) + "\n")


def read_json(path: Path, kind: type[Content], next_step: str) -> Content:
    """What a JSON file holds. Raises HomeFault when it is damaged or no `kind`."""
    try:
        found: Content = TypeAdapter(kind).validate_python(json.loads(path.read_bytes()))
    except (ValidationError, ValueError, RecursionError):
        raise HomeFault(
            "damaged: not what we wrote", where=str(path), next_step=next_step
        ) from None
    return found

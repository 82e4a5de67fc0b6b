"""What the desk says, in Indonesian: all of it is in words.yml."""

from functools import cache
from pathlib import Path
from typing import Any

from common.definition_files import read_yaml


@cache
def words() -> dict[str, Any]:
    return read_yaml(Path(__file__).with_name("words.yml"))


def title(role: str, source: str | None) -> str:
    """A mention by its role and, while a record has it, its source."""
    said = words()
    return " · ".join(
        [said["mentions"][role], *([said["sources"][source]] if source else [])]
    ).capitalize()


STRENGTHS = (
    (10, "sangat mendukung"),
    (3, "mendukung"),
    (-3, "hampir tidak berbobot"),
    (-10, "melawan"),
)


def strength(bits: float) -> str:
    """What so many bits say of the pair being one person."""
    return next((said for least, said in STRENGTHS if bits >= least), "sangat melawan")

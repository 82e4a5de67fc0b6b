"""The one reader of YAML that people write: a key that stands twice in one place is a fault, for
YAML itself lets the last one win, and so is a file that cannot be read."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class Unreadable(ValueError):
    """A definition file is not as it must be; `faults` has every one, each with its place."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class _Loader(yaml.CSafeLoader):
    """Refuses keys that stand twice, at every depth."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            said = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if said and said in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(said)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What the file says. Raises Unreadable with the line, and never another error."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise Unreadable([f"cannot be read ({type(error).__name__})"]) from None
    except UnicodeDecodeError:
        raise Unreadable(["is not UTF-8 text"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None)
        twice = f": {problem}" if problem and problem.endswith("stands twice") else ""
        line = f"line {mark.line + 1}: " if mark else ""
        raise Unreadable([f"{line}not readable as YAML{twice}"]) from None


def read_model(path: Path, kind: type[Model]) -> Model:
    """What the file says, as `kind`. Raises Unreadable with every fault at once."""
    content = read_yaml(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise Unreadable(faults_of(error)) from None


def faults_of(error: ValidationError) -> list[str]:
    """`place: what is wrong`, without what was written there."""
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]

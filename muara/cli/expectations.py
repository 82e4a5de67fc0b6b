"""The offices' rules: what a stream's past suggests."""

from typing import Annotated

import typer

from common.definition import load_source
from common.errors import DefinitionError
from muara.cli.shared import Json, answer, read_settings

expectations_app = typer.Typer(no_args_is_help=True, help="The offices' rules.")


@expectations_app.callback()
def _group() -> None:
    """Without a callback Typer would make the only command the whole group."""


@expectations_app.command()
def suggest(
    stream: Annotated[str, typer.Argument(help="as `source.stream`")], as_json: Json = False
) -> None:
    """Rules that a stream's good nights suggest, as YAML to paste; holds no person's value.

    Example: muara expectations suggest civil_registry.family
    """
    from pipeline.suggestion import suggest as suggested

    source_name, _, stream_name = stream.partition(".")
    if not stream_name:
        raise DefinitionError(f"{stream} is no stream", next_step="name it as `source.stream`.")
    settings = read_settings()
    source = load_source(settings, source_name)
    found = suggested(settings, source, source.stream(stream_name))
    data = {
        "stream": stream,
        "nights": found.past.nights,
        "row_versions": found.past.versions,
        "rules": [{"rule": one.rule, one.kind: one.arguments, "severity": one.severity,
                   "reason": one.reason, "origin": one.origin} for one in found.rules],
    }  # fmt: skip

    def show() -> None:
        print(f"# for {settings.expectations.name}/{source_name}.yml; info only counts")
        print(found.as_yaml(stream_name), end="")

    answer(as_json, data, show)

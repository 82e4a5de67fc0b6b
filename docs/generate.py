"""Writes docs/reference/ from the code, and the picture of a night from a real one.

python docs/generate.py              write the reference
python docs/generate.py --check      name the files that drifted; exit 1 when there are any
python docs/generate.py --picture    run a night in MUARA_HOME and draw docs/night.svg
"""

import argparse
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import ByteSize
from rich.console import Console

from common.definition import load_sources
from common.settings import ROOT, Settings
from expectations.suite import SCHEMA, Rule, load_core_rules, load_rules
from muara import cli
from muara.cli import asking, loading, shared
from pipeline.lineage import Graph, graph, starts
from warehouse.tables import LANDING_COLUMNS, Column, Table, landing_name, tables

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py from the code; `make check` fails when it drifts. -->"
CONDITION = "expect_rows_to_satisfy"
SCHEMAS = {
    "core": "The integrated tables. Every version of a row is kept.",
    "mart": "Tables made for a question, rebuilt every night.",
    "ref": "Code lists and regions.",
    "quarantine": "Rows that broke a critical rule.",
    "ops": "The account of every batch, file and erasure.",
}
CLASSES = {
    "direct": "identifies alone: names, numbers, free text; never leaves unasked",
    "specific": "health, children, finance (UU 27/2022 Ps 4(2)); never leaves unasked",
    "quasi": "identifies together with others",
    "moment": "when something happened to a person or was done by one; leaves as its month",
    "night": "from or until which night a row holds",
    "surrogate": "keyed id of a record; keyed again for whom it leaves",
    "cell": "number of people or of what they did; small ones are pooled",
    "neutral": "nothing of a person",
}
COLUMNS_NAMED = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--check", action="store_true", help="name the files that drifted")
    chosen.add_argument("--picture", action="store_true", help="run a night and draw it")
    arguments = parser.parse_args()
    if arguments.picture:
        draw_night()
        return 0
    if arguments.check:
        names = drifted()
        for name in names:
            print(f"docs/{name} is not what the code says: run `python docs/generate.py`")
        return 1 if names else 0
    for name, text in pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text)
    return 0


def pages() -> dict[str, str]:
    """Path below docs/ → text of every generated page."""
    made = {
        "tables": tables_page(),
        "rules": rules_page(),
        "lineage": lineage_page(),
        "commands": commands_page(),
        "settings": settings_page(),
    }
    return {
        f"reference/{name}.md": "\n".join([MADE, "", *lines]).rstrip() + "\n"
        for name, lines in made.items()
    }


def drifted() -> list[str]:
    """Generated pages that are missing or differ from the code."""
    return [
        name
        for name, text in pages().items()
        if not (DOCS / name).exists() or (DOCS / name).read_text() != text
    ]


def tables_page() -> Iterator[str]:
    yield from (
        "# Data dictionary",
        "",
        "Every column says what it discloses of a person:",
        "",
        *(f"- *{name}*: {meaning}" for name, meaning in CLASSES.items()),
        "",
        "The mask is what leaves without a special grant; *keep* leaves as it is. A table about "
        "people is published only when it says what its rows keep; a row loses the steps in which "
        "too few records are alike "
        "([what analysts may learn](../warehouse.md#what-analysts-may-learn-of-one-person)).",
        "",
        "Tables with history also have the columns of [history](#history). Tables of direct "
        "identifiers are never published.",
        "",
    )
    for schema, meaning in SCHEMAS.items():
        yield from (f"## {schema}", "", meaning, "")
        for table in tables().values():
            if table.schema_name == schema:
                yield from _table(table)
    history = next(table for table in tables().values() if table.history)
    added = {name: c for name, c in history.all_columns.items() if name not in history.columns}
    yield from ("## history", "", *_columns(added), "")
    yield from ("## landing", "", "One table per stream. Every column is text, as sent, after:", "")
    yield from (f"- `{name}` {kind}" for name, kind in LANDING_COLUMNS.items())
    yield ""
    for source in load_sources(_settings()).values():
        for stream in source.streams:
            yield f"- `{landing_name(source, stream)}`: {stream.title}"


def _table(table: Table) -> Iterator[str]:
    facts = [
        table.definition,
        f"Concept: {table.concept}. Classification: {table.classification}. "
        f"Owner: {table.owner}. Key: {', '.join(table.key)}."
        + (" With history." if table.history else "")
        + (" Direct identifiers." if table.identity else ""),
    ]
    yield from (f"### {table.name}", "", f"**{table.title}** · *{table.title_id}*", "")
    yield from (f"{facts[0]}.", "", facts[1], "")
    if table.is_about_people and table.schema_name == "core" and not table.identity:
        yield from (
            f"Published rows keep: {_kept(table)}." if table.keeps else "Not published.",
            "",
        )
    yield from (*_columns(table.columns), "")


def _kept(table: Table) -> str:
    return ", ".join(
        " and ".join(name if mask == "keep" else f"{name} ({mask})" for name, mask in step.items())
        for step in table.steps
    )


def _columns(columns: dict[str, Column]) -> Iterator[str]:
    yield from _grid(
        ("column", "type", "unit", "meaning", "arti", "disclosure", "mask"),
        (
            (f"`{name}`", one.type, one.unit, one.en, one.id, one.disclosure, one.mask)
            for name, one in columns.items()
        ),
    )


def rules_page() -> Iterator[str]:
    yield from (
        "# Rules",
        "",
        "A row that breaks a *critical* rule goes to quarantine; one that breaks a *warning* is "
        "loaded with the rule's name in `flags`; one that breaks an *info* is only counted. A "
        "condition that is unknown (NULL) counts as holding. What each rule finds in a city whose "
        "faults are known: [rules against the truth](confusion.md).",
        "",
    )
    settings = _settings()
    for source in load_sources(settings).values():
        yield from (f"## {source.name}", "", f"{source.title}. Owner: {source.agency}.", "")
        if source.assumed:
            yield from (f"*Assumed:* {source.assumed}", "")
        rules = load_rules(settings, source)
        for stream in source.streams:
            yield from (f"### {source.name}.{stream.name}", "", f"{stream.title}.", "")
            yield from _rules(rules[stream.name])
    yield from ("## core", "", "Asked of the versions that hold, after the loads; they stop no "
                "batch. Every table: `key_shared`, `key_missing`, and `identity_missing` where it "
                "has a table of identifiers, all critical.", "")  # fmt: skip
    for table, of_table in load_core_rules(settings).items():
        if declared := [rule for rule in of_table if rule.origin != SCHEMA]:
            yield from (f"### {table}", "")
            yield from _rules(declared)


def _rules(rules: list[Rule]) -> Iterator[str]:
    yield from _grid(
        ("rule", "severity", "expectation", "reason", "origin"),
        ((f"`{r.rule}`", r.severity, _expectation(r), r.reason, r.origin) for r in rules),
    )
    yield ""


def _expectation(rule: Rule) -> str:
    if rule.is_implied:
        return "follows from the definition"
    if rule.kind == CONDITION:
        spared = rule.implicates
        whom = "" if spared == "all" else (
            f"; all but the {spared.spare} by {spared.by} among equal {', '.join(spared.among)}"
        )  # fmt: skip
        return f"`{rule.arguments['condition']}`{whom}"
    arguments = ", ".join(f"{name}: {value}" for name, value in rule.arguments.items())
    return f"{rule.kind} `{arguments}`"


def lineage_page() -> Iterator[str]:
    made = graph(_settings())
    yield from (
        "# Lineage",
        "",
        "Where every column comes from: read from the definitions, from the expressions of the "
        "transforms and from the contracts. `muara lineage TABLE.COLUMN` shows the steps between, "
        "and what a column is used for. *In italics* what no source sends. *Chosen by* are the "
        "columns that decide which rows a value is taken from, or by which it is looked up.",
        "",
    )
    for title, kind in (("Contracts", "contract."), ("Marts", "mart."), ("Core", "core.")):
        yield from (f"## {title}", "")
        datasets = dict.fromkeys(name.rpartition(".")[0] for name in made if name.startswith(kind))
        for dataset in sorted(datasets):
            yield from (f"### {dataset.removeprefix('contract.')}", "")
            yield from _grid(("column", "from", "of the source", "chosen by"),
                             _origins(made, dataset))  # fmt: skip
            yield ""


def _origins(made: Graph, dataset: str) -> Iterator[tuple[str, ...]]:
    """Without the columns of the history, which are the same everywhere."""
    history = {name for table in tables().values() for name in table.all_columns
               if name not in table.columns} - {"flags"}  # fmt: skip
    for full, origin in made.items():
        table, _, name = full.rpartition(".")
        if table != dataset or name in history:
            continue
        chosen = {one for one in origin.choice if one.rpartition(".")[2] not in history}
        yield (
            f"`{name}`",
            _named(origin.values) or f"*{origin.own}*",
            _begun(made, [full]),
            _named(chosen),
        )


def _begun(made: Graph, names: list[str]) -> str:
    begun = starts(made, names)
    own = {made[one].own for one in begun if made[one].own}
    sent = {one for one in begun if one.startswith("source.")}
    return "; ".join([*filter(None, [_named(sent)]), *(f"*{one}*" for one in sorted(own))])


def _named(columns: Iterable[str]) -> str:
    """Columns by their tables; of a table with many only how many."""
    of: dict[str, list[str]] = {}
    for full in sorted(columns):
        table, _, name = full.removeprefix("source.").rpartition(".")
        of.setdefault(table, []).append(name)
    return "; ".join(
        f"{table}: " + (", ".join(f"`{name}`" for name in names) if len(names) <= COLUMNS_NAMED
                        else f"{len(names)} columns")
        for table, names in of.items()
    )  # fmt: skip


def commands_page() -> Iterator[str]:
    yield from ("# Commands", "", "`.venv/bin/muara COMMAND --help` says the same.", "")
    for name, command in commands():
        context = command.make_context(name, [], resilient_parsing=True)
        summary, _, example = " ".join(command.help.split()).partition("Example:")
        yield from (f"## {name}", "", summary.strip(), "")
        yield from ("```", context.get_usage().removeprefix("Usage: "), "```", "")
        if example:
            yield from (f"Example: `{example.strip()}`", "")
        if command.params:
            yield from _grid(("", "meaning", "default"), map(_parameter, command.params))
            yield ""


def commands() -> Iterator[tuple[str, Any]]:
    """Full name and command of every command, in the order of the help."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        for part, one in getattr(command, "commands", {}).items():
            yield from below(f"{name} {part}", one)
        if not hasattr(command, "commands"):
            yield name, command

    return below("muara", typer.main.get_command(cli.app))


def _parameter(one: Any) -> tuple[str, str | None, str]:
    is_argument = one.param_type_name == "argument"
    name = one.name.upper() if is_argument else ", ".join(one.opts + one.secondary_opts)
    default = "required" if one.required else "" if one.default in (None, False) else one.default
    return f"`{name}`", one.help, str(default)


def settings_page() -> Iterator[str]:
    yield from (
        "# Settings",
        "",
        "From the environment, or from `muara.toml` in the working directory (names in lower "
        "case without the prefix). The environment wins.",
        "",
    )
    yield from _grid(
        ("variable", "type", "default", "meaning"),
        (
            (
                f"`MUARA_{name.upper()}`",
                getattr(field.annotation, "__name__", str(field.annotation)),
                _default(field.default),
                field.description,
            )
            for name, field in Settings.model_fields.items()
        ),
    )


def _default(value: Any) -> str:
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT)}` beside the code"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(decimal=True)}`"
    return "" if value is None else f"`{value}`"


def _settings() -> Settings:
    """As the code ships them, whatever the environment says."""
    fields = ("profile", "connectors", "expectations", "contracts")
    return Settings(**{name: Settings.model_fields[name].default for name in fields})


def _grid(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def draw_night() -> None:
    """Run `muara night --direct` and keep what it prints, without the place of MUARA_HOME."""
    home = str(Settings().home)

    class Recorder(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            shown = [o.replace(home, "var") if isinstance(o, str) else o for o in objects]
            super().print(*shown, **options)

    recorder = Recorder(record=True, width=shared.WIDTH, file=io.StringIO())
    loading.console = asking.console = recorder
    loading.night(direct=True)
    drawn = recorder.export_svg(title="muara night", unique_id="night")
    without_downloaded_fonts = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    (DOCS / "night.svg").write_text(without_downloaded_fonts)


if __name__ == "__main__":
    sys.exit(main())

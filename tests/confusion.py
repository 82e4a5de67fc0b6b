"""Every rule against the city's truth: what it was there to find, what it found, whom it accused.

`tests/confusion.yml` says which planted faults a rule is there for. Rows are those that the
warehouse keeps: flags of landed rows, critical rules of quarantined ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import yaml

from common.definition import Source, Stream
from common.settings import Settings
from expectations.suite import load_rules
from tests.truth import outcomes, table_of, verdicts

HOME = Path(__file__).parent
DECIDED = ("reject", "flag")


@dataclass(frozen=True)
class Line:
    """One rule: rows with the faults it is there for, those of them it named, all rows it named,
    and those of these that have no fault that a row can show."""

    stream: str
    rule: str
    severity: str
    faults: tuple[str, ...]
    planted: int
    found: int
    named: int
    sound: int

    @property
    def recall(self) -> float:
        return self.found / self.planted

    @property
    def precision(self) -> float:
        return 1 - self.sound / self.named if self.named else 1.0


def declared() -> dict[str, dict]:
    return yaml.safe_load((HOME / "confusion.yml").read_text())


def confusion(settings: Settings, sources: dict[str, Source]) -> list[Line]:
    """A line for every rule that stands for a fault, in the order of the rules."""
    return [
        line
        for source in sources.values()
        for stream in source.streams
        for line in _of_stream(settings, source, stream)
    ]


def _of_stream(settings: Settings, source: Source, stream: Stream) -> Iterator[Line]:
    name = f"{source.name}.{stream.name}"
    faults_of = declared()["rules"].get(name, {})
    verdict = verdicts()
    decided = [fault for fault, what in verdict.items() if what in DECIDED]
    with duckdb.connect() as connection:
        connection.register("found", outcomes(settings, source, stream))
        connection.register("decided", pa.table({"fault": decided}))
        connection.execute(
            f"""
            CREATE TABLE judged AS
            WITH planted AS (
                SELECT DISTINCT row_key, fault
                FROM '{settings.home / "city"}/truth/fault.parquet' SEMI JOIN decided USING (fault)
                WHERE system = '{source.name}' AND "table" = '{table_of(stream)}')
            SELECT fault, coalesce(rules, []) AS rules FROM planted FULL JOIN found USING (row_key)
            """
        )
        for rule in load_rules(settings, source)[stream.name]:
            if faults := faults_of.get(rule.rule):
                counts = connection.execute(
                    """
                    SELECT count(*) FILTER (fault IN $faults),
                        count(*) FILTER (fault IN $faults AND $rule IN rules),
                        count(*) FILTER ($rule IN rules),
                        count(*) FILTER ($rule IN rules AND fault IS NULL)
                    FROM judged
                    """,
                    {"faults": faults, "rule": rule.rule},
                ).fetchone()
                yield Line(name, rule.rule, rule.severity, tuple(faults), *counts)


def page(lines: list[Line], city: str) -> str:
    """The table as a page of the documentation."""
    grid = "\n".join(
        f"| {one.stream} | `{one.rule}` | {one.severity} | {', '.join(one.faults)} | {one.planted} "
        f"| {one.found} | {one.recall:.3f} | {one.named} | {one.sound} | {one.precision:.3f} |"
        for one in lines
    )
    others = "\n".join(f"- `{rule}`: {why}" for rule, why in declared()["unplanted"].items())
    unseen = "\n".join(f"- `{fault}`: {why}" for fault, why in declared()["undecidable"].items())
    return f"""\
<!-- Made by tests/integration/test_confusion.py, which fails when it drifts. -->

# Rules against the truth

What each rule found in {city}, where every fault is known. *Planted*: rows with a fault the rule is
there for; *found*: those of them it named (recall). *Named*: all rows it named; *sound*: those of
them without a fault that a row can show (precision). A row has one fault, and several rules may
rightly name it.

| stream | rule | severity | faults | planted | found | recall | named | sound | precision |
|---|---|---|---|---|---|---|---|---|---|
{grid}

Rules that follow from the definition (`…_missing`, `…_unreadable`, `…_unknown`, `key_…`) and are
not in the table have no fault in this city: databases keep text out of numbers.
[test_rules.py](../../tests/spec/test_rules.py) breaks each of them once.

The city plants nothing for:

{others}

No rule can find, for the rows look sound:

{unseen}
"""

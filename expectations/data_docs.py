"""Data Docs: pages by Great Expectations' own renderer, made from counts.

The results hold no value of a row, for we make them from what was counted. What a page would fetch
from elsewhere (styles, scripts, a logo that reports the visit) is taken out and a small style sheet
put in, so that it opens on a closed network and tells nobody. The index is ours: the library's is
drawn by those scripts.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from expectations.suite import Rule

NOT_HERE = re.compile(
    r"<(?P<tag>script|iframe|footer)\b.*?</(?P=tag)>"
    r'|<(?:link|img)\b[^>]*\b(?:href|src)="(?:https?:|[./]*static/)[^>]*>',
    re.DOTALL,
)
HOME = re.compile(r'href="[./]*index\.html"')
SUITE = re.compile(r'href="[./]*expectations/[^"]*"')
DISCLOSURE = "disclosure.html"
"""The page, beside those of the tables, of what is published of single people."""
STYLE = Path(__file__).with_name("data_docs.css")


@dataclass(frozen=True)
class Outcome:
    """A stream or core table: what its rules found in its newest batch. `broken`: rule → rows; a
    rule that is not in it was not asked."""

    name: str
    batch_id: int
    night: date
    rows: int
    rules: list[Rule]
    broken: dict[str, int]


def build(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write `index.html` and a page per outcome into `folder`."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    renderer, view = ValidationResultsPageRenderer(), DefaultJinjaPageView()
    lines = []
    for outcome in outcomes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = view.render(renderer.render(_result(outcome)))
        shown = SUITE.sub("", HOME.sub('href="index.html"', NOT_HERE.sub("", drawn)))
        (folder / f"{outcome.name}.html").write_text(shown.replace("</head>", _style(), 1))
        lines.append(_line(outcome))
    (folder / "index.html").write_text(
        page(
            "What every rule found",
            "<table><tr><th>table</th><th>night</th><th>batch</th><th>rows</th><th>rules</th>"
            f"<th>critical</th><th>warning</th><th>info</th></tr>{''.join(lines)}</table>"
            "<p>Under critical, warning and info: rules that were broken.</p>"
            '<p><a href="' + DISCLOSURE + '">What is published of single people</a></p>',
        )
    )


def page(title: str, *body: str) -> str:
    """A page of ours, in the style of the others."""
    return (
        f"<!doctype html><html><head><meta charset=utf-8><title>{escape(title)}</title>{_style()}"
        f"<body><h1>{escape(title)}</h1>{''.join(body)}</body></html>"
    )


def _style() -> str:
    return f"<style>{STYLE.read_text()}</style></head>"


def _line(outcome: Outcome) -> str:
    broken = Counter(rule.severity for rule in outcome.rules if outcome.broken.get(rule.rule))
    cells = [outcome.night, outcome.batch_id, f"{outcome.rows:,}", len(outcome.broken),
             *(broken[severity] or "" for severity in ("critical", "warning", "info"))]  # fmt: skip
    name = escape(outcome.name)
    return (
        f'<tr><td><a href="{name}.html">{name}</a></td>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _result(outcome: Outcome) -> Any:
    from great_expectations.core import ExpectationSuiteValidationResult

    asked = [rule for rule in outcome.rules if rule.rule in outcome.broken]
    kept = sum(outcome.broken[rule.rule] == 0 for rule in asked)
    return ExpectationSuiteValidationResult(
        success=all(
            outcome.broken[rule.rule] == 0 for rule in asked if rule.severity == "critical"
        ),
        results=[_answer(rule, outcome) for rule in asked],
        suite_name=outcome.name,
        statistics={
            "evaluated_expectations": len(asked),
            "successful_expectations": kept,
            "unsuccessful_expectations": len(asked) - kept,
            "success_percent": 100 * kept / len(asked) if asked else None,
        },
        meta={
            "great_expectations_version": version("great_expectations"),
            "run_id": {"run_name": f"batch {outcome.batch_id}", "run_time": f"{outcome.night}"},
            "batch_spec": {},
            "active_batch_definition": {"data_asset_name": outcome.name},
        },
    )


def _answer(rule: Rule, outcome: Outcome) -> Any:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.metadata_types import FailureSeverity

    from expectations.engine import kind_named

    broken = outcome.broken[rule.rule]
    share = 100 * broken / outcome.rows if outcome.rows else 0.0
    return ExpectationValidationResult(
        success=broken == 0,
        expectation_config=kind_named(rule.kind)(
            **rule.arguments,
            severity=FailureSeverity(rule.severity),
            description=f"{rule.rule} ({rule.severity}): {rule.reason}",
        ).configuration,
        result={
            "element_count": outcome.rows,
            "unexpected_count": broken,
            "unexpected_percent": share,
            "unexpected_percent_nonmissing": share,
        },
        exception_info={},
    )

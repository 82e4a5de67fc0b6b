"""The documentation against the code: nothing missing, nothing drifted, no dead link."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from common import errors
from common.access import Strict
from common.definition import Stream
from common.settings import ROOT
from docs import generate
from expectations.suite import Rule
from warehouse.shares import Open311

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md")),
]
README = PAGES[0].read_text()


def family(base: type) -> list[type]:
    return [base, *(below for one in base.__subclasses__() for below in family(one))]


def test_the_reference_is_what_the_code_says():
    assert generate.drifted() == []


@pytest.mark.parametrize("command", [name for name, _ in generate.commands()])
def test_every_command_is_in_the_readme(command):
    assert f"`{command}`" in README


@pytest.mark.parametrize("error", family(errors.MuaraError), ids=lambda error: error.__name__)
def test_every_error_is_explained_with_its_exit_code(error):
    rows = (ROOT / "docs" / "operating.md").read_text()
    assert f"| {error.__name__} | {error.exit_code} |" in rows


DEFINING = ("adding-a-source", "files", "workbooks", "mail-and-sms", "services", "alarms")
MODELS = [one for one in family(Strict) if one.__module__ in (Strict.__module__, Stream.__module__)]


@pytest.mark.parametrize("model", MODELS)
def test_every_field_of_a_definition_is_explained(model):
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in DEFINING)
    names = {field.alias or name for name, field in model.model_fields.items()}
    told = {name for name in names if f"`{name}`" in text or f"{name}: " in text}
    assert names - told == set()


def test_every_field_of_a_server_is_explained():
    text = (ROOT / "docs" / "open311.md").read_text()
    assert [name for name in Open311.model_fields if f"`{name}`" not in text] == []


def test_every_field_of_a_rule_is_explained():
    text = (ROOT / "docs" / "adding-a-source.md").read_text()
    named = set(Rule.model_fields) - {"kind", "arguments"}  # written as `expect_…`
    assert [name for name in sorted(named) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert [link for link in links if not leads_somewhere(page, link)] == []


def test_a_dead_link_is_found():
    assert not leads_somewhere(PAGES[0], "docs/nowhere.md")
    assert not leads_somewhere(PAGES[0], "docs/operating.md#nowhere")


def leads_somewhere(page: Path, link: str) -> bool:
    if "://" in link:
        return True
    path, _, anchor = unquote(link).partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_test_the_readme_names_exists():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", README)
    assert named
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_page_that_an_error_refers_to_has_that_heading():
    raised = (ROOT / "warehouse" / "catalog.py").read_text()
    assert "docs/warehouse.md, 'When a table changes shape'" in raised
    assert "\n## When a table changes shape\n" in (ROOT / "docs" / "warehouse.md").read_text()


def test_the_picture_is_there_and_loads_nothing():
    picture = (ROOT / "docs" / "night.svg").read_text()
    assert "fresh" in picture
    assert "url(" not in re.sub(r"url\(#", "", picture)

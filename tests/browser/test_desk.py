"""The review desk in a real browser: by keys alone, and without overlaps on a small screen."""

import threading
from contextlib import contextmanager

import pytest
import uvicorn

from pipeline.link import link
from portal import accounts
from portal.app import make_app
from portal.store import open_store
from tests.browser.chromium import browser

PASSWORD = "sungai mengalir ke muara"


@pytest.fixture(scope="module")
def town(first_night, tmp_path_factory):
    town = first_night.copy(tmp_path_factory.mktemp("browser") / "var")
    town.settings.impact_assessment = "PDP/1/2026"
    link(town.settings)
    store = open_store(town.settings)
    accounts.add(store, "dewi", "supervisor", PASSWORD)
    store.dispose()
    return town


@contextmanager
def served(town, port):
    server = uvicorn.Server(uvicorn.Config(make_app(town.settings), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_reviewer_works_by_keys_alone(town, free_port):
    with served(town, free_port) as url, browser() as page:
        page.open(url)
        page.fill(name="dewi", password=PASSWORD)
        page.run("document.querySelector('[name=password]').focus()")
        page.press("Enter")
        assert "Antrean pertanyaan" in page.text()
        page.press("m")
        assert "Apakah ini orang yang sama?" in page.text()
        assert "Menurut model" in page.text()
        assert page.run("document.title") == "Periksa · Muara"
        first = page.run("document.querySelector('[name=token]').value")
        page.run("document.querySelector('[name=reason]').focus()")
        page.type("12")
        assert page.run("document.querySelector('[name=reason]').value") == "12"
        page.run("document.querySelector('[name=reason]').blur()")
        page.press("n")
        assert page.run("document.querySelector('[name=token]').value") != first
        page.press("1")
        assert "menjadi keputusan" in page.text()
        page.press("3")
        assert "Jawaban tersimpan." in page.text()


def test_nothing_is_wider_than_the_screen_and_every_field_has_a_name(town, free_port):
    with served(town, free_port) as url, browser() as page:
        page.open(url)
        page.fill(name="dewi", password=PASSWORD)
        page.run("document.querySelector('[name=password]').focus()")
        page.press("Enter")
        for path in ("/antrean", "/periksa", "/sampel", "/mutu"):
            page.open(url + path)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.run(
                "[...document.querySelectorAll('input:not([type=hidden])')]"
                ".every(field => field.labels.length)"
            )
            assert page.run("document.styleSheets[0].cssRules.length") > 20

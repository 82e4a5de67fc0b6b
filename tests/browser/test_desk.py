"""The review desk in a real browser: by keys alone, and without overlaps on a small screen."""

import threading
from contextlib import contextmanager

import uvicorn

from portal.app import make_app
from tests.browser.chromium import browser
from tests.integration.conftest import PASSWORD


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


@contextmanager
def entered(url):
    """A page on which the supervisor has signed in by keys."""
    with browser() as page:
        page.open(url)
        page.fill(name="dewi", password=PASSWORD)
        page.run("document.querySelector('[name=password]').focus()")
        page.press("Enter")
        yield page


def test_a_reviewer_works_by_keys_alone(desk_town, free_port):
    with served(desk_town, free_port) as url, entered(url) as page:
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
        page.press("t")
        assert "Tarik kembali jawaban ini?" in page.text()
        page.press("t")
        assert "Jawaban ditarik kembali." in page.text()


def test_nothing_is_wider_than_the_screen_and_every_field_has_a_name(desk_town, free_port):
    with served(desk_town, free_port) as url, entered(url) as page:
        page.open(url + "/periksa")
        page.press("1")
        again = page.run("document.querySelector('[data-key=t]').getAttribute('href')")
        for path in ("/antrean", "/periksa", "/sampel", "/jawaban", again, "/mutu"):
            page.open(url + path)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.run(
                "[...document.querySelectorAll('input:not([type=hidden])')]"
                ".every(field => field.labels.length)"
            )
            assert page.run("document.styleSheets[0].cssRules.length") > 20

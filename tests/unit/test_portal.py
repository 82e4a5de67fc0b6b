"""Who may come in, what the audit log holds, and that everything has its word."""

import re
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import portal
from common.errors import DefinitionError
from common.settings import Settings
from portal import accounts
from portal.app import make_app
from portal.desk import LONG_NUMBER, _pieces
from portal.words import strength, words
from transforms.identity.model import COMPARISONS
from warehouse import audit
from warehouse.audit.store import open_store
from warehouse.tables import tables

PASSWORD = "sungai mengalir ke muara"


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 23, 8)

    def __call__(self):
        return self.now

    def wait(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path)


@pytest.fixture
def store(settings):
    store = open_store(settings)
    accounts.add(store, "siti", "reviewer", PASSWORD)
    yield store
    store.dispose()


def test_every_comparison_level_role_and_action_has_its_word():
    said = words()
    for one in COMPARISONS:
        assert one.name in said["comparisons"]
        assert {level.label for level in one.levels} <= set(said["levels"])
    tables_that_speak = {name.removesuffix("_identity") for name in tables()}
    assert {name.removesuffix("_identity") for name in said["sources"]} <= tables_that_speak
    noted = "".join(path.read_text() for path in Path(portal.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'note\(request, [\w.]+, "(\w+)"', noted)) <= set(said["actions"])
    assert {audit.ACCEPTED, *audit.OF_ACCOUNTS} <= set(said["actions"])
    assert set(audit.SAYS) == set(said["faults"])
    compared = tables()["core.mention_identity"].columns
    for written, (_, so) in said["attributes"].items():
        assert {written, so} <= {*compared, "region_name"}, written


@pytest.mark.parametrize(
    ("bits", "says"),
    [(12, "sangat mendukung"), (3, "mendukung"), (0, "hampir tidak berbobot"), (-4, "melawan"),
     (-11, "sangat melawan")],
)  # fmt: skip
def test_bits_in_words(bits, says):
    assert strength(bits) == says


def test_what_differs_is_marked_and_what_is_another_value_is_marked_whole():
    assert _pieces("YUSUF", "YUSUP") == (
        [("YUSU", False), ("F", True)], [("YUSU", False), ("P", True)]
    )  # fmt: skip
    assert _pieces("RIAN", "SUDIRMAN SETIAWAN")[0] == [("RIAN", True)]
    assert _pieces("", "SITI") == ([("", False)], [("SITI", False)])


@pytest.mark.parametrize("text", ["nik 3274010101900001", "0812-3456-7890", "32 74 01 01 01"])
def test_a_reason_with_a_long_number_is_seen(text):
    assert LONG_NUMBER.search(text)
    assert not LONG_NUMBER.search("surat 470/12/2026")


def test_the_store_is_its_owners_only_and_keeps_no_password(store, settings):
    path = settings.home / "portal" / "portal.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    token = accounts.sign_in(store, "siti", PASSWORD, "::1")
    kept = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert PASSWORD.encode() not in kept
    assert token.encode() not in kept


@pytest.mark.parametrize(
    ("name", "role", "password", "what"),
    [("siti", "reviewer", PASSWORD, "exists"), ("budi", "king", PASSWORD, "no such role"),
     ("budi", "reviewer", "short", "12 characters")],
)  # fmt: skip
def test_an_account_that_cannot_be(store, name, role, password, what):
    with pytest.raises(DefinitionError, match=what):
        accounts.add(store, name, role, password)


def test_a_session_ends_idle_and_in_any_case(store):
    clock = Clock()
    token = accounts.sign_in(store, "siti", PASSWORD, "::1", clock)
    for _ in range(26):
        clock.wait(minutes=27)
        assert accounts.visitor(store, token, clock).name == "siti"
    clock.wait(minutes=27)
    assert accounts.visitor(store, token, clock) is None
    token = accounts.sign_in(store, "siti", PASSWORD, "::1", clock)
    clock.wait(minutes=31)
    assert accounts.visitor(store, token, clock) is None


def test_an_account_that_is_out_is_out_at_once(store):
    token = accounts.sign_in(store, "siti", PASSWORD, "::1")
    accounts.change(store, "siti", is_active=False)
    assert accounts.visitor(store, token) is None
    assert accounts.sign_in(store, "siti", PASSWORD, "::1") is None
    accounts.change(store, "siti", is_active=True, password=PASSWORD + "!")
    assert accounts.visitor(store, token) is None
    assert accounts.sign_in(store, "siti", PASSWORD + "!", "::1")
    with pytest.raises(DefinitionError, match="no such account"):
        accounts.change(store, "budi", is_active=False)


def test_no_address_of_a_page_takes_anything_of_a_person(settings):
    for route in make_app(settings).routes:
        assert "{" not in route.path.removesuffix("{path:path}"), route.path

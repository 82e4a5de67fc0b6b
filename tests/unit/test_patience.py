"""Who guesses passwords waits; who is guessed at does not; no answer tells which names exist."""

import threading
from datetime import datetime, timedelta

import pytest

from common.settings import Settings
from portal import accounts, patience
from portal.patience import TooManyFailures
from warehouse.audit.store import open_store, path_of

PASSWORD = "sungai mengalir ke muara"


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 23, 8)

    def __call__(self):
        return self.now

    def wait(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_scrypt", lambda password, salt: (salt + password.encode())[:32])
    store = open_store(Settings(home=tmp_path))
    for name in ("siti", "budi", "wati"):
        accounts.add(store, name, "reviewer", PASSWORD)
    accounts.change(store, "wati", is_active=False)
    yield store
    store.dispose()


def guess(store, clock, name="siti", address="203.0.113.9", device="", password="wrong"):
    """What came of it: a token, None, or the seconds to wait."""
    try:
        return accounts.sign_in(store, name, password, address, clock, device=device)
    except TooManyFailures as error:
        return error.seconds


def test_who_guesses_waits_longer_and_longer(store, clock):
    assert [guess(store, clock) for _ in range(5)] == [None] * 5
    waits = []
    for _ in range(7):
        waits.append(guess(store, clock))
        assert guess(store, clock, password=PASSWORD) == waits[-1], "the right one waits, too"
        clock.wait(seconds=waits[-1])
        assert guess(store, clock) is None
    assert waits == sorted(set(waits))
    clock.wait(hours=2)
    assert guess(store, clock) is None


def test_a_guesser_does_not_lock_out_the_owner_who_is_elsewhere(store, clock):
    for _ in range(200):
        guess(store, clock)
        clock.wait(seconds=5)
    assert isinstance(guess(store, clock), int)
    assert isinstance(guess(store, clock, address="198.51.100.1", password=PASSWORD), str)


def test_a_guesser_with_many_addresses_does_not_lock_out_a_browser_that_is_known(store, clock):
    device = patience.device_of(store, "siti", cookies(store, "siti"))
    for n in range(400):
        guess(store, clock, address=f"203.0.{n // 200}.{n % 200}")
    assert isinstance(guess(store, clock, address="198.51.100.1"), int), "strangers wait"
    own = {"device": device, "address": "203.0.0.0", "password": PASSWORD}
    assert isinstance(guess(store, clock, **own), str)


def cookies(store, name):
    return {patience.device_cookie(store, name): patience.new_device(store, name)}


def test_a_browser_that_is_known_waits_for_its_own_failures(store, clock):
    device = patience.device_of(store, "siti", cookies(store, "siti"))
    assert [guess(store, clock, device=device) for _ in range(5)] == [None] * 5
    assert isinstance(guess(store, clock, device=device, password=PASSWORD), int)
    assert isinstance(guess(store, clock, password=PASSWORD), str)


def test_no_browser_is_known_by_what_it_makes_up(store, tmp_path):
    ((name, value),) = cookies(store, "siti").items()
    assert patience.device_of(store, "siti", {name: value}) == value
    other = open_store(Settings(home=tmp_path / "other"))
    others = [patience.new_device(other, "siti"), *cookies(store, "budi").values()]
    for forged in ("", ".", "x.y", value[:-1] + "é", value.upper(), value + "0", *others):
        assert patience.device_of(store, "siti", {name: forged}) == "", forged
    assert patience.device_of(store, "budi", {name: value}) == ""
    other.dispose()


def test_an_account_is_guessed_at_from_everywhere_only_so_often(store, clock):
    checked = [guess(store, clock, address=f"203.0.113.{n}") for n in range(120)].count(None)
    assert checked == patience.FREE["account"]


def test_an_address_tries_only_so_many_names(store, clock):
    checked = [guess(store, clock, name=f"name {n}") for n in range(60)].count(None)
    assert checked == patience.FREE["address"]


def test_an_address_of_ipv6_is_all_that_its_owner_has(store, clock):
    tries = [guess(store, clock, name=f"n{n}", address=f"2001:db8:1:1::{n:x}") for n in range(60)]
    assert tries.count(None) == patience.FREE["address"]
    assert guess(store, clock, address="2001:db8:1:2::1") is None
    assert guess(store, clock, name="other", address="::ffff:203.0.113.7") is None


def test_strangers_together_try_only_so_often(store, clock):
    tries = [guess(store, clock, name=f"n{n}", address=f"10.{n // 200}.{n % 200}.1")
             for n in range(600)]  # fmt: skip
    assert tries.count(None) == patience.FREE["strangers"]
    device = patience.device_of(store, "siti", cookies(store, "siti"))
    assert isinstance(guess(store, clock, device=device, password=PASSWORD), str)


def test_who_has_an_account_does_not_wash_off_guesses_at_others(store, clock):
    checked = 0
    for n in range(60):
        checked += guess(store, clock, name=f"name {n}") is None
        guess(store, clock, name="budi", password=PASSWORD)
    assert checked <= patience.FREE["address"]


def test_what_comes_of_guesses_does_not_tell_which_names_exist(store, clock):
    def story(name, address):
        told = []
        for _ in range(12):
            told.append(guess(store, clock, name=name, address=address))
            clock.wait(seconds=3)
        return told

    told = [story(name, f"203.0.113.{n}") for n, name in enumerate(["siti", "wati", "nobody"])]
    assert told[0] == told[1] == told[2]
    assert {type(one) for one in told[0]} == {type(None), int}


def test_every_attempt_hashes_once_whoever_it_is_for(store, clock, monkeypatch):
    hashed = []
    monkeypatch.setattr(accounts, "_scrypt", lambda *_: hashed.append(1) or b"another")
    for n, name in enumerate(["siti", "wati", "nobody", ""]):
        assert guess(store, clock, name=name, address=f"203.0.113.{n}") is None
        assert len(hashed) == n + 1


def test_many_at_once_do_not_slip_through(store, clock, monkeypatch):
    hashed = []
    monkeypatch.setattr(accounts, "_scrypt", lambda *_: hashed.append(1) or b"another")
    threads = [threading.Thread(target=guess, args=(store, clock)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashed) == patience.FREE["account here"]


def test_one_refusal_of_a_wait_is_noted(store, clock):
    def refused():
        with pytest.raises(TooManyFailures) as error:
            accounts.sign_in(store, "siti", "wrong", "203.0.113.9", clock)
        return error.value.is_first

    for _ in range(5):
        guess(store, clock)
    assert [refused() for _ in range(4)] == [True, False, False, False]
    clock.wait(seconds=30)
    guess(store, clock)
    assert [refused() for _ in range(3)] == [True, False, False]


def test_nothing_that_was_typed_is_kept(store, clock):
    guess(store, clock, name="kata sandi rahasia", address="203.0.113.77")
    kept = b"".join(one.read_bytes() for one in path_of(store.settings).parent.iterdir())
    assert b"rahasia" not in kept
    assert b"203.0.113.77" not in kept


def test_what_is_old_is_forgotten(store, clock):
    for n in range(30):
        guess(store, clock, name=f"n{n}", address=f"203.0.113.{n}")
    clock.wait(hours=2)
    guess(store, clock)
    with store.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM attempt").scalar()
    assert left == len(patience.FREE) - 1

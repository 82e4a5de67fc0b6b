"""The portal's door as others meet it: what it answers, to whom, and under which name."""

import re
import shutil
import threading
from itertools import product

import pytest
from fastapi import Request, Response
from fastapi.testclient import TestClient

from common.errors import DefinitionError
from common.settings import Settings
from portal import accounts, patience
from portal.app import BODY_BYTES, HEADERS, make_app
from warehouse import audit
from warehouse.audit.store import open_store

PASSWORD = "sungai mengalir ke muara"
US = "http://127.0.0.1"


def quick(password, salt):
    return (salt + password.encode())[:32]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with accounts. Do not change it: copy it."""
    settings = Settings(home=tmp_path_factory.mktemp("made"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_scrypt", quick)
        store = open_store(settings)
        for name, role in {"siti": "reviewer", "wati": "auditor", "budi": "reviewer"}.items():
            accounts.add(store, name, role, PASSWORD)
        accounts.change(store, "budi", is_active=False)
        store.dispose()
    return settings.home


@pytest.fixture
def settings(made, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_scrypt", quick)
    return Settings(home=shutil.copytree(made, tmp_path / "var"))


def client(settings, address="203.0.113.9", base_url=US, **changed):
    app = make_app(settings.model_copy(update=changed))
    return TestClient(app, base_url=base_url, client=(address, 1), follow_redirects=False)


def sign_in(client, name="siti", password=PASSWORD, **more):
    return client.post("/masuk", data={"name": name, "password": password}, **more)


def addresses(settings):
    store = open_store(settings)
    with store.engine.connect() as connection:
        found = [one.address for one in audit.entries(connection) if one.action == "sign_in_failed"]
    store.dispose()
    return found


def test_an_answer_does_not_tell_which_names_exist(settings):
    seen = {}
    for n, name in enumerate(["siti", "budi", "nobody"]):
        visitor = client(settings, f"203.0.113.{n}")
        answers = [sign_in(visitor, name, "wrong") for _ in range(8)]
        seen[name] = [
            (one.status_code, sorted({**one.headers, "retry-after": ""}.items()), without_wait(one))
            for one in answers
        ]
    assert [status for status, *_ in seen["siti"]] == [401] * 5 + [429] * 3
    assert seen["siti"] == seen["budi"] == seen["nobody"]
    assert answers[-1].headers["retry-after"].isdigit()


def without_wait(answer):
    """The page; how long to wait follows the clock (`test_patience.py` has one of its own)."""
    return re.sub(r"Tunggu \d+ detik", "", answer.text)


def test_the_right_password_of_an_account_that_is_out_answers_as_a_wrong_one(settings):
    out, wrong = sign_in(client(settings), "budi"), sign_in(client(settings), "siti", "wrong")
    assert (out.status_code, out.content) == (wrong.status_code, wrong.content)


def test_a_guesser_with_many_addresses_does_not_lock_the_owner_out(settings):
    owner = client(settings, "198.51.100.1")
    assert sign_in(owner).status_code == 303
    for n in range(60):
        guesser = TestClient(owner.app, US, client=(f"203.0.113.{n}", 1))
        sign_in(guesser, "siti", "wrong")
    assert sign_in(client(settings, "198.51.100.1")).status_code == 429, "no cookie: a stranger"
    assert sign_in(owner).status_code == 303


def test_a_guesser_does_not_fill_the_log(settings):
    visitor = client(settings)
    for _ in range(30):
        sign_in(visitor, "siti", "wrong")
    store = open_store(settings)
    with store.engine.connect() as connection:
        actions = [one.action for one in audit.entries(connection)]
    store.dispose()
    assert actions.count("sign_in_failed") == 5
    assert actions.count("sign_in_refused") == 1


def test_more_sign_ins_than_may_wait_are_answered_at_once_and_count_for_nothing(
    settings, monkeypatch
):
    go_on, begun = threading.Event(), []

    def slow(password, salt):
        begun.append(1)
        assert go_on.wait(60)
        return b"another"

    monkeypatch.setattr(accounts, "_scrypt", slow)
    portal = client(settings)
    answers = []

    def one_more(n):
        answers.append(sign_in(portal, f"name {n}", "wrong"))

    with portal:
        threads = [threading.Thread(target=one_more, args=(n,)) for n in range(60)]
        for thread in threads:
            thread.start()
        while len(answers) < 51:
            assert any(thread.is_alive() for thread in threads)
        assert {one.status_code for one in answers} == {503}
        assert all(int(one.headers["retry-after"]) > 0 for one in answers)
        assert "bersamaan" in answers[0].text
        assert portal.get("/masuk").status_code == 200, "pages do not wait"
        assert len(begun) == 1
        go_on.set()
        for thread in threads:
            thread.join()
    assert sorted(one.status_code for one in answers) == [401] * 9 + [503] * 51


def test_a_browser_that_is_known_does_not_wait_behind_strangers(settings, monkeypatch):
    portal = client(settings)
    sign_in(portal)
    for _ in range(9):
        portal.app.state.portal.turns[False]._places -= 1
    assert sign_in(TestClient(portal.app, US, client=("198.51.100.1", 1))).status_code == 503
    assert sign_in(portal).status_code == 303


FORGED = [
    {"X-Forwarded-For": "198.51.100.{n}"},
    {"Forwarded": "for=198.51.100.{n}"},
    {"X-Real-IP": "198.51.100.{n}"},
    {"X-Client-IP": "198.51.100.{n}", "True-Client-IP": "198.51.100.{n}"},
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda one: next(iter(one)))
@pytest.mark.parametrize("address", ["203.0.113.9", "127.0.0.1"])
def test_nobody_evades_the_limit_by_a_header(settings, forged, address):
    visitor = client(settings, address)
    answers = [
        sign_in(visitor, "siti", "wrong", headers={k: v.format(n=n) for k, v in forged.items()})
        for n in range(8)
    ]
    assert [one.status_code for one in answers] == [401] * 5 + [429] * 3
    assert set(addresses(settings)) == {address}


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, 198.51.100.1, 10.0.0.7"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (['"[2001:db8::1]:443"'], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["6.6.6.6, nonsense"], "10.0.0.2"),
        (["6.6.6.6, nonsense, 10.0.0.7"], "10.0.0.7"),
        (["6.6.6.6, unknown"], "10.0.0.2"),
        ([""], "10.0.0.2"),
        ([], "10.0.0.2"),
        (["10.0.0.8, 10.0.0.7"], "10.0.0.8"),
    ],
)
def test_a_trusted_proxy_tells_who_asks(settings, told, asks):
    visitor = client(settings, "10.0.0.2", portal_trusted_proxies="10.0.0.0/24, 192.0.2.1")
    sign_in(visitor, "siti", "wrong", headers=[("X-Forwarded-For", one) for one in told])
    assert addresses(settings) == [asks]


@pytest.mark.parametrize(
    ("peer", "told", "scheme"),
    [("10.0.0.2", "https", "https"), ("10.0.0.2", "http, https", "https"),
     ("10.0.0.2", "javascript", "http"), ("203.0.113.9", "https", "http")],
)  # fmt: skip
def test_only_a_trusted_proxy_tells_that_it_was_asked_over_tls(settings, peer, told, scheme):
    visitor = client(settings, peer, portal_trusted_proxies="10.0.0.2")

    def seen(request: Request) -> Response:
        return Response(request.url.scheme)

    visitor.app.add_api_route("/scheme", seen)
    assert visitor.get("/scheme", headers={"X-Forwarded-Proto": told}).text == scheme


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/33", "proxy.example", "10.0.0.1;"])
def test_proxies_that_are_none_or_everybody_are_refused(tmp_path, text):
    with pytest.raises(DefinitionError, match=r"(?i)portal_trusted_proxies"):
        Settings(home=tmp_path, portal_trusted_proxies=text)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "127.0.0.1@evil", "[::1"],
)  # fmt: skip
def test_it_answers_to_its_own_names_only(settings, host):
    visitor = client(settings)
    answer = visitor.get("/masuk", headers={"Host": host})
    assert answer.status_code == 400
    assert "Kata sandi" not in answer.text
    assert set(map(str.lower, HEADERS)) <= set(answer.headers)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8090", "localhost", "[::1]:8090", "meja.cirebon.example", "MEJA.cirebon.example"],
)  # fmt: skip
def test_it_answers_to_all_of_them(settings, host):
    visitor = client(settings, portal_url="https://meja.cirebon.example/")
    assert visitor.get("/masuk", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": US}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": US}, 303),
        ({}, 303),
    ],
)
def test_a_form_of_another_site_signs_nobody_in(settings, headers, status):
    assert sign_in(client(settings), headers=headers).status_code == status


def cookies_of(answer):
    return {
        one.partition("=")[0]: one.lower().split("; ")[1:]
        for one in answer.headers.get_list("set-cookie")
    }


def test_cookies_are_for_the_browser_alone(settings):
    for base, is_secure in ((US, False), ("https://meja.cirebon.example", True)):
        visitor = client(settings, base_url=base, portal_url="https://meja.cirebon.example")
        found = cookies_of(sign_in(visitor))
        assert len(found) == 2
        for name, flags in found.items():
            assert {"httponly", "samesite=strict"} <= set(flags), name
            assert ("secure" in flags) == is_secure, name
        device = next(name for name in found if name.startswith(patience.DEVICE_COOKIE))
        assert "siti" not in device
        assert "path=/masuk" in found[device]


def test_signing_in_again_ends_the_session_before(settings):
    visitor = client(settings)
    sign_in(visitor)
    first = visitor.cookies["muara_session"]
    sign_in(visitor)
    store = open_store(settings)
    assert accounts.visitor(store, first) is None
    assert accounts.visitor(store, visitor.cookies["muara_session"]).name == "siti"
    store.dispose()


def test_a_role_that_was_changed_in_the_file_opens_nothing(settings):
    visitor = client(settings)
    sign_in(visitor, "wati")
    assert visitor.get("/audit").status_code == 200
    store = open_store(settings)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE account SET role = 'supervisor' WHERE name = 'wati'")
    store.dispose()
    assert visitor.get("/selisih").headers["location"].startswith("/masuk")


def test_the_page_of_the_log_says_what_is_wrong_with_it(settings):
    visitor = client(settings)
    sign_in(visitor, "wati")
    assert "semua segel cocok" in visitor.get("/audit").text
    store = open_store(settings)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE account SET role = 'supervisor' WHERE name = 'siti'")
    store.dispose()
    text = visitor.get("/audit").text
    assert "Akun diubah di dalam berkas: siti" in text
    assert "semua segel cocok" not in text


def test_a_form_that_is_too_large_is_refused(settings):
    visitor = client(settings)
    answer = sign_in(visitor, password="x" * BODY_BYTES)
    assert answer.status_code == 413
    assert "terlalu besar" in answer.text
    assert sign_in(visitor, password="x" * (BODY_BYTES // 2)).status_code == 401


ODD = ["/", "/masuk", "/nowhere", "//evil.example", "//evil.example/", "/masuk/", "/static/",
       "/static/../app.py", "/static/%2e%2e/app.py", "/docs", "/redoc", "/openapi.json",
       "/audit?x=%00", "/tarik?jawaban=1", "/masuk?pesan=%3Cscript%3E", "/%00"]  # fmt: skip


def test_whatever_is_asked_nothing_leaks(settings):
    visitor = client(settings)
    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"]
    for path, method in product(ODD, methods):
        answer = visitor.request(method, f"{US}{path}")
        assert answer.status_code < 500, (method, path)
        assert set(map(str.lower, HEADERS)) <= set(answer.headers), (method, path)
        assert answer.headers["cache-control"] == "no-store"
        told = re.search(r"Traceback|File \"|site-packages|/portal/|<script>|detail", answer.text)
        assert not told, (method, path)
        assert re.match(r"/masuk(\?|$)|^$", answer.headers.get("location", "")), (method, path)


BODIES = [b"", b"name=siti", b"name=%ED%A0%80&password=%ff", b"name=%00&password=%00",
          b"name=" + b"\xf0\x9f\x92\xa9" * 99 + b"&password=x", b"&" * 999,
          b"name=siti&password=x&name=budi"]  # fmt: skip
KINDS = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
         "multipart/form-data", "application/json", "x"]  # fmt: skip


def test_a_form_that_is_none_is_no_error_of_ours(settings):
    visitor = client(settings)
    for body, kind in product(BODIES, KINDS):
        answer = visitor.post("/masuk", content=body, headers={"Content-Type": kind})
        assert answer.status_code in (400, 401), (body, kind)

"""The door before Airflow, with a small application in Airflow's place."""

import pytest
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse, PlainTextResponse

from common.settings import Settings
from dags.door import Door
from warehouse.audit.store import path_of

US = "http://127.0.0.1"


async def airflow(scope, receive, send):
    """Signs in who says `right`, as Airflow does with a password."""
    if scope["path"].startswith("/auth/token") and scope["method"] == "POST":
        body = (await receive())["body"]
        status = 201 if b"right" in body else 401
        await JSONResponse({"sent": len(body)}, status)(scope, receive, send)
    else:
        await PlainTextResponse("shown")(scope, receive, send)


@pytest.fixture
def door(tmp_path, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(tmp_path))
    return Door(airflow)


def visitor(door, address="203.0.113.9"):
    return TestClient(door, US, client=(address, 1))


def sign_in(client, password="wrong", name="admin", path="/auth/token"):
    return client.post(path, json={"username": name, "password": password})


def test_who_guesses_waits_by_whatever_way(door):
    guesser = visitor(door)
    ways = [{"json": {"username": "admin", "password": "wrong"}},
            {"data": {"username": "admin", "password": "wrong"}}]  # fmt: skip
    paths = ["/auth/token", "/auth/token/cli", "/auth/token/"]
    answers = [guesser.post(path, **way) for path in paths for way in ways]
    assert [one.status_code for one in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert sign_in(guesser, "right").status_code == 429


def test_nobody_evades_it_by_a_header(door):
    guesser = visitor(door)
    for n in range(8):
        guesser.headers["X-Forwarded-For"] = f"198.51.100.{n}"
        answer = sign_in(guesser)
    assert answer.status_code == 429


def test_who_guesses_does_not_lock_out_who_signed_in_before(door):
    owner = visitor(door, "198.51.100.1")
    assert sign_in(owner, "right").status_code == 201
    for n in range(60):
        sign_in(visitor(door, f"203.0.113.{n}"))
    assert sign_in(visitor(door, "198.51.100.2"), "right").status_code == 429, "a stranger"
    assert sign_in(owner, "right").status_code == 201


def test_the_right_password_forgives(door):
    owner = visitor(door)
    for _ in range(4):
        for _ in range(3):
            assert sign_in(owner).status_code == 401
        assert sign_in(owner, "right").status_code == 201


BODIES = [b'{"username": "x"}', b'{"username": "\\ud800"}', b"username=y", b"", b"[" * 9999,
          b"\xff", b'{"username": null}']  # fmt: skip


def test_whatever_name_is_guessed_at_it_is_counted_alike(door):
    answers = [visitor(door).post("/auth/token", content=body).status_code for body in BODIES]
    assert answers == [401] * 5 + [429] * 2


def test_what_is_no_sign_in_is_let_through(door, tmp_path):
    for path in (
        "/",
        "/auth/login",
        "/api/v2/version",
        "/dags/docs",
        "/docs/of/mine",
        "/execution",
    ):
        assert visitor(door).get(path).text == "shown", path
    assert visitor(door).post("/api/v2/dags/x/dagRuns").text == "shown"
    assert not path_of(Settings(home=tmp_path)).exists()


@pytest.mark.parametrize("prefix", ["", "/auth", "/execution"])
@pytest.mark.parametrize(
    "name", ["/docs", "/docs/", "/redoc", "/openapi.json", "/docs/oauth2-redirect"]
)  # fmt: skip
def test_the_api_is_described_to_nobody(door, prefix, name):
    for method in ("GET", "HEAD", "POST"):
        assert visitor(door).request(method, prefix + name).status_code == 404

"""The portal's server against those who hold it: half-sent requests, slow readers, many at once."""

import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
import uvicorn

from common.settings import Settings
from portal import server

FORM = (
    b"POST /masuk HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)
PATIENCE = 0.6
"""Seconds that the server has here."""


@pytest.fixture
def port(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", PATIENCE)
    monkeypatch.setattr(server, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(server, "CONNECTIONS", 20)
    with served(server.config(Settings(home=tmp_path), "127.0.0.1", free_port)):
        yield free_port


@contextmanager
def served(config):
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield running
    finally:
        running.should_exit = True
        thread.join()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def seconds_until_cut(connection):
    """From now until the other end is gone; what it says meanwhile is read."""
    began = time.monotonic()
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


def works(port):
    return httpx.get(f"http://127.0.0.1:{port}/masuk", timeout=20).status_code == 200


HALVES = {
    "nothing": b"",
    "a letter": b"G",
    "a line": b"GET /masuk HTTP/1.1\r\n",
    "headers without end": b"GET /masuk HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n",
    "headers without body": FORM + b"Content-Length: 100\r\n\r\n",
    "a part of the body": FORM + b"Content-Length: 100\r\n\r\nname=si",
    "chunks without end": FORM + b"Transfer-Encoding: chunked\r\n\r\n4\r\nname\r\n",
    "waits to be told": FORM + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    "a whole one, and a half": b"GET /masuk HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /",
}


@pytest.mark.parametrize("half", HALVES)
def test_a_half_sent_request_is_cut(port, half):
    with connect(port) as connection:
        connection.sendall(HALVES[half])
        assert seconds_until_cut(connection) < PATIENCE + 8
    assert works(port)


def test_a_request_in_drops_is_cut_however_often_they_fall(port):
    began = time.monotonic()
    with connect(port) as connection:
        connection.settimeout(PATIENCE / 10)
        connection.sendall(b"GET /masuk HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                connection.sendall(b"X: y\r\n")
                with suppress(TimeoutError):
                    if not connection.recv(1):
                        break
    assert time.monotonic() - began < PATIENCE + 8


def test_a_second_request_on_a_connection_has_no_more_time_than_the_first(port):
    whole = b"GET /masuk HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(whole)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(whole[:20])
        assert seconds_until_cut(connection) < PATIENCE + 4


def test_who_does_not_read_the_answer_is_cut(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_SECONDS", PATIENCE)
    settings = server.config(Settings(home=tmp_path), "127.0.0.1", free_port)
    ended = threading.Event()

    async def endless(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = {"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": True}
        for _ in range(64):
            await send(more)
        ended.set()

    settings.app, settings.lifespan = endless, "off"
    with served(settings), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", free_port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert ended.wait(PATIENCE + 10)


def test_those_who_ask_nothing_keep_nobody_out(port, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 60)
    with ExitStack() as stack:
        held = [stack.enter_context(connect(port)) for _ in range(80)]
        for connection in held[::2]:
            with suppress(OSError):
                connection.sendall(b"GET /masuk HTTP/1.1\r\n")
        for _ in range(5):
            assert works(port)
        assert sum(is_open(connection) for connection in held) <= 20


def is_open(connection):
    connection.settimeout(0.02)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_form_that_is_too_large_is_refused_before_all_of_it_came(port):
    with connect(port) as connection:
        connection.sendall(FORM + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(2 * (b"10000\r\n" + b"x" * 65536 + b"\r\n"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_headers_have_an_end(port):
    answer = b""
    with connect(port) as connection, suppress(ConnectionError):
        connection.sendall(
            b"GET /masuk HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: " + b"z" * (1 << 15)
        )
        answer = connection.recv(65536)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert works(port)


def test_it_does_not_say_what_serves_it_and_believes_no_proxy(port):
    answer = httpx.get(f"http://127.0.0.1:{port}/masuk")
    assert "server" not in answer.headers

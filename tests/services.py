"""A private HTTP service on the loopback whose answers a test decides."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """What the service was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class Reply:
    """What it answers; `cut`: only so many bytes of headers and body, then the connection ends;
    `pause`: seconds between the bytes of the body."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause: float = 0


Answer = Callable[[Asked], Reply]


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[str]:
    """The base URL of a service that answers so while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers,
                          self.rfile.read(length))  # fmt: skip
            reply = answer(asked)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            head = {"Content-Type": "application/json", "Content-Length": len(body)}
            told = "".join(f"{name}: {value}\r\n" for name, value in (head | reply.headers).items())
            whole = f"HTTP/1.1 {reply.status} -\r\n{told}\r\n".encode("latin-1") + body
            try:
                at_once = len(whole) - len(body) if reply.pause else reply.cut
                self.wfile.write(whole[:at_once])
                self.wfile.flush()
                for byte in body if reply.pause else ():
                    time.sleep(reply.pause)
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
            except OSError:
                pass  # whoever asked has hung up
            self.close_connection = reply.cut is not None

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

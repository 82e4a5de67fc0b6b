"""A real browser, driven over its DevTools protocol: addresses, keys, texts, pictures."""

import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1366,768",
    "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE = 20
"""Seconds."""


class Browser:
    def __init__(self, socket: Any) -> None:
        self._socket, self._id = socket, 0
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._id += 1
        self._socket.send(json.dumps({"id": self._id, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=PATIENCE))).get("id") != self._id:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Waits until the page says so."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never: {script}; the page says {self.text()[:300]}"
            time.sleep(0.05)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key: str) -> None:
        """A key, and the page that follows from it."""
        self.run("window.isOld = true")
        text = {"Enter": "\r"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)
        self.until("!window.isOld && document.readyState === 'complete'")

    def type(self, text: str) -> None:
        """Keys that stay on this page."""
        for key in text:
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))

    def picture(self, path: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with a profile of its own, which ends with it."""
    with tempfile.TemporaryDirectory(prefix="mu-chromium-", ignore_cleanup_errors=True) as profile:
        command = ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                port = _port(Path(profile) / "DevToolsActivePort")
                pages = httpx.get(f"http://127.0.0.1:{port}/json").json()
                (page,) = [one for one in pages if one["type"] == "page"]
                with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                    yield Browser(socket)
            finally:
                process.terminate()


def _port(path: Path) -> int:
    end = time.monotonic() + PATIENCE
    while not path.exists() or "\n" not in path.read_text():
        assert time.monotonic() < end, "Chromium does not start"
        time.sleep(0.05)
    return int(path.read_text().split()[0])

"""How the portal listens: nobody holds it by asking slowly, asking much, or not listening.

uvicorn ends connections that are idle between two requests, but waits for ever for the rest of a
request, and for a reader of its answer. Sizes of requests are in `portal/app.py`.
"""

import asyncio

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.settings import Settings
from portal.app import make_app

REQUEST_SECONDS = 15
"""From the first byte, or the connection, to the end of a request."""
ANSWER_SECONDS = 30
"""How long an answer may wait for its reader."""
CONNECTIONS = 200
"""At once. One more ends the oldest that has not asked anything yet."""
HEADER_BYTES = 16 << 10


def config(settings: Settings, host: str, port: int) -> uvicorn.Config:
    """uvicorn, set up for the portal of this home."""
    return uvicorn.Config(
        make_app(settings), host=host, port=port, http=Impatient, ws="none", log_level="warning",
        proxy_headers=False, server_header=False, backlog=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )  # fmt: skip


class Impatient(H11Protocol):
    """A connection that is cut where its other end is too slow."""

    _asking: asyncio.TimerHandle | None = None
    _answering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asking = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        if len(self.connections) > CONNECTIONS:
            self._cut_the_oldest()

    def _cut_the_oldest(self) -> None:
        """Of those that ask nothing, or not all of it."""
        asking_nothing = {
            one: timer for one in self.connections
            if isinstance(one, Impatient) and (timer := one._asking or one.timeout_keep_alive_task)
        }  # fmt: skip
        oldest = min(asking_nothing, key=lambda one: asking_nothing[one].when())
        oldest._stop_asking()
        oldest._unset_keepalive_if_required()
        oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._asking is None and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._asking = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_asking()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answering = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_answering()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._close_in_time()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close_in_time()

    def _close_in_time(self) -> None:
        """What was written is read before a connection closes, but not for ever."""
        if self.transport.is_closing():
            self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_asking()
        self._stop_answering()
        super().connection_lost(exc)

    def _stop_asking(self) -> None:
        if self._asking:
            self._asking.cancel()
            self._asking = None

    def _stop_answering(self) -> None:
        if self._answering:
            self._answering.cancel()
            self._answering = None

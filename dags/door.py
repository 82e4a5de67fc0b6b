"""Airflow's door: whoever guesses its password waits, as at the portal, and its API's description
is closed.

Airflow's simple auth manager lets everybody try as often as they like, and Airflow describes its
API to everybody. This stands before all of it: `dags/plugins/` puts it there.
"""

import re
from functools import cached_property

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.settings import Settings
from portal import patience
from portal.patience import Attempt, TooManyFailures
from warehouse.audit.store import Store, open_store

CLOSED = re.compile(r"(/auth|/execution)?/(docs(/oauth2-redirect)?|redoc|openapi\.json)/*")
"""Of Airflow itself and of the two applications that are mounted in it."""
SIGN_IN = re.compile(r"/+auth/.*")
SIGNED_IN = 201
ACCOUNT = "airflow\n"
"""As which all its users are counted, for Airflow reads their names in more than one way; no name
of the portal's has a line break."""


class Door:
    """The middleware. An attempt counts until Airflow says that it was right."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @cached_property
    def _store(self) -> Store:
        return open_store(Settings())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if "path" in scope else ""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif CLOSED.fullmatch(path):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        elif scope["method"] == "POST" and SIGN_IN.fullmatch(path):
            await self._sign_in(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            tried = await run_sync(self._begin, request)
        except TooManyFailures as error:
            answer = JSONResponse(
                {"detail": f"Too many attempts. Wait {error.seconds} seconds."}, 429,
                headers={"Retry-After": str(error.seconds)},
            )  # fmt: skip
            await answer(scope, receive, send)
            return

        async def judged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == SIGNED_IN:
                await run_sync(patience.forgive, self._store, tried)
                message["headers"] = [*message["headers"], self._device(request.url.scheme)]
            await send(message)

        await self.app(scope, receive, judged)

    def _begin(self, request: Request) -> Attempt:
        device = patience.device_of(self._store, ACCOUNT, request.cookies)
        address = request.client.host if request.client else ""
        return patience.begin(self._store, ACCOUNT, address, device)

    def _device(self, scheme: str) -> tuple[bytes, bytes]:
        cookie = patience.device_cookie(self._store, ACCOUNT)
        value = patience.new_device(self._store, ACCOUNT)
        lasts = int(patience.DEVICE_LASTS.total_seconds())
        secure = "; Secure" if scheme == "https" else ""
        text = f"{cookie}={value}; HttpOnly; Max-Age={lasts}; Path=/auth; SameSite=Strict{secure}"
        return b"set-cookie", text.encode()

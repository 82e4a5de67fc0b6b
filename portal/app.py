"""The portal put together: its rooms, what guards every answer, and what becomes of an error.

Every page that shows a person is in the audit log before it is shown; where that cannot be written
the page is not shown. No address of a page holds anything of a person.
"""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import MuaraError, WarehouseBusy, WarehouseFault
from common.log import log
from common.settings import Settings
from portal.desk import Desk
from portal.door import COOKIE, LOOPBACK, Portal, Refused, SignedOut, here
from portal.pages import audit, entrance, review
from portal.proxies import TrustedProxies
from portal.words import title, words
from warehouse.audit.store import open_store

FOLDER = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OUR_FAULT = Refused(500, "Terjadi kesalahan.", "Beri tahu pengelola; jenisnya ada di log.")
OF_ELSEWHERE = Refused(403, "Formulir ini bukan dari halaman kami.", "Muat ulang halaman.")
NOT_OUR_NAME = Refused(
    400, "Portal tidak dikenal dengan alamat ini.",
    "Pengelola: isi MUARA_PORTAL_URL dengan alamat yang dipakai orang.",
)  # fmt: skip
TOO_LARGE = Refused(413, "Formulir terlalu besar.", "Kirim yang lebih pendek.")
OF_HTTP = {404: "Halaman itu tidak ada.", 405: "Halaman itu tidak menerima permintaan ini."}
BODY_BYTES = 64 << 10
"""Of the largest form."""


def make_app(settings: Settings) -> FastAPI:
    """The portal of one home."""
    templates = Jinja2Templates(FOLDER / "templates")
    templates.env.globals |= {"words": words(), "title": title}
    templates.env.filters["in_city"] = lambda at: at.replace(tzinfo=UTC).astimezone(settings.zone)
    portal = Portal(settings, open_store(settings), Desk(settings), templates)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        portal.desk.close()
        portal.store.dispose()

    app = FastAPI(title="Muara", openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.portal = portal
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.add_middleware(SmallForms)
    app.middleware("http")(guard)
    app.add_middleware(TrustedProxies, proxies=settings.trusted_proxies)
    for error, handler in HANDLERS.items():
        app.add_exception_handler(error, handler)
    for room in (entrance, review, audit):
        app.include_router(room.router)
    return app


class SmallForms:
    """Refuses a form that is larger than any of ours, before all of it was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > BODY_BYTES:
                raise HTTPException(TOO_LARGE.status)
            return message

        await self.app(scope, counted, send)


async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuses names that are not ours and forms of other sites, and says nothing of an error that
    nobody foresaw."""
    response: Response
    if not is_ours(request):
        response = refused(request, NOT_OUR_NAME)
    elif request.method not in ("GET", "HEAD") and is_of_elsewhere(request):
        response = refused(request, OF_ELSEWHERE)
    else:
        try:
            response = await go_on(request)
        except Exception as error:
            # What an error of a library says may hold a value.
            log.error("page failed", path=request.url.path, error=type(error).__name__)
            response = refused(request, OUR_FAULT)
    response.headers.update(HEADERS)
    return response


def is_ours(request: Request) -> bool:
    """Whether we were asked under a name of ours."""
    names = {*LOOPBACK, urlsplit(here(request).settings.portal_address).hostname}
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname in names
    except ValueError:
        return False


def is_of_elsewhere(request: Request) -> bool:
    """Whether a page of another site sent this, as the browser says; old ones say only `Origin`."""
    site = request.headers.get("sec-fetch-site")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def signed_out(request: Request, _: SignedOut) -> Response:
    return RedirectResponse("/masuk?pesan=habis" if COOKIE in request.cookies else "/masuk", 303)


def refused(request: Request, error: Refused) -> Response:
    return here(request).page(
        request, "refused", status=error.status, what=error.what, then=error.then
    )


def of_http(request: Request, error: HTTPException) -> Response:
    """What the library refuses by itself."""
    what = OF_HTTP.get(error.status_code, "Permintaan ini tidak dapat dibaca.")
    known = error.status_code == TOO_LARGE.status
    return refused(request, TOO_LARGE if known else Refused(error.status_code, what))


def malformed(request: Request, _: RequestValidationError) -> Response:
    return refused(request, Refused(400, "Formulir tidak lengkap.", "Muat ulang halaman."))


def failed(request: Request, error: MuaraError) -> Response:
    log.error("page failed", path=request.url.path, error=error.code)
    if isinstance(error, WarehouseBusy):
        why = Refused(
            503, "Gudang data sedang diisi; yang Anda kirim belum disimpan.",
            "Tunggu sebentar, lalu kirim lagi.",
        )  # fmt: skip
    elif isinstance(error, WarehouseFault):
        why = Refused(
            503, "Belum ada orang yang ditautkan.",
            "Pengelola: jalankan `muara night` atau `muara link`.",
        )  # fmt: skip
    else:
        why = OUR_FAULT
    return refused(request, why)


HANDLERS: dict[type[Exception], Callable[[Request, Any], Response]] = {
    SignedOut: signed_out,
    Refused: refused,
    HTTPException: of_http,
    RequestValidationError: malformed,
    MuaraError: failed,
}

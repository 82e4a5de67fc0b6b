"""The portal put together: its rooms, what guards every answer, and what becomes of an error.

Every page that shows a person is in the audit log before it is shown; where that cannot be written
the page is not shown. No address of a page holds anything of a person.
"""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from common.errors import MuaraError, WarehouseBusy, WarehouseFault
from common.log import log
from common.settings import Settings
from portal.desk import Desk
from portal.door import COOKIE, Portal, Refused, SignedOut, here
from portal.pages import audit, entrance, review
from portal.store import open_store
from portal.words import title, words

FOLDER = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
OUR_FAULT = Refused(500, "Terjadi kesalahan.", "Beri tahu pengelola; jenisnya ada di log.")


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

    app = FastAPI(title="Muara", openapi_url=None, lifespan=lifespan)
    app.state.portal = portal
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.middleware("http")(guard)
    for error, handler in HANDLERS.items():
        app.add_exception_handler(error, handler)
    for room in (entrance, review, audit):
        app.include_router(room.router)
    return app


async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuses forms of other sites and says nothing of an error that nobody foresaw."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.method == "POST" and site not in ("same-origin", "none"):
        elsewhere = Refused(403, "Formulir ini bukan dari halaman kami.", "Muat ulang halaman.")
        response: Response = refused(request, elsewhere)
    else:
        try:
            response = await go_on(request)
        except Exception as error:
            # What an error of a library says may hold a value.
            log.error("page failed", path=request.url.path, error=type(error).__name__)
            response = refused(request, OUR_FAULT)
    response.headers.update(HEADERS)
    return response


def signed_out(request: Request, _: SignedOut) -> Response:
    return RedirectResponse("/masuk?pesan=habis" if COOKIE in request.cookies else "/masuk", 303)


def refused(request: Request, error: Refused) -> Response:
    return here(request).page(
        request, "refused", status=error.status, what=error.what, then=error.then
    )


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
    RequestValidationError: malformed,
    MuaraError: failed,
}

"""The portal's pages: sign-in and the review desk.

Every page that shows a person is in the audit log before it is shown; where that cannot be written
the page is not shown. No address of a page holds anything of a person: a pair is known to its form
by a token of chance, which holds for one visitor.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import SQLAlchemyError

from common.errors import DefinitionError, MuaraError, WarehouseBusy, WarehouseFault
from common.log import log
from common.settings import Settings
from portal import accounts, audit
from portal.accounts import Role, TooManyFailures, Visitor
from portal.desk import Desk, Shown
from portal.review import Answer, Answered, Question
from portal.store import open_store
from portal.words import words

HERE = Path(__file__).parent
COOKIE = "muara_session"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHOWN_AT_MOST = 200
"""Pairs that a visitor may have open, and rows of the audit log on its page."""
KEPT_SECONDS = 600
"""How long a pair that lies before somebody is given to nobody else."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Opened:
    """A pair that lies before somebody since `at`, by the clock of this process."""

    name: str
    question: Question
    at: float


class Refused(Exception):
    """A page that is not shown: why, in Indonesian, and what to do."""

    def __init__(self, status: int, what: str, then: str = "") -> None:
        self.status, self.what, self.then = status, what, then


class SignedOut(Exception):
    """Nobody is signed in, or the session is over."""


OUR_FAULT = Refused(500, "Terjadi kesalahan.", "Beri tahu pengelola; jenisnya ada di log.")


def make_app(settings: Settings) -> FastAPI:
    """The portal of one home."""
    store, desk = open_store(settings), Desk(settings)
    pages = Jinja2Templates(HERE / "templates")
    pages.env.globals["words"] = words()
    opened: dict[str, Opened] = {}
    skipped: dict[str, list[tuple[str, str]]] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        desk.close()
        store.dispose()

    app = FastAPI(title="Muara", openapi_url=None, lifespan=lifespan)
    app.mount("/static", StaticFiles(directory=HERE / "static"))

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
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

    def note(request: Request, account: str, action: str, what: str = "") -> None:
        address = request.client.host if request.client else ""
        try:
            audit.write(store, settings, account=account, address=address, action=action, what=what)
        except SQLAlchemyError:
            raise Refused(
                503, "Catatan audit tidak dapat ditulis, maka halaman ini tidak ditampilkan.",
                "Beri tahu pengelola: periksa ruang disk dan folder portal.",
            ) from None  # fmt: skip

    def page(
        request: Request, name: str, visitor: Visitor | None = None, status: int = 200, **told: Any
    ) -> HTMLResponse:
        told |= {"visitor": visitor, "notice": request.query_params.get("pesan", "")}
        return pages.TemplateResponse(request, f"{name}.html", told, status_code=status)

    @app.exception_handler(SignedOut)
    def signed_out(request: Request, _: SignedOut) -> Response:
        return RedirectResponse(
            "/masuk?pesan=habis" if COOKIE in request.cookies else "/masuk", 303
        )

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return page(request, "refused", status=error.status, what=error.what, then=error.then)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, _: RequestValidationError) -> Response:
        return refused(request, Refused(400, "Formulir tidak lengkap.", "Muat ulang halaman."))

    @app.exception_handler(MuaraError)
    def failed(request: Request, error: MuaraError) -> Response:
        log.error("page failed", path=request.url.path, error=error.code)
        return refused(request, _in_indonesian(error))

    def visitor(request: Request) -> Visitor:
        found = accounts.visitor(store, request.cookies.get(COOKIE, ""))
        if found is None:
            raise SignedOut
        return found

    def sender(
        request: Request,
        form_token: Annotated[str, Form()],
        who: Annotated[Visitor, Depends(visitor)],
    ) -> Visitor:
        """Who sent a form of this session."""
        if not secrets.compare_digest(form_token.encode(), who.form_token.encode()):
            note(request, who.name, "refused", request.url.path)
            raise Refused(403, "Formulir ini bukan dari sesi Anda.", "Muat ulang halaman.")
        return who

    def allowed(*roles: Role) -> Callable[[Request, Visitor], Visitor]:
        def check(request: Request, who: Annotated[Visitor, Depends(visitor)]) -> Visitor:
            if who.role not in roles:
                note(request, who.name, "refused", request.url.path)
                raise Refused(
                    403, "Peran Anda tidak boleh membuka halaman ini.", "Kembali ke awal."
                )
            return who

        return check

    reviewing = allowed("reviewer", "supervisor")

    @app.get("/")
    def home(who: Annotated[Visitor, Depends(visitor)]) -> Response:
        return RedirectResponse("/mutu" if who.role == "auditor" else "/antrean", 303)

    @app.get("/masuk")
    def sign_in_page(request: Request) -> Response:
        return page(request, "sign_in", nobody=not accounts.all_of(store))

    @app.post("/masuk")
    def sign_in(
        request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]
    ) -> Response:
        address = request.client.host if request.client else ""
        try:
            token = accounts.sign_in(store, name, password, address)
        except TooManyFailures as error:
            note(request, accounts.known(store, name), "sign_in_refused")
            return page(request, "sign_in", status=429, wait=error.seconds)
        if token is None:
            note(request, accounts.known(store, name), "sign_in_failed")
            return page(request, "sign_in", status=401, wrong=True)
        note(request, name, "sign_in")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, token, httponly=True, samesite="strict",
            secure=request.url.hostname not in LOOPBACK,
        )  # fmt: skip
        return answer

    @app.post("/keluar")
    def sign_out(request: Request, who: Annotated[Visitor, Depends(sender)]) -> Response:
        accounts.sign_out(store, request.cookies[COOKIE])
        skipped.pop(who.name, None)
        note(request, who.name, "sign_out")
        answer = RedirectResponse("/masuk?pesan=keluar", 303)
        answer.delete_cookie(COOKIE)
        return answer

    @app.get("/antrean")
    def queue(request: Request, who: Annotated[Visitor, Depends(reviewing)]) -> Response:
        return page(request, "queue", who, waiting=desk.waiting())

    def ask(request: Request, who: Visitor, path: str, **which: bool) -> Response:
        before_others = [
            (one.question.one, one.question.other)
            for one in list(opened.values())
            if one.name != who.name and time.monotonic() - one.at < KEPT_SECONDS
        ]
        left_out = skipped.get(who.name, []) + before_others
        question = desk.following(who.name, skipped=left_out, **which)
        if question is None:
            return page(request, "done", who, is_skipped=bool(skipped.pop(who.name, [])))
        return show(request, who, path, desk.show(question))

    def show(request: Request, who: Visitor, path: str, shown: Shown, fault: str = "") -> Response:
        question = shown.question
        note(request, who.name, "view_pair", f"{question.one} {question.other}")
        token = secrets.token_urlsafe(16)
        opened[token] = Opened(who.name, question, time.monotonic())
        while len(opened) > SHOWN_AT_MOST:
            opened.pop(next(iter(opened)))
        return page(request, "pair", who, shown=shown, token=token, path=path, fault=fault)

    @app.get("/periksa")
    def examine(request: Request, who: Annotated[Visitor, Depends(reviewing)]) -> Response:
        return ask(request, who, "/periksa")

    @app.get("/sampel")
    def sample(request: Request, who: Annotated[Visitor, Depends(reviewing)]) -> Response:
        return ask(request, who, "/sampel", is_sample=True)

    @app.get("/selisih")
    def differing(
        request: Request, who: Annotated[Visitor, Depends(allowed("supervisor"))]
    ) -> Response:
        return ask(request, who, "/selisih", is_supervisor=True)

    @app.post("/jawab")
    def answer(
        request: Request,
        who: Annotated[Visitor, Depends(sender)],
        token: Annotated[str, Form()],
        answer: Annotated[Answer | Literal["skip"], Form()],
        path: Annotated[str, Form()],
        reason: Annotated[str, Form()] = "",
        wants_second: Annotated[bool, Form()] = False,
    ) -> Response:
        reviewing(request, who)
        back = path if path in ("/periksa", "/sampel", "/selisih") else "/antrean"
        own = opened.pop(token, None)
        if own is None or own.name != who.name:
            return RedirectResponse(f"{back}?pesan=lama", 303)
        question = own.question
        pair = f"{question.one} {question.other}"
        if answer == "skip":
            skipped.setdefault(who.name, []).append((question.one, question.other))
            return RedirectResponse(back, 303)
        note(request, who.name, "answer", f"{pair} {answer}")
        try:
            decision = desk.answer(
                question, answer, reviewer=who.name, reason=reason.strip(),
                wants_second=wants_second,
                settles=question.state == "differing" and who.role == "supervisor",
            )  # fmt: skip
        except Answered:
            return RedirectResponse(f"{back}?pesan=terjawab", 303)
        except DefinitionError as error:
            return show(request, who, back, desk.show(question), fault=_fault(error))
        if decision:
            note(request, who.name, "decide", f"{pair} {decision}")
        return RedirectResponse(f"{back}?pesan={'diputus' if decision else 'tersimpan'}", 303)

    @app.get("/mutu")
    def quality(
        request: Request, who: Annotated[Visitor, Depends(allowed("supervisor", "auditor"))]
    ) -> Response:
        note(request, who.name, "view_quality")
        return page(request, "quality", who, quality=desk.measure())

    @app.get("/audit")
    def audit_log(
        request: Request, who: Annotated[Visitor, Depends(allowed("auditor"))]
    ) -> Response:
        note(request, who.name, "view_audit")
        with store.connect() as connection:
            rows = list(audit.entries(connection))
        return page(request, "audit", who, entries=rows[-SHOWN_AT_MOST:][::-1], count=len(rows),
                    broken=audit.broken(store, settings))  # fmt: skip

    return app


def _fault(error: DefinitionError) -> str:
    if error.where == "alasan":
        return "Alasan tidak boleh memuat nama atau nomor seseorang. Tulis tanpa data pribadi."
    return (
        "Jawaban ini bertentangan dengan keputusan yang sudah ada, maka tidak disimpan. "
        "Pilih Ragu, atau minta pengelola membatalkan keputusan lama (muara person decisions)."
    )


def _in_indonesian(error: MuaraError) -> Refused:
    if isinstance(error, WarehouseBusy):
        return Refused(
            503, "Gudang data sedang diisi; jawaban Anda belum disimpan.",
            "Tunggu sebentar, lalu jawab lagi.",
        )  # fmt: skip
    if isinstance(error, WarehouseFault):
        return Refused(
            503,
            "Belum ada orang yang ditautkan.",
            "Pengelola: jalankan `muara night` atau `muara link`.",
        )
    return OUR_FAULT

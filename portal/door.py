"""What every page of the portal stands on: who is there and may be, the audit log, the frame of a
page, and how a page is refused."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Form, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import SQLAlchemyError

from common.settings import Settings
from portal import accounts
from portal.accounts import Role, Turns, Visitor
from portal.dealer import Dealer
from portal.desk import Desk
from warehouse import audit
from warehouse.audit.store import Store

COOKIE = "muara_session"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """A page that is not shown: why, in Indonesian, and what to do."""

    def __init__(self, status: int, what: str, then: str = "") -> None:
        self.status, self.what, self.then = status, what, then


class SignedOut(Exception):
    """Nobody is signed in, or the session is over."""


@dataclass(frozen=True)
class Portal:
    """The portal of one home."""

    settings: Settings
    store: Store
    desk: Desk
    templates: Jinja2Templates
    dealer: Dealer = field(default_factory=Dealer)
    turns: tuple[Turns, Turns] = field(default_factory=lambda: (Turns(), Turns()))
    """Where passwords wait: those of strangers, and those of browsers that are known."""

    def note(self, request: Request, account: str, action: str, what: str = "") -> None:
        """Write a row of the audit log. Raises Refused where that fails."""
        try:
            audit.write(
                self.store, account=account, address=address_of(request), action=action, what=what
            )
        except (SQLAlchemyError, OSError):
            raise Refused(
                503, "Catatan audit tidak dapat ditulis, maka halaman ini tidak ditampilkan.",
                "Beri tahu pengelola: periksa ruang disk dan folder portal.",
            ) from None  # fmt: skip

    def page(
        self,
        request: Request,
        name: str,
        visitor: Visitor | None = None,
        status: int = 200,
        wait: int = 0,
        **told: Any,
    ) -> HTMLResponse:
        """A page; `wait`: in how many seconds to come again."""
        asked = request.query_params
        told |= {"visitor": visitor, "notice": asked.get("pesan", ""),
                 "answered": asked.get("jawaban", ""), "wait": wait}  # fmt: skip
        headers = {"Retry-After": str(wait)} if wait else {}
        return self.templates.TemplateResponse(
            request, f"{name}.html", told, status_code=status, headers=headers
        )


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def give(answer: Response, request: Request, name: str, value: str, **more: Any) -> None:
    """A cookie that no script reads and no other site sends; beyond the loopback over TLS only."""
    answer.set_cookie(
        name, value, httponly=True, samesite="strict",
        secure=request.url.hostname not in LOOPBACK, **more,
    )  # fmt: skip


def here(request: Request) -> Portal:
    portal: Portal = request.app.state.portal
    return portal


Here = Annotated[Portal, Depends(here)]


def visitor(request: Request, portal: Here) -> Visitor:
    """Who is signed in. Raises SignedOut."""
    found = accounts.visitor(portal.store, request.cookies.get(COOKIE, ""))
    if found is None:
        raise SignedOut
    return found


SignedIn = Annotated[Visitor, Depends(visitor)]


def sender(
    request: Request, portal: Here, form_token: Annotated[str, Form()], who: SignedIn
) -> Visitor:
    """Who sent a form of this session. Raises Refused for any other form."""
    if not secrets.compare_digest(form_token.encode(), who.form_token.encode()):
        portal.note(request, who.name, "refused", request.url.path)
        raise Refused(403, "Formulir ini bukan dari sesi Anda.", "Muat ulang halaman.")
    return who


Sender = Annotated[Visitor, Depends(sender)]


def allowed(*roles: Role) -> Callable[[Request, Portal, Visitor], Visitor]:
    """A dependency: who is signed in, if that is one of these roles; else it raises Refused."""

    def check(request: Request, portal: Here, who: SignedIn) -> Visitor:
        if who.role not in roles:
            portal.note(request, who.name, "refused", request.url.path)
            raise Refused(403, "Peran Anda tidak boleh membuka halaman ini.", "Kembali ke awal.")
        return who

    return check

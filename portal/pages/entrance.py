"""Coming in and going out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from portal import accounts, patience
from portal.accounts import Crowded
from portal.door import COOKIE, Here, Sender, SignedIn, address_of, give
from portal.patience import TooManyFailures

router = APIRouter()


@router.get("/")
def home(who: SignedIn) -> Response:
    return RedirectResponse("/mutu" if who.role == "auditor" else "/antrean", 303)


@router.get("/masuk")
def sign_in_page(request: Request, portal: Here) -> Response:
    return portal.page(request, "sign_in", nobody=not accounts.all_of(portal.store))


@router.post("/masuk")
def sign_in(
    request: Request,
    portal: Here,
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> Response:
    device = patience.device_of(portal.store, name, request.cookies)
    try:
        with portal.turns[bool(device)]:
            token = accounts.sign_in(
                portal.store, name, password, address_of(request), device=device
            )
    except Crowded as error:
        return portal.page(request, "sign_in", status=503, wait=error.seconds, crowded=True)
    except TooManyFailures as error:
        if error.is_first:  # a guesser does not fill the log
            portal.note(request, accounts.known(portal.store, name), "sign_in_refused")
        return portal.page(request, "sign_in", status=429, wait=error.seconds)
    if token is None:
        portal.note(request, accounts.known(portal.store, name), "sign_in_failed")
        return portal.page(request, "sign_in", status=401, wrong=True)
    accounts.sign_out(portal.store, request.cookies.get(COOKIE, ""))
    portal.note(request, name, "sign_in")
    answer = RedirectResponse("/", 303)
    give(answer, request, COOKIE, token)
    give(
        answer, request, patience.device_cookie(portal.store, name),
        patience.new_device(portal.store, name), path="/masuk",
        max_age=int(patience.DEVICE_LASTS.total_seconds()),
    )  # fmt: skip
    return answer


@router.post("/keluar")
def sign_out(request: Request, portal: Here, who: Sender) -> Response:
    accounts.sign_out(portal.store, request.cookies[COOKIE])
    portal.dealer.forget_skipped(who.name)
    portal.note(request, who.name, "sign_out")
    answer = RedirectResponse("/masuk?pesan=keluar", 303)
    answer.delete_cookie(COOKIE)
    return answer

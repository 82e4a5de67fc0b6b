"""The review desk: what waits, a pair to decide on, the answer, and how good model and reviewers
are."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from common.errors import DefinitionError
from portal.accounts import Visitor
from portal.desk import Shown
from portal.door import Here, Portal, Sender, allowed
from portal.review import Answer, Answered

Reviewing = Annotated[Visitor, Depends(allowed("reviewer", "supervisor"))]
ASKING = ("/periksa", "/sampel", "/selisih")

router = APIRouter()


@router.get("/antrean")
def queue(request: Request, portal: Here, who: Reviewing) -> Response:
    return portal.page(request, "queue", who, waiting=portal.desk.waiting())


@router.get("/periksa")
def examine(request: Request, portal: Here, who: Reviewing) -> Response:
    return _ask(request, portal, who)


@router.get("/sampel")
def sample(request: Request, portal: Here, who: Reviewing) -> Response:
    return _ask(request, portal, who, is_sample=True)


@router.get("/selisih")
def differing(
    request: Request, portal: Here, who: Annotated[Visitor, Depends(allowed("supervisor"))]
) -> Response:
    return _ask(request, portal, who, is_supervisor=True)


@router.post("/jawab")
def answer(
    request: Request,
    portal: Here,
    who: Sender,
    _: Reviewing,
    token: Annotated[str, Form()],
    answer: Annotated[Answer | Literal["skip"], Form()],
    path: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
    wants_second: Annotated[bool, Form()] = False,
) -> Response:
    back = path if path in ASKING else "/antrean"
    question = portal.dealer.take(token, who.name)
    if question is None:
        return RedirectResponse(f"{back}?pesan=lama", 303)
    if answer == "skip":
        portal.dealer.skip(who.name, question)
        return RedirectResponse(back, 303)
    pair = f"{question.one} {question.other}"
    portal.note(request, who.name, "answer", f"{pair} {answer}")
    try:
        decision = portal.desk.answer(
            question, answer, reviewer=who.name, reason=reason.strip(),
            wants_second=wants_second,
            settles=question.state == "differing" and who.role == "supervisor",
        )  # fmt: skip
    except Answered:
        return RedirectResponse(f"{back}?pesan=terjawab", 303)
    except DefinitionError as error:
        return _show(request, portal, who, back, portal.desk.show(question), fault=_fault(error))
    if decision:
        portal.note(request, who.name, "decide", f"{pair} {decision}")
    return RedirectResponse(f"{back}?pesan={'diputus' if decision else 'tersimpan'}", 303)


@router.get("/mutu")
def quality(
    request: Request,
    portal: Here,
    who: Annotated[Visitor, Depends(allowed("supervisor", "auditor"))],
) -> Response:
    portal.note(request, who.name, "view_quality")
    return portal.page(request, "quality", who, quality=portal.desk.measure())


def _ask(request: Request, portal: Portal, who: Visitor, **which: bool) -> Response:
    """The pair that is worth most for this visitor."""
    question = portal.desk.following(who.name, skipped=portal.dealer.not_for(who.name), **which)
    if question is None:
        is_skipped = portal.dealer.forget_skipped(who.name)
        return portal.page(request, "done", who, is_skipped=is_skipped)
    return _show(request, portal, who, request.url.path, portal.desk.show(question))


def _show(
    request: Request, portal: Portal, who: Visitor, path: str, shown: Shown, fault: str = ""
) -> Response:
    question = shown.question
    portal.note(request, who.name, "view_pair", f"{question.one} {question.other}")
    token = portal.dealer.deal(who.name, question)
    return portal.page(request, "pair", who, shown=shown, token=token, path=path, fault=fault)


def _fault(error: DefinitionError) -> str:
    if error.where == "alasan":
        return "Alasan tidak boleh memuat nama atau nomor seseorang. Tulis tanpa data pribadi."
    return (
        "Jawaban ini bertentangan dengan keputusan yang sudah ada, maka tidak disimpan. "
        "Pilih Ragu, atau minta pengelola membatalkan keputusan lama (muara person decisions)."
    )

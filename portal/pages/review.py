"""The review desk: what waits, a pair to decide on, the answer, taking one back, and how good model
and reviewers are."""

from typing import Annotated, Literal, NoReturn
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from common.errors import DefinitionError
from portal.accounts import Visitor
from portal.desk import Shown
from portal.door import Here, Portal, Refused, Sender, allowed
from portal.review import Answer, Answered, Given

Reviewing = Annotated[Visitor, Depends(allowed("reviewer", "supervisor"))]
ASKING = ("/periksa", "/sampel", "/selisih")
TO_ANSWERS = "Jawaban yang masih berlaku ada di halaman Jawaban."
NO_SUCH_ANSWER = (404, "Jawaban itu tidak ada.", TO_ANSWERS)
OF_ANOTHER = (403, "Itu jawaban petugas lain.", "Hanya penyelia boleh menariknya kembali.")
COUNTS_NO_MORE = (
    409, "Jawaban itu sudah ditarik kembali, atau keputusannya sudah dibatalkan.", TO_ANSWERS
)  # fmt: skip

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
        given, decision = portal.desk.answer(
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
    saved = "diputus" if decision else "tersimpan"
    return RedirectResponse(f"{back}?pesan={saved}&jawaban={given}", 303)


@router.get("/jawaban")
def answers(request: Request, portal: Here, who: Reviewing) -> Response:
    """A supervisor sees everybody's."""
    whose = None if who.role == "supervisor" else who.name
    return portal.page(request, "answers", who, answers=portal.desk.answers(whose))


@router.get("/tarik")
def look_again(
    request: Request,
    portal: Here,
    who: Reviewing,
    answer_id: Annotated[UUID, Query(alias="jawaban")],
) -> Response:
    given = _withdrawable(request, portal, who, answer_id)
    shown = portal.desk.show_again(given)
    if shown:
        portal.note(request, who.name, "view_pair", f"{given.one} {given.other}")
    return portal.page(request, "withdraw", who, given=given, shown=shown)


@router.post("/tarik")
def withdraw(
    request: Request,
    portal: Here,
    who: Sender,
    _: Reviewing,
    answer_id: Annotated[UUID, Form()],
) -> Response:
    given = _withdrawable(request, portal, who, answer_id)
    pair = f"{given.one} {given.other}"
    portal.note(request, who.name, "withdraw", f"{pair} {answer_id}")
    try:
        decision = portal.desk.withdraw(answer_id, by=who.name)
    except Answered:
        _refuse(request, portal, who, *COUNTS_NO_MORE)
    if decision:
        portal.note(request, who.name, "undecide", f"{pair} {decision}")
    return RedirectResponse(f"/jawaban?pesan={'dibatalkan' if decision else 'ditarik'}", 303)


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


def _withdrawable(request: Request, portal: Portal, who: Visitor, answer_id: UUID) -> Given:
    """The answer, if this visitor may take it back and it counts. Raises Refused."""
    given = portal.desk.one_given(answer_id)
    if given is None:
        _refuse(request, portal, who, *NO_SUCH_ANSWER)
    if given.reviewer != who.name and who.role != "supervisor":
        _refuse(request, portal, who, *OF_ANOTHER)
    if not given.counts:
        _refuse(request, portal, who, *COUNTS_NO_MORE)
    return given


def _refuse(
    request: Request, portal: Portal, who: Visitor, status: int, what: str, then: str
) -> NoReturn:
    portal.note(request, who.name, "refused", request.url.path)
    raise Refused(status, what, then)


def _fault(error: DefinitionError) -> str:
    if error.where == "alasan":
        return "Alasan tidak boleh memuat nama atau nomor seseorang. Tulis tanpa data pribadi."
    return (
        "Jawaban ini bertentangan dengan keputusan yang sudah ada, maka tidak disimpan. "
        "Pilih Ragu, atau tarik kembali jawaban yang lama di halaman Jawaban; milik orang lain "
        "ditarik kembali oleh penyelia."
    )

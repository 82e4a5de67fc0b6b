"""How the answers of a service follow one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.access import ByCursor, ByLink, ByOffset, ByPage, OnePage, Paging
from connectors.readers.records import Unreadable, at


@dataclass(frozen=True)
class Question:
    """The request for page `number`, from 1: with `parameters` beside the fixed ones, or at the
    `address` that the answer before it named."""

    number: int
    parameters: Mapping[str, Any]
    address: str | None = None


@dataclass(frozen=True)
class Answer:
    """`document` is the JSON, `rows` the list in it, `link` the next address it named."""

    document: Any
    rows: list[Any]
    link: str | None


def first(paging: Paging) -> Question:
    match paging:
        case ByPage():
            return Question(1, {paging.page: paging.first} | _size(paging))
        case ByOffset():
            return Question(1, {paging.offset: 0} | _size(paging))
        case ByCursor() | ByLink():
            return Question(1, _size(paging))
        case OnePage():
            return Question(1, {})


def following(paging: Paging, asked: Question, answer: Answer) -> Question | None:
    """What to ask next; None at the end. Raises Unreadable for a cursor that is none."""
    number = asked.number + 1
    match paging:
        case ByPage() if answer.rows:
            return Question(number, {paging.page: paging.first + asked.number} | _size(paging))
        case ByOffset() if answer.rows:
            offset = asked.parameters[paging.offset] + len(answer.rows)
            return Question(number, {paging.offset: offset} | _size(paging))
        case ByCursor():
            cursor = at(answer.document, paging.next)
            if cursor is not None and not isinstance(cursor, str):
                raise Unreadable(f"{paging.next} is neither text nor a number")
            if cursor:
                return Question(number, {paging.cursor: cursor} | _size(paging))
        case ByLink() if answer.link:
            return Question(number, {}, answer.link)
    return None


def _size(paging: ByPage | ByOffset | ByCursor | ByLink) -> dict[str, int]:
    return {paging.size: paging.page_size} if paging.size else {}

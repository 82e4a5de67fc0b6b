"""The audit log, for those who watch over the others."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from portal.accounts import Visitor
from portal.door import Here, allowed
from warehouse import audit

ROWS = 200
"""Rows on the page, the newest first."""

router = APIRouter()


@router.get("/audit")
def audit_log(
    request: Request, portal: Here, who: Annotated[Visitor, Depends(allowed("auditor"))]
) -> Response:
    portal.note(request, who.name, "view_audit")
    with portal.store.engine.connect() as connection:
        rows = list(audit.entries(connection))
    return portal.page(request, "audit", who, entries=rows[-ROWS:][::-1], count=len(rows),
                       faults=audit.faults(portal.settings))  # fmt: skip

"""Resident books of the kelurahan → residents as the offices know them, people kept apart.

A book says what its office believes; whether it is the registry's resident is for identity.
"""

import ibis.expr.types as ir

from transforms.conform import digits3


def resident_book(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.book_resident": rows.mutate(
            rt=digits3(rows.rt.cast("string")), rw=digits3(rows.rw.cast("string"))
        ),
        "core.book_resident_identity": rows,
    }


STREAMS = {"resident_book": resident_book}

"""One record per person, of the best that all mentions say.

Survivorship: a person's mentions stand in one order, and each attribute is that of the first which
says something believable (`transforms/standardise`). The order is that of RANKED, the registry
first, whose data by law serve every purpose (UU 24/2013 Ps 58(4)); of one source, a record of a
death before all others, for it is final; then what was said last. No value is mixed of two records,
and which record gave it can be told.
"""

import ibis
import ibis.expr.types as ir

from transforms.identity.mentions import REGISTRY

RANKED = (
    "core.person",
    "core.birth_certificate",
    "core.birth_report",
    "core.birth_notice",
    "core.book_resident",
    "core.report_identity",
)
OPEN = ("sex", "birth_date", "region_code")
DIRECT = ("nik", "person_name", "birth_place", "household_number", "phone", "mother_nik",
          "father_nik")  # fmt: skip
UNREGISTERED = "unregistered"


def claims(mention: ir.Table, holds: ir.Table) -> ir.Table:
    """Mentions as they hold (`transforms.identity.mentions`; source_record_id, role, person_id) →
    person_id, mention_id, source_record_id, role, `place` in the person's order from 0, status and
    the attributes."""
    said = mention.inner_join(
        holds.select("source_record_id", "role", "person_id"), ["source_record_id", "role"]
    )
    order = [
        said.said_in.cases(*((name, place) for place, name in enumerate(RANKED))),
        (said.status == "dead").fill_null(False).desc(),
        ibis.desc(said.said_at, nulls_first=False),
        said.mention_id,
    ]
    return said.select(
        "person_id", "mention_id", "source_record_id", "role", "status", *OPEN, *DIRECT,
        place=ibis.row_number().over(group_by=said.person_id, order_by=order),
    )  # fmt: skip


def golden(claim: ir.Table) -> ir.Table:
    """`claims` → one row per person: the columns of core.golden_record and
    core.golden_record_identity."""
    status = claim.status.argmin(claim.place, where=claim.role == REGISTRY)
    return claim.group_by("person_id").agg(
        source_record_id=claim.source_record_id.argmin(claim.place),
        role=claim.role.argmin(claim.place),
        status=status.fill_null(UNREGISTERED),
        mentions=claim.count(),
        **{
            name: claim[name].argmin(claim.place, where=claim[name].notnull())
            for name in (*OPEN, *DIRECT)
        },
    )


def origins(claim: ir.Table) -> ir.Table:
    """`claims` → core.golden_origin."""
    first = claim.group_by("person_id").agg(
        **{name: claim.place.min(where=claim[name].notnull()) for name in (*OPEN, *DIRECT)}
    )
    elsewhere = ibis.union(
        *(
            first.filter(first[name] > 0).select(
                "person_id", attribute=ibis.literal(name), place=first[name]
            )
            for name in (*OPEN, *DIRECT)
        )
    )
    return elsewhere.inner_join(claim, ["person_id", "place"]).select(
        "person_id", "attribute", "source_record_id", "role"
    )

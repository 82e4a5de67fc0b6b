"""Birth service → birth reports, certificates and hospital notices, people kept apart."""

import ibis
import ibis.expr.types as ir

from transforms.conform import record_of
from transforms.reporting import with_limit

SOURCE = "brojol"

WEIGHT_GRAM = (300, 8000)
BIRTH_KINDS = {"1": "single", "2": "twin", "3": "triplet", "4": "quadruplet", "5": "other"}


def _weight(gram: ir.NumericValue) -> ir.IntegerValue:
    """NULL where no newborn weighs this: an unknown is better than a wrong number."""
    return gram.between(*WEIGHT_GRAM).ifelse(gram.round().cast("int32"), ibis.null("int32"))


def birth_report(rows: ir.Table, table) -> dict[str, ir.Table]:
    timed = with_limit(rows, "birth_date", table("ref.reporting_limit"), "birth")
    days = timed.reported_at.date().delta(timed.birth_date, unit="day")
    return {
        "core.birth_report": timed.mutate(
            weight_gram=_weight(timed.weight_gram), is_late=days > timed.limit_days
        ),
        "core.birth_report_identity": rows,
    }


def certificate(rows: ir.Table, table) -> dict[str, ir.Table]:
    number = rows.certificate_number.upper()
    late = number.contains("-LT-").ifelse(
        True, number.contains("-LU-").ifelse(False, ibis.null("boolean"))
    )
    return {
        "core.birth_certificate": rows.mutate(
            birth_report_record_id=record_of(SOURCE, "birth_report", rows.report_id),
            is_late=late,
        ),
        "core.birth_certificate_identity": rows,
    }


def birth_notice(rows: ir.Table, table) -> dict[str, ir.Table]:
    kind = rows.birth_kind.cases(*BIRTH_KINDS.items(), else_=rows.birth_kind.lower())
    return {
        "core.birth_notice": rows.mutate(
            hospital_code=rows["_origin"].split("/")[0],
            weight_gram=_weight(rows.weight_kg * 1000),
            birth_kind=kind,
        ),
        "core.birth_notice_identity": rows,
    }


STREAMS = {"birth_report": birth_report, "certificate": certificate, "birth_notice": birth_notice}

"""Simreda → planning units, nomenclature, programmes, indicators, yearly plans and proposals.

A proposal keeps its level; `parent_record_id` links it to the same proposal one level below.
"""

import ibis
import ibis.expr.types as ir

from transforms.conform import digits3, in_city, record_of, with_region
from transforms.standardise.typed import degrees

SOURCE = "simreda"


def unit(rows: ir.Table, table) -> dict[str, ir.Table]:
    agencies = table("ref.agency").select(known_agency="agency_code")
    joined = rows.left_join(agencies, rows.agency_code == agencies.known_agency)
    return {"core.planning_unit": joined.mutate(agency_code=joined.known_agency)}


def program(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.planning_item": rows.mutate(
            level=ibis.literal("program"), parent_record_id=ibis.null("uuid")
        )
    }


def activity(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.planning_item": rows.mutate(
            level=ibis.literal("kegiatan"),
            regulation=ibis.null("string"),
            parent_record_id=record_of(SOURCE, "program", rows.program_number),
        )
    }


def rpjmd_program(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.programme": rows.mutate(
            unit_record_id=record_of(SOURCE, "unit", rows.unit_number),
            planning_item_record_id=record_of(SOURCE, "program", rows.program_number),
        )
    }


def rpjmd_indicator(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.indicator": rows.mutate(
            programme_record_id=record_of(SOURCE, "rpjmd_program", rows.rpjmd_program_number)
        )
    }


def rkpd_draft(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.yearly_plan": rows.mutate(
            programme_record_id=record_of(SOURCE, "rpjmd_program", rows.rpjmd_program_number),
            planning_item_record_id=record_of(SOURCE, "program", rows.program_number),
        )
    }


def _proposal(rows: ir.Table, table, level: str, parent: str | None) -> ir.Table:
    """The columns all levels share; what a level lacks is NULL."""
    absent = {
        "rw": "string", "rt": "string", "condition": "string", "measure_unit": "string",
        "volume_before": "decimal(20, 2)", "price_before_idr": "decimal(20, 2)",
        "latitude": "float64", "longitude": "float64", "updated_at": "timestamp",
        "region_code": "string", "unit_record_id": "uuid",
    }  # fmt: skip
    filled = rows.mutate(
        level=ibis.literal(level),
        parent_record_id=record_of(SOURCE, parent, rows.parent_number)
        if parent
        else ibis.null("uuid"),
        planning_item_record_id=record_of(SOURCE, "activity", rows.activity_number),
    )
    return filled.mutate(
        **{name: ibis.null(kind) for name, kind in absent.items() if name not in filled.columns}
    )


def proposal_rw(rows: ir.Table, table) -> dict[str, ir.Table]:
    latitude, longitude = degrees(rows.latitude_text), degrees(rows.longitude_text)
    placed = with_region(
        rows.mutate(
            rw=digits3(rows.rw),
            rt=digits3(rows.rt),
            latitude=in_city(latitude, longitude, latitude),
            longitude=in_city(latitude, longitude, longitude),
        ),
        table("ref.region"),
        "bps_code",
        rows.bps_code,
    )
    return {"core.proposal": _proposal(placed, table, "rw", None)}


def proposal_kelurahan(rows: ir.Table, table) -> dict[str, ir.Table]:
    placed = with_region(rows, table("ref.region"), "bps_code", rows.bps_code)
    return {"core.proposal": _proposal(placed, table, "kelurahan", "proposal_rw")}


def proposal_kecamatan(rows: ir.Table, table) -> dict[str, ir.Table]:
    placed = with_region(rows, table("ref.region"), "bps_code", rows.bps_code)
    return {"core.proposal": _proposal(placed, table, "kecamatan", "proposal_kelurahan")}


def proposal_city(rows: ir.Table, table) -> dict[str, ir.Table]:
    linked = rows.mutate(unit_record_id=record_of(SOURCE, "unit", rows.unit_number))
    return {"core.proposal": _proposal(linked, table, "kota", "proposal_kecamatan")}


STREAMS = {
    "unit": unit,
    "program": program,
    "activity": activity,
    "rpjmd_program": rpjmd_program,
    "rpjmd_indicator": rpjmd_indicator,
    "rkpd_draft": rkpd_draft,
    "proposal_rw": proposal_rw,
    "proposal_kelurahan": proposal_kelurahan,
    "proposal_kecamatan": proposal_kecamatan,
    "proposal_city": proposal_city,
}

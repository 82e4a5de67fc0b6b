"""Civil registry → persons and households, each with its narrow table of direct identifiers."""

import ibis.expr.types as ir

from transforms.conform import digits3, record_of, with_region

SOURCE = "civil_registry"


def _kelurahan(rows: ir.Table, table) -> ir.Table:
    code = (
        rows.province_number + "." + rows.regency_number + "."
        + rows.district_number.lpad(2, "0") + "." + rows.village_number
    )  # fmt: skip
    return with_region(rows, table("ref.region"), "region_code", code)


def family(rows: ir.Table, table) -> dict[str, ir.Table]:
    placed = _kelurahan(rows, table)
    placed = placed.mutate(rw=digits3(placed.rw), rt=digits3(placed.rt))
    return {"core.household": placed, "core.household_identity": rows}


def resident(rows: ir.Table, table) -> dict[str, ir.Table]:
    placed = _kelurahan(rows, table)
    person = placed.mutate(
        household_record_id=record_of(SOURCE, "family", placed.household_number),
        has_birth_certificate=placed.has_birth_certificate == "yes",
    )
    return {"core.person": person, "core.person_identity": rows}


STREAMS = {"family": family, "resident": resident}

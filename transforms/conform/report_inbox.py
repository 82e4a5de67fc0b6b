"""Inbox → reports, their text and people apart, and every state they went through."""

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from transforms.conform import in_city

STATES = {
    "belum_diverifikasi": "unverified",
    "diverifikasi": "verified",
    "diproses": "in_progress",
    "selesai": "closed",
    "ditolak": "refused",
}
TYPES = {
    "pengaduan": "complaint",
    "aspirasi": "aspiration",
    "permintaan_informasi": "information_request",
}

# Ibis reads the annotation of a built-in as a value; type checkers expect a type there.
HISTORY = dt.Array(dt.Struct({"state": dt.string, "at": dt.string}))


@ibis.udf.scalar.builtin
def json_extract_string(document: str, path: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own."""


@ibis.udf.scalar.builtin(name="json_transform")
def as_history(document: str, shape: str) -> HISTORY:  # type: ignore[valid-type,empty-body]
    """DuckDB's own: JSON to a typed value."""


@ibis.udf.scalar.builtin
def json_extract(document: str, path: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own."""


def _mapped(text: ir.StringValue, codes: dict[str, str]) -> ir.StringValue:
    return text.cases(*codes.items(), else_=ibis.null("string"))


def request(rows: ir.Table, table) -> dict[str, ir.Table]:
    agencies = table("ref.agency").select(known_agency="agency_code")

    def extension(name: str) -> ir.StringValue:
        return json_extract_string(rows.extension, f"$.{name}")

    latitude, longitude = rows.latitude.cast("float64"), rows.longitude.cast("float64")
    report = rows.mutate(
        state=_mapped(extension("lapor_state"), STATES),
        report_type=_mapped(extension("report_type"), TYPES),
        channel=extension("channel"),
        is_anonymous=extension("is_anonymous") == "true",
        is_secret=extension("is_secret") == "true",
        is_open=rows.status == "open",
        latitude=in_city(latitude, longitude, latitude),
        longitude=in_city(latitude, longitude, longitude),
    )
    report = report.left_join(agencies, report.agency_code == agencies.known_agency)
    return {
        "core.report": report.mutate(agency_code=report.known_agency),
        "core.report_identity": rows.mutate(
            reporter_name=extension("reporter_name"), reporter_phone=extension("reporter_phone")
        ),
        "core.report_status": _history(rows),
    }


def _history(rows: ir.Table) -> ir.Table:
    steps = rows.select(
        "source_record_id",
        "flags",
        step=as_history(
            json_extract(rows.extension, "$.history"),
            ibis.literal('[{"state": "VARCHAR", "at": "VARCHAR"}]'),
        ),
    ).unnest("step", offset="place")
    return steps.mutate(
        status_number=(steps.place + 1).cast("int32"),
        state=_mapped(steps.step["state"], STATES),
        reached_at=steps.step["at"].try_cast("timestamp('UTC')").cast("timestamp"),
    )


STREAMS = {"request": request}

"""Camera systems → cameras and what was measured of them. Hosts and streams are never read."""

import ibis.expr.types as ir

from transforms.conform import in_city, record_of

SOURCE = "cctv"


def monitor(rows: ir.Table, table) -> dict[str, ir.Table]:
    agencies = table("ref.agency").select(known_agency="agency_code")
    latitude, longitude = rows.latitude.cast("float64"), rows.longitude.cast("float64")
    camera = rows.mutate(
        latitude=in_city(latitude, longitude, latitude),
        longitude=in_city(latitude, longitude, longitude),
    ).left_join(agencies, rows.owner_agency_code == agencies.known_agency)
    return {"core.camera": camera.mutate(owner_agency_code=camera.known_agency)}


def monitor_status(rows: ir.Table, table) -> dict[str, ir.Table]:
    return {
        "core.camera_status": rows.mutate(
            camera_record_id=record_of(SOURCE, "monitor", rows.camera_number)
        )
    }


STREAMS = {"monitor": monitor, "monitor_status": monitor_status}

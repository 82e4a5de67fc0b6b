"""Tables made for a question, each one Ibis expression over core as it holds tonight."""

from collections.abc import Callable
from datetime import date

import ibis
import ibis.expr.types as ir

from transforms import TableByName, now

# A camera state older than this says nothing about now.
CAMERA_STALE_HOURS = 24


def resident_count(table: TableByName, today: date) -> ir.Table:
    person = now(table("core.person"))
    residents = person.filter(person.status == "resident")
    age = ibis.literal(today).delta(residents.birth_date, unit="year")
    birthday_to_come = (residents.birth_date.month() * 100 + residents.birth_date.day()) > (
        today.month * 100 + today.day
    )
    years = age - birthday_to_come.cast("int64")
    floor = ibis.least((years / 5).floor().cast("int64") * 5, 75)
    group = (floor >= 75).ifelse(
        "75+",
        floor.cast("string").lpad(2, "0") + "-" + (floor + 4).cast("string").lpad(2, "0"),
    )
    return (
        residents.mutate(age_group=group)
        .group_by("region_code", "sex", "age_group")
        .agg(residents=ibis._.count())
    )


def report_month(table: TableByName, today: date) -> ir.Table:
    report = now(table("core.report"))
    # Months are the city's, the timestamps are UTC: Western Indonesian Time is UTC+7 all year.
    local = report.requested_at + ibis.interval(hours=7)
    return (
        report.mutate(month=local.truncate("month").date())
        .group_by("month", "category_name", "agency_code", "state")
        .agg(reports=ibis._.count())
    )


def birth_month(table: TableByName, today: date) -> ir.Table:
    def monthly(name: str, **counts: ir.Value) -> ir.Table:
        rows = now(table(name))
        rows = rows.filter(rows.birth_date.notnull())
        return rows.mutate(month=rows.birth_date.truncate("month")).group_by("month").agg(**counts)

    late = ibis._.is_late.fill_null(False).sum()
    reports = monthly("core.birth_report", reports=ibis._.count(), late_reports=late)
    notices = monthly("core.birth_notice", notices=ibis._.count())
    certificates = monthly("core.birth_certificate", certificates=ibis._.count())
    months = ibis.union(
        reports.select("month"), notices.select("month"), certificates.select("month"),
        distinct=True,
    )  # fmt: skip
    joined = (
        months.left_join(reports, "month", rname="r_{name}")
        .left_join(notices, "month", rname="n_{name}")
        .left_join(certificates, "month", rname="c_{name}")
    )
    counts = ("reports", "late_reports", "notices", "certificates")
    return joined.select("month", **{name: joined[name].fill_null(0) for name in counts})


def birth_state(table: TableByName, today: date) -> ir.Table:
    case = table("core.birth_case")
    days = ibis.literal(today).delta(case.since, unit="day")
    waiting = ibis.cases(
        (days < 14, "0-13"), (days < 60, "14-59"), (days < 365, "60-364"), (days >= 365, "365+")
    )
    return case.mutate(waiting=waiting).group_by("state", "waiting").agg(children=ibis._.count())


def proposal_year(table: TableByName, today: date) -> ir.Table:
    return (
        now(table("core.proposal"))
        .group_by("proposal_year", "level", "region_code", "state")
        .agg(proposals=ibis._.count(), amount_idr=ibis._.amount_idr.sum())
    )


def camera_owner(table: TableByName, today: date) -> ir.Table:
    camera, status = now(table("core.camera")), now(table("core.camera_status"))
    joined = camera.left_join(status, camera.source_record_id == status.camera_record_id)
    limit = ibis.timestamp(f"{today} 00:00:00") - ibis.interval(hours=CAMERA_STALE_HOURS)
    fresh = joined.measured_at >= limit
    return (
        joined.mutate(state=fresh.fill_null(False).ifelse(joined.state, "unknown"))
        .group_by("owner_agency_code", "state")
        .agg(cameras=ibis._.count())
    )


MARTS: dict[str, Callable[[TableByName, date], ir.Table]] = {
    "mart.resident_count": resident_count,
    "mart.report_month": report_month,
    "mart.birth_month": birth_month,
    "mart.birth_state": birth_state,
    "mart.proposal_year": proposal_year,
    "mart.camera_owner": camera_owner,
}

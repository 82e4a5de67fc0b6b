"""A child's way from the birth to the register: notice of the hospital, report, certificate, row of
the registry, joined by who the child is; and what speaks against a case.

Hospitals stopped sending, and many children "have a certificate that was never recorded" (what
became of Brojol Aja Klalen in 2018): a state is what is on record, and a claim is one of its own.
"""

import ibis
import ibis.expr.types as ir

from transforms import TableByName, now
from transforms.reporting import with_limit

SAME_BIRTH_DAYS = 2
"""Children of one mother born at most so many days apart are of one birth (assumed)."""
NEXT_BIRTH_DAYS = 270
"""No mother gives birth again within nine months."""
SINGLE = ("single", "tunggal")
KINDS = ("notice", "report", "certificate", "resident")


def birth_cases(table: TableByName) -> ir.Table:
    """core.person_mention, the golden records, core.person and the birth tables as they hold →
    core.birth_case: every child of whom a notice, a report or a certificate speaks, and every
    resident born since the first birth that was reported."""
    step = _steps(table)
    step = step.mutate(
        place=ibis.row_number().over(
            group_by=[step.person_id, step.kind],
            order_by=[ibis.desc(step.day, nulls_first=False), step.source_record_id],
        )
    )
    first = step.filter(step.place == 0)

    def of(kind: str, value: ir.Value) -> ir.Value:
        return value.max(where=first.kind == kind)

    case = first.group_by("person_id").agg(
        **{f"{kind}_record_id": first.source_record_id.argmin(first.place, where=first.kind == kind)
           for kind in KINDS},
        **{f"{kind}_day": of(kind, first.day)
           for kind in KINDS},
        is_refused=first.state.max(where=first.kind == "report") == "refused",
        resident_claims=of("resident", first.claims).fill_null(False),
        report_claims=of("report", first.claims).fill_null(False),
        is_single=first.birth_kind.isin(SINGLE).any(),
        is_of_several=(first.birth_kind.notnull() & first.birth_kind.notin(SINGLE)).any(),
    )  # fmt: skip
    golden, who = table("core.golden_record"), table("core.golden_record_identity")
    case = case.inner_join(golden.select("person_id", "birth_date"), "person_id")
    case = case.inner_join(who.select("person_id", "mother_nik"), "person_id")
    case = _with_mother(case, table)
    case = with_limit(case, "birth_date", table("ref.reporting_limit"), "birth")
    return _with_doubts(_with_state(case))


def _steps(table: TableByName) -> ir.Table:
    """person_id, source_record_id, kind (notice, report, certificate, resident), day, state,
    claims (it says that a certificate exists), birth_kind."""
    holds = now(table("core.person_mention"))
    notice, report = now(table("core.birth_notice")), now(table("core.birth_report"))
    certificate, resident = now(table("core.birth_certificate")), now(table("core.person"))
    recent = resident.filter(resident.birth_date >= report.birth_date.min().as_scalar())
    said = [
        ("child", notice, "notice", notice.notice_date, None, None, notice.birth_kind),
        ("child", report, "report", report.reported_at, report.state, report.state == "issued",
         report.birth_kind),
        ("child", certificate, "certificate", certificate.issued_date, None, None, None),
        ("resident", recent, "resident", recent.registered_at, None, recent.has_birth_certificate,
         None),
    ]  # fmt: skip
    steps = ibis.union(
        *(
            rows.select(
                "source_record_id",
                role=ibis.literal(role),
                kind=ibis.literal(kind),
                day=day.cast("date"),
                state=ibis.null("string") if state is None else state,
                claims=ibis.null("boolean") if claims is None else claims,
                birth_kind=ibis.null("string") if birth_kind is None else birth_kind,
            )
            for role, rows, kind, day, state, claims, birth_kind in said
        )
    )
    return steps.inner_join(
        holds.select("source_record_id", "role", "person_id"), ["source_record_id", "role"]
    ).drop("role")


def _with_mother(case: ir.Table, table: TableByName) -> ir.Table:
    """Adds mother_person_id, is_mother_known (to the registry) and mothers (how many persons the
    records name): whom the child's records speak of as mother, else whose NIK the registry has
    beside the child."""
    holds = now(table("core.person_mention"))
    child = holds.filter(holds.role == "child").select("source_record_id", "person_id")
    mother = holds.filter(holds.role == "mother").select("source_record_id", mother="person_id")
    named = child.inner_join(mother, "source_record_id")
    named = named.group_by("person_id").agg(
        mother=named.mother.argmin(named.source_record_id), mothers=named.mother.nunique()
    )
    golden, who = table("core.golden_record"), table("core.golden_record_identity")
    known = golden.filter(golden.status != "unregistered").select("person_id", "source_record_id")
    case = case.left_join(named, "person_id").drop("person_id_right")
    numbered = who.filter(who.nik.notnull()).select(mother_nik="nik", bearer="person_id")
    case = case.left_join(numbered, "mother_nik").drop("mother_nik_right")
    case = case.left_join(known.select(bearer="person_id"), "bearer")
    of_child = ibis.window(group_by="person_id")
    bearers = case.bearer_right.count().over(of_child)
    case = case.mutate(
        by_nik=(bearers == 1).ifelse(case.bearer_right.max().over(of_child), None),
        place=ibis.row_number().over(of_child),
    )
    case = case.filter(case.place == 0).drop("bearer", "bearer_right", "place")
    case = case.mutate(mother_person_id=case.mother.coalesce(case.by_nik))
    registered = known.select(registered="person_id")
    case = case.left_join(registered, case.mother_person_id == registered.registered)
    return case.mutate(is_mother_known=case.registered.notnull())


def _with_state(case: ir.Table) -> ir.Table:
    is_claimed = case.certificate_record_id.isnull() & (case.resident_claims | case.report_claims)
    state = ibis.cases(
        (is_claimed, "claimed"),
        (case.resident_record_id.notnull(), "in_register"),
        (case.certificate_record_id.notnull(), "certified"),
        (case.report_record_id.notnull() & case.is_refused, "refused"),
        (case.report_record_id.notnull(), "reported"),
        else_="noticed",
    )
    case = case.mutate(state=state)
    claimed_on = case.resident_claims.ifelse(case.resident_day, case.report_day)
    since = case.state.cases(
        ("claimed", claimed_on),
        ("in_register", case.resident_day),
        ("certified", case.certificate_day),
        ("noticed", case.notice_day),
        else_=case.report_day,
    )
    unreported = case.state == "noticed"
    late_from = (case.birth_date + (case.limit_days + 1).as_interval("D")).cast("date")
    return case.mutate(since=since, late_from=unreported.ifelse(late_from, ibis.null("date")))


def _with_doubts(case: ir.Table) -> ir.Table:
    """core.birth_case, with what speaks against each: other children of the same mother, and what
    is not known of her."""
    of_known = case.mother_person_id.notnull() & case.birth_date.notnull()

    def siblings(days: int) -> ir.Value:
        """How many children of the mother were born at most so many days before or after."""
        around = ibis.range_window(
            preceding=ibis.interval(days=days),
            following=ibis.interval(days=days),
            group_by=case.mother_person_id,
            order_by=case.birth_date,
        )
        return of_known.ifelse(case.count().over(around) - 1, 0)

    of_one_birth = siblings(SAME_BIRTH_DAYS)
    is_twin, is_too_soon = of_one_birth > 0, siblings(NEXT_BIRTH_DAYS - 1) > of_one_birth
    nobody = case.mother_person_id.isnull() & case.mother_nik.isnull()
    doubts = {
        "mother_missing": nobody,
        "mother_unknown": ~nobody & ~case.is_mother_known,
        "mothers_differ": (case.mothers > 1).fill_null(False),
        "siblings_within_nine_months": is_too_soon,
        "twins_said_single": is_twin & case.is_single,
        "twin_missing": ~is_twin & case.is_of_several,
    }
    said = ibis.array(
        [broken.ifelse(name, ibis.null("string")) for name, broken in doubts.items()]
    ).filter(lambda name: name.notnull())
    return case.mutate(doubts=said).select(
        "person_id", "mother_person_id", "birth_date", "state", "since", "late_from",
        "notice_record_id", "report_record_id", "certificate_record_id", "resident_record_id",
        "doubts",
    )  # fmt: skip

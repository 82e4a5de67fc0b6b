"""Inbox → reports, their text and people apart, and every state they went through.

Reports come as requests of the inbox itself, by mail and by SMS. What each channel brought is one
row of `core.report_record`; `core.report` has one row per report, however often it was sent. A
record repeats another one when the sender is the same (phone or e-mail), the numbers in both texts
are the same, nearly all their words are, and they are at most some days apart: `ref.same_report`.
Two requests of the inbox are never one: each has a number and a state of its own.
"""

from collections.abc import Callable

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from transforms import TableByName, now
from transforms.conform import in_city
from transforms.standardise.senders import email, phone
from transforms.standardise.typed import clean, moment
from warehouse.merge import Gathered

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
PARTS_WITHIN_HOURS = 24  # a phone counts its messages to 255 and begins again (assumed)
NEIGHBOURS = 50  # so many records of a sender before and after are compared with one
HOURS_BEFORE_UTC = 7  # Western Indonesian Time, all year

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


def request(rows: ir.Table, table: TableByName) -> dict[str, ir.Table | Gathered]:
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
        is_complete=True,
    )
    report = report.left_join(agencies, report.agency_code == agencies.known_agency)
    return {
        "core.report_record": report.mutate(agency_code=report.known_agency),
        "core.report_identity": rows.mutate(
            reporter_name=extension("reporter_name"),
            reporter_phone=extension("reporter_phone"),
            sender_phone=phone(extension("reporter_phone")),
            sender_email=email(extension("reporter_email")),
        ),
        "core.report_status": _history(rows),
        **one_report(table, lambda changed: changed),
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
        reached_at=moment(clean(steps.step["at"])),
    )


def mail(rows: ir.Table, table: TableByName) -> dict[str, ir.Table | Gathered]:
    """A mail is a report nobody verified yet: what the inbox knows of it comes with its number."""
    return {
        "core.report_record": rows.mutate(**_unverified("email", rows.sent_at)),
        "core.report_identity": rows.mutate(
            **_nothing("report_number", "answer", "address", "reporter_phone", "sender_phone"),
            description=ibis.coalesce(rows.text, rows.subject),
            reporter_name=rows.sender_name,
            sender_email=email(rows.sender_address),
        ),
        **one_report(table, lambda changed: changed),
    }


def sms(rows: ir.Table, table: TableByName) -> dict[str, ir.Table | Gathered]:
    """One row is one part; a message is gathered from its parts, whenever they arrive."""

    def hexadecimal(text: ir.StringValue) -> ir.IntegerValue:
        return ("0x" + text).try_cast("int32")

    messages = _messages(table)
    return {
        "core.report_part": rows.mutate(
            text=rows.text_sent,  # a blank at its end may stand between two words
            received_at=rows.received_at - ibis.interval(hours=HOURS_BEFORE_UTC),
            part_total=hexadecimal(rows.part_total),
            part_number=hexadecimal(rows.part_number),
        ),
        "core.report_record": Gathered(
            messages.touched,
            lambda touched: (found := messages.rows(touched)).mutate(
                **_unverified("sms", found.received_at)
            ),
        ),
        "core.report_identity": Gathered(
            messages.touched,
            lambda touched: (found := messages.rows(touched)).mutate(
                **_nothing("report_number", "answer", "reporter_name", "sender_email"),
                reporter_phone=found.sender_number,
                sender_phone=phone(found.sender_number),
            ),
        ),
        **one_report(table, messages.touched),
    }


def _unverified(channel: str, at: ir.TimestampValue) -> dict[str, ir.Value]:
    texts = ("category_code", "category_name", "report_type", "agency_code")
    return {
        **_nothing(*texts),
        "channel": ibis.literal(channel),
        "state": ibis.literal("unverified"),
        "is_open": ibis.literal(True),
        "requested_at": at,
        "updated_at": ibis.null("timestamp"),
        "expected_at": ibis.null("timestamp"),
        "latitude": ibis.null("float64"),
        "longitude": ibis.null("float64"),
        "is_anonymous": ibis.null("boolean"),
        "is_secret": ibis.null("boolean"),
    } | ({"is_complete": ibis.literal(True)} if channel == "email" else {})


def _nothing(*names: str) -> dict[str, ir.Value]:
    return dict.fromkeys(names, ibis.null("string"))


def _messages(table: TableByName) -> Gathered:
    """SMS of one sender with one reference, received within a day: the parts of one message. The
    record of a message is that of its first part that arrived."""

    def touched(changed: ir.Table) -> ir.Table:
        series = ("sender_number", "reference", "part_total")
        part = table("core.report_part")
        mine = part.semi_join(changed, "source_record_id").filter(part.reference.notnull())
        same = now(part).semi_join(mine, series).select("source_record_id")
        return ibis.union(changed.select("source_record_id"), same, distinct=True)

    def rows(touched: ir.Table) -> ir.Table:
        part = now(table("core.report_part")).semi_join(touched, "source_record_id")
        single = part.source_record_id.cast("string")
        several = part.sender_number + "|" + part.reference + "|" + part.part_total.cast("string")
        part = part.mutate(
            series=ibis.coalesce(several, single),
            part_number=part.part_number.fill_null(1),
            part_total=part.part_total.fill_null(1),
        )
        in_time = ibis.window(group_by="series", order_by=[part.received_at, part.source_record_id])
        part = part.mutate(before=part.received_at.lag().over(in_time))
        pause = part.before + ibis.interval(hours=PARTS_WITHIN_HOURS) < part.received_at
        part = part.mutate(
            stretch=pause.fill_null(False)
            .cast("int64")
            .sum()
            .over(
                ibis.window(
                    group_by="series",
                    order_by=[part.received_at, part.source_record_id],
                    preceding=None,
                    following=0,
                )
            )
        )
        again = ibis.window(
            group_by=["series", "stretch", "part_number"],
            order_by=[part.received_at, part.source_record_id],
        )
        part = part.mutate(
            turn=ibis.row_number().over(again),
            said=(part.part_number == 1).ifelse(
                ibis.coalesce(part.report_text, part.text), part.text
            ),
        )
        found = part.group_by("series", "stretch", "turn").agg(
            source_record_id=part.source_record_id.argmin(part.part_number),
            description=part.said.group_concat(sep="", order_by=part.part_number),
            address=part.place.argmin(part.part_number),
            sender_number=part.sender_number.arbitrary(),
            received_at=part.received_at.min(),
            is_complete=part.count() == part.part_total.max(),
            flags=part.flags.collect(),
            source=part.source.arbitrary(),
            stream=part.stream.arbitrary(),
        )
        return found.mutate(flags=found.flags.flatten().unique().sort())

    return Gathered(touched, rows)


def one_report(
    table: TableByName, records: Callable[[ir.Table], ir.Table]
) -> dict[str, ir.Table | Gathered]:
    """Which records are one report, of all that may share it with what changed. `records`: changed
    rows → the records of `core.report_record` that they made or unmade."""

    def touched(changed: ir.Table) -> ir.Table:
        changed = records(changed).select("source_record_id")
        origin = now(table("core.report_source"))
        reports = origin.semi_join(changed, "source_record_id").select("report_record_id")
        together = origin.semi_join(reports, "report_record_id").select("source_record_id")
        changed = ibis.union(changed, together, distinct=True)
        who = table("core.report_identity")  # with what it was before
        mine = who.semi_join(changed, "source_record_id")
        known = now(who).semi_join(
            now(table("core.report_record")).select("source_record_id"), "source_record_id"
        )
        same = [
            known.semi_join(mine.filter(mine[key].notnull()), key).select("source_record_id")
            for key in ("sender_phone", "sender_email")
        ]
        return ibis.union(changed, *same, distinct=True)

    def sources(touched: ir.Table) -> ir.Table:
        record = now(table("core.report_record")).semi_join(touched, "source_record_id")
        first = _first(table, touched)
        up = first.select(source_record_id="source_record_id", up="repeats_record_id")
        for _ in range(2):  # at most four steps
            above = up.select(middle="source_record_id", top="up")
            up = up.left_join(above, up.up == above.middle).select(
                "source_record_id", up=lambda row: ibis.coalesce(row.top, row.up)
            )
        up = up.select(known_record="source_record_id", report_record_id="up")
        linked = record.left_join(first.drop("requested_at"), "source_record_id")
        linked = linked.left_join(up, linked.source_record_id == up.known_record)
        return linked.mutate(
            report_record_id=ibis.coalesce(linked.report_record_id, linked.source_record_id)
        )

    def reports(touched: ir.Table) -> ir.Table:
        record = now(table("core.report_record"))
        origin = now(table("core.report_source")).semi_join(touched, "source_record_id")
        counted = origin.group_by("report_record_id").agg(record_count=ibis._.count().cast("int32"))
        joined = record.join(counted, record.source_record_id == counted.report_record_id)
        return joined

    return {
        "core.report_source": Gathered(touched, sources),
        "core.report": Gathered(touched, reports),
    }


def _first(table: TableByName, touched: ir.Table) -> ir.Table:
    """Of each record that repeats another one: the earliest it repeats, a request of the inbox
    before all others."""
    who = now(table("core.report_identity")).semi_join(touched, "source_record_id")
    record = now(table("core.report_record")).select("source_record_id", "requested_at")
    known = who.join(record, "source_record_id")
    words = (
        known.description.lower()
        .re_replace(r"[^\p{L}\p{N}]+", " ")
        .strip()
        .split(" ")
        .unique()
        .sort()
    )
    said = known.select(
        "source_record_id",
        "requested_at",
        "sender_phone",
        "sender_email",
        is_numbered=known.report_number.notnull(),
        words=words,
        numbers=words.filter(lambda word: word.re_search("^[0-9]+$")),
    ).filter(ibis._.requested_at.notnull(), ibis._.words.length() > 0)
    of_sender = [
        said.filter(said[key].notnull()).select(
            "source_record_id", "requested_at", "is_numbered", "words", "numbers",
            sender=said[key], known_by=ibis.literal(known_by),
        )
        for key, known_by in (("sender_phone", "phone"), ("sender_email", "email"))
    ]  # fmt: skip
    each = ibis.union(*of_sender)
    in_time = ibis.window(group_by="sender", order_by=[each.requested_at, each.source_record_id])
    later = each.mutate(place=ibis.row_number().over(in_time))
    other = later.select(**{f"first_{name}": later[name] for name in later.columns})
    rule = table("ref.same_report")
    pair = later.join(
        other,
        [
            later.sender == other.first_sender,
            later.source_record_id != other.first_source_record_id,
            ~later.is_numbered,
            (later.place - other.first_place).abs() <= NEIGHBOURS,
            other.first_is_numbered | (later.place > other.first_place),
            later.numbers == other.first_numbers,
        ],
    ).cross_join(rule)
    seconds = pair.requested_at.delta(pair.first_requested_at, unit="second").abs()
    common = pair.words.intersect(pair.first_words).length()
    pair = pair.mutate(
        days_apart=(seconds / 86400.0).round(3),
        shared=common / (pair.words.length() + pair.first_words.length() - common),
    )
    pair = pair.filter(pair.days_apart <= pair.days, pair.shared >= pair.common_words)
    best = ibis.window(
        group_by="source_record_id",
        order_by=[
            pair.first_is_numbered.desc(),
            pair.first_requested_at,
            pair.first_source_record_id,
            pair.known_by,
        ],
    )
    ranked = pair.mutate(rank=ibis.row_number().over(best))
    return ranked.filter(ranked["rank"] == 0).select(
        "source_record_id", "requested_at", "known_by", "days_apart",
        repeats_record_id="first_source_record_id", common_words=ranked.shared.round(3),
    )  # fmt: skip


STREAMS = {"request": request, "mail": mail, "sms": sms}

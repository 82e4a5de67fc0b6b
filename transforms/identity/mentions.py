"""Who is spoken of: every record of every source that names a person, in one shape to compare.

`mentions(table, today)`: core tables → one row per person and record,
- `mention_id` (text: record and role), `source_record_id`, `role` (resident, book, child, mother,
  father, reporter),
- what identifies: `nik`, `name`, `words`, `sound`, `birth_date`, `day` (day and month in either
  order), `sex`, `town`, `household_number`, `address`, `phone`,
- who belongs to the person: `mother_nik`, `mother_sound`, `father_nik`, `father_sound`,
  `partner_nik`, `birth_time` (of a child),
- `believed_from`: a birth date that lies ahead,
- what else is known: `person_name`, `birth_place`, `mother_name`, `father_name` and `home_address`
  as written, `region_code`, `status`, `said_in` (core table), `said_at` (by the source, else the
  night it came), `batch_id` (the newest that changed the record).
What identifies is standardised (`transforms/standardise`); what says nothing is NULL.
"""

from collections.abc import Iterable

import ibis
import ibis.expr.types as ir

from transforms import TableByName, now
from transforms.standardise import addresses, birth_dates, names, nik, places, senders

COLUMNS = {
    "source_record_id": "uuid",
    "role": "string",
    "nik": "string",
    "name": "string",
    "birth_date": "date",
    "sex": "string",
    "town": "string",
    "household_number": "string",
    "address": "string",
    "mother_nik": "string",
    "mother_name": "string",
    "father_nik": "string",
    "father_name": "string",
    "partner_nik": "string",
    "birth_time": "string",
    "phone": "string",
    "region_code": "string",
    "status": "string",
    "said_in": "string",
    "said_at": "timestamp",
    "batch_id": "int64",
}
COMPARED = (
    "nik",
    "name",
    "words",
    "sound",
    "birth_date",
    "day",
    "sex",
    "town",
    "household_number",
    "address",
    "phone",
    "mother_nik",
    "mother_sound",
    "father_nik",
    "father_sound",
    "partner_nik",
    "birth_time",
)
"""What decides who it is; the rest only tells of it."""
REGISTRY = "resident"
HOMES = ("core.household", "core.household_identity")
"""Core tables that speak of no person, and say where residents live."""
HEAD_AND_SPOUSE = ("1", "2", "3")
OTHERS = ("book_resident", "birth_report", "birth_certificate", "birth_notice")
"""Core tables that speak of people, beside registry and inbox; each has a narrow one of
identifiers."""
SPEAKING = (
    *(f"core.{name}{part}" for name in ("person", *OTHERS) for part in ("", "_identity")),
    "core.report_identity",
)
"""Core tables that speak of people."""
NAMED = ("mother", "father", "reporter")
"""Roles in which a record speaks of nobody when it says neither a name nor a number."""


def mentions(table: TableByName, today: ir.DateValue) -> ir.Table:
    """All mentions as core holds them tonight."""
    return standardised(as_written(table), today)


def mentions_of(records: ir.Table, table: TableByName, today: ir.DateValue) -> ir.Table:
    """The mentions of these records (source_record_id)."""

    def of_records(name: str) -> ir.Table:
        rows = table(name)
        return rows if name in HOMES else rows.semi_join(records, "source_record_id")

    return mentions(of_records, today)


def as_written(table: TableByName) -> ir.Table:
    """The same before anything is standardised, in the shape of COLUMNS."""
    return ibis.union(
        _residents(table), _books(table), *_reported(table), *_certified(table), *_notices(table),
        _reporters(table),
    )  # fmt: skip


def renewed(table: TableByName, seen: ir.IntegerValue) -> ir.Table:
    """source_record_id: records that batches later than `seen` brought, changed or took away, and
    residents of such a household; any other has the mentions it had."""

    def of(names: Iterable[str]) -> ir.Table:
        return ibis.union(
            *(
                rows.filter(rows[batch] > seen).select("source_record_id")
                for rows in map(table, names)
                for batch in ("batch_id", "closed_batch_id")
            )
        )

    resident, homes = now(table("core.person")), of(HOMES)
    housed = resident.semi_join(homes, resident.household_record_id == homes.source_record_id)
    return of(SPEAKING).union(housed.select("source_record_id"))


def couples(table: TableByName) -> ir.Table:
    """source_record_id, household_number: residents tonight of whom one may be another's
    partner."""
    return _couples(_joined(table, "person")).select("source_record_id", "household_number")


def _couples(person: ir.Table) -> ir.Table:
    return person.filter(person.family_role_code.isin(HEAD_AND_SPOUSE))


def _joined(table: TableByName, name: str, at: str = "valid_from") -> ir.Table:
    """A core table and its narrow one of direct identifiers, as they hold now, with what said it
    and when: in column `at`, else the night it came."""
    rows, who = now(table(f"core.{name}")), now(table(f"core.{name}_identity"))
    own = [one for one in who.columns if one not in rows.columns]
    both = rows.inner_join(
        who.select("source_record_id", *own, named_by="batch_id"), "source_record_id"
    )
    both = both.mutate(batch_id=ibis.greatest(both.batch_id, both.named_by))
    return _said(both, f"core.{name}", both[at])


def _with_home(person: ir.Table, table: TableByName) -> ir.Table:
    """Residents with the `address` of their household; its batches are theirs."""
    home = _joined(table, "household")
    home = home.select(
        household_record_id="source_record_id", address=_address(home), housed_by="batch_id"
    )
    housed = person.left_join(home, "household_record_id").drop("household_record_id_right")
    return housed.mutate(batch_id=ibis.greatest(housed.batch_id, housed.housed_by.fill_null(0)))


def _address(rows: ir.Table) -> ir.StringValue:
    """Street, RT and RW, which stand in columns of their own, in one text."""
    return rows.address + " RT " + rows.rt + " RW " + rows.rw


def _said(rows: ir.Table, said_in: str, at: ir.Value) -> ir.Table:
    came = rows.valid_from.cast("timestamp")
    return rows.mutate(said_in=ibis.literal(said_in), said_at=at.cast("timestamp").coalesce(came))


def _mention(rows: ir.Table, role: str, **said: ir.Value) -> ir.Table:
    """Rows in the shape of COLUMNS; what is not said is NULL."""
    values = {
        "source_record_id": rows.source_record_id,
        "role": ibis.literal(role),
        "said_in": rows.said_in,
        "said_at": rows.said_at,
        "batch_id": rows.batch_id,
        **said,
    }
    return rows.select(
        **{
            name: values[name].cast(kind) if name in values else ibis.null(kind)
            for name, kind in COLUMNS.items()
        }
    )


def _residents(table: TableByName) -> ir.Table:
    person = _with_home(_joined(table, "person"), table)
    person = person.mutate(
        said_at=ibis.coalesce(person.changed_at, person.registered_at, person.said_at)
    )
    couple = _couples(person)
    other = couple.select(
        "household_number", other_sex="sex", other_nik="nik", other_record="source_record_id"
    )
    partners = couple.inner_join(other, "household_number").filter(
        lambda pair: pair.sex != pair.other_sex
    )
    partner = partners.group_by("source_record_id").agg(partner_nik=partners.other_nik.min())
    person = person.left_join(partner, "source_record_id")
    return _mention(
        person,
        REGISTRY,
        region_code=person.region_code,
        status=person.status,
        nik=person.nik,
        name=person.person_name,
        birth_date=person.birth_date,
        sex=person.sex,
        town=person.birth_place,
        household_number=person.household_number,
        address=person.address,
        mother_nik=person.mother_nik,
        mother_name=person.mother_name,
        father_nik=person.father_nik,
        father_name=person.father_name,
        partner_nik=person.partner_nik,
    )


def _books(table: TableByName) -> ir.Table:
    book = _joined(table, "book_resident")
    return _mention(
        book,
        "book",
        region_code=book.region_code,
        nik=book.nik,
        name=book.person_name,
        birth_date=book.birth_date,
        sex=book.sex,
        town=book.birth_place,
        household_number=book.household_number,
        address=_address(book),
        mother_nik=book.mother_nik,
        mother_name=book.mother_name,
        father_nik=book.father_nik,
        father_name=book.father_name,
    )


def _reported(table: TableByName) -> list[ir.Table]:
    birth = _joined(table, "birth_report", "updated_at")
    by_parent = birth.reporter_kind == "parent"
    phone = {
        side: (by_parent & (birth.reporter_nik == birth[f"{side}_nik"])).ifelse(
            birth.reporter_phone, ibis.null("string")
        )
        for side in ("mother", "father")
    }
    return [
        _mention(
            birth,
            "child",
            name=birth.child_name,
            birth_date=birth.birth_date,
            sex=birth.sex,
            town=birth.birth_town,
            mother_nik=birth.mother_nik,
            mother_name=birth.mother_name,
            father_nik=birth.father_nik,
            father_name=birth.father_name,
            birth_time=birth.birth_time,
        ),
        _mention(
            birth,
            "mother",
            nik=birth.mother_nik,
            name=birth.mother_name,
            birth_date=birth.mother_birth_date,
            sex=ibis.literal("female"),
            partner_nik=birth.father_nik,
            phone=phone["mother"],
        ),
        _mention(
            birth,
            "father",
            nik=birth.father_nik,
            name=birth.father_name,
            birth_date=birth.father_birth_date,
            sex=ibis.literal("male"),
            partner_nik=birth.mother_nik,
            phone=phone["father"],
        ),
    ]


def _certified(table: TableByName) -> list[ir.Table]:
    certificate = _joined(table, "birth_certificate", "created_at")
    return [
        _mention(
            certificate,
            "child",
            nik=certificate.child_nik,
            name=certificate.child_name,
            birth_date=certificate.birth_date,
            sex=certificate.sex,
            mother_nik=certificate.mother_nik,
        ),
        _mention(
            certificate,
            "mother",
            nik=certificate.mother_nik,
            sex=ibis.literal("female"),
        ),
    ]


def _notices(table: TableByName) -> list[ir.Table]:
    notice = _joined(table, "birth_notice", "notice_date")
    return [
        _mention(
            notice,
            "child",
            birth_date=notice.birth_date,
            sex=notice.sex,
            mother_nik=notice.mother_nik,
            mother_name=notice.mother_name,
            father_name=notice.father_name,
            birth_time=notice.birth_time,
            address=notice.address,
        ),
        _mention(
            notice,
            "mother",
            nik=notice.mother_nik,
            name=notice.mother_name,
            sex=ibis.literal("female"),
            address=notice.address,
        ),
        _mention(
            notice,
            "father",
            name=notice.father_name,
            sex=ibis.literal("male"),
            partner_nik=notice.mother_nik,
            address=notice.address,
        ),
    ]


def _named_reports(table: TableByName) -> ir.Table:
    report = now(table("core.report_identity")).filter(lambda row: row.reporter_name.notnull())
    return _said(report, "core.report_identity", report.valid_from)


def _reporters(table: TableByName) -> ir.Table:
    report = _named_reports(table)
    return _mention(report, "reporter", name=report.reporter_name, phone=report.sender_phone)


def standardised(spoken: ir.Table, today: ir.DateValue) -> ir.Table:
    """Mentions as written (COLUMNS) → as they are compared."""
    for column in ("name", "mother_name", "father_name"):
        spoken = spoken.left_join(_spelt(spoken, column), column).drop(f"{column}_right")
    placed = _written(spoken, "address")
    placed = placed.mutate(address_standard=addresses.standard(placed.address))
    spoken = spoken.left_join(placed, "address").drop("address_right")
    numbers = {
        name: nik.whole(spoken[name]) for name in ("nik", "mother_nik", "father_nik", "partner_nik")
    }
    named = spoken.name_standard.notnull()
    born = birth_dates.believable(spoken.birth_date, today)
    made = spoken.select(
        "source_record_id", "role", "sex", "birth_time", "region_code", "status", "said_in",
        "said_at", "batch_id", "mother_name", "father_name",
        mention_id=spoken.role + ":" + spoken.source_record_id.cast("string"),
        **numbers,
        name=spoken.name_standard,
        words=spoken.name_standard.split(" "),
        sound=spoken.name_sound,
        person_name=named.ifelse(spoken.name, ibis.null("string")),
        mother_sound=spoken.mother_name_sound,
        father_sound=spoken.father_name_sound,
        birth_date=born,
        believed_from=(spoken.birth_date > today).ifelse(spoken.birth_date, ibis.null("date")),
        day=birth_dates.day(born),
        town=places.town(spoken.town),
        birth_place=spoken.town,
        household_number=nik.digits(spoken.household_number),
        address=spoken.address_standard,
        home_address=spoken.address,
        phone=senders.phone(spoken.phone),
    )  # fmt: skip
    return made.filter(made.role.notin(NAMED) | made.nik.notnull() | made.name.notnull())


def _spelt(spoken: ir.Table, column: str) -> ir.Table:
    """Each name that the column has: the column, and with `_standard` and `_sound` behind."""
    written = _written(spoken, column)
    standard = written.mutate(**{f"{column}_standard": names.standard(written[column])})
    return standard.mutate(**{f"{column}_sound": names.sound(standard[f"{column}_standard"])})


def _written(spoken: ir.Table, column: str) -> ir.Table:
    """Each value of the column once, for many people share one."""
    return spoken.select(column).filter(spoken[column].notnull()).distinct()

"""Survivorship, as tables of what the records of one person say and what is kept."""

from datetime import datetime

import ibis
import pytest

from transforms.identity import golden
from transforms.identity.mentions import COLUMNS

PERSON = 7
ATTRIBUTES = (*golden.OPEN, *golden.DIRECT)
MENTION = {"mention_id": "string", "status": "string", "said_in": "string", "said_at": "timestamp",
           **dict.fromkeys(ATTRIBUTES, "string"), "source_record_id": "int64", "role": "string",
           "birth_date": "date"}  # fmt: skip
IN = {
    "resident": "core.person",
    "child": "core.birth_certificate",
    "mother": "core.birth_report",
    "book": "core.book_resident",
    "reporter": "core.report_identity",
}


def record(number, role, year=2026, **said):
    return {
        **dict.fromkeys(MENTION),
        "mention_id": f"{role}:{number}",
        "source_record_id": number,
        "role": role,
        "said_in": IN[role],
        "said_at": datetime(year, 1, 1),
        **said,
    }


def golden_of(*records):
    """The golden record, and attribute → number of the record that another than the first gives."""
    mention = ibis.memtable(list(records), schema=MENTION)
    holds = ibis.memtable(
        [{**{name: one[name] for name in ("source_record_id", "role")}, "person_id": PERSON}
         for one in records],
        schema={"source_record_id": "int64", "role": "string", "person_id": "int64"},
    )  # fmt: skip
    claim = golden.claims(mention, holds)
    (made,) = golden.golden(claim).to_pyarrow().to_pylist()
    origins = golden.origins(claim).to_pyarrow().to_pylist()
    return made, {one["attribute"]: one["source_record_id"] for one in origins}


def test_a_mention_has_all_that_is_asked_of_it():
    assert {"region_code", "status", "said_in", "said_at", "phone"} <= set(COLUMNS)


def test_the_registry_leads_and_others_fill_what_it_does_not_say():
    made, origins = golden_of(
        record(
            1, "book", person_name="SITI A.", birth_place="CIREBON", region_code="32.74.01.1001"
        ),
        record(2, "resident", 2020, person_name="SITI AMINAH", status="resident", nik="1" * 16),
        record(3, "mother", person_name="ST. AMINAH", phone="+628111"),
        record(4, "reporter", person_name="Siti", phone="+628999"),
    )
    assert (made["person_name"], made["birth_place"], made["phone"]) == (
        "SITI AMINAH", "CIREBON", "+628111"
    )  # fmt: skip
    assert (made["status"], made["mentions"], made["role"]) == ("resident", 4, "resident")
    assert origins == {"birth_place": 1, "region_code": 1, "phone": 3}


def test_of_one_source_what_was_said_last_is_kept():
    made, origins = golden_of(
        record(1, "mother", 2024, person_name="OLD", phone="+62811"),
        record(2, "mother", 2025, person_name="NEW"),
    )
    assert (made["person_name"], made["phone"]) == ("NEW", "+62811")
    assert origins == {"phone": 1}


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([("resident", 2020, "resident")], "resident"),
        ([("resident", 2020, "moved_out")], "moved_out"),
        ([("resident", 2020, "dead")], "dead"),
        # moved away, then came back under a new number, which somebody decided is theirs
        ([("resident", 2020, "moved_out"), ("resident", 2024, "resident")], "resident"),
        ([("resident", 2024, "moved_out"), ("resident", 2020, "resident")], "moved_out"),
        # a death is final, whatever an older or a younger record still says
        ([("resident", 2020, "dead"), ("resident", 2024, "resident")], "dead"),
        ([("resident", 2024, "dead"), ("resident", 2020, "resident")], "dead"),
        # a book of the kelurahan that still lists a dead or moved person raises nobody
        ([("resident", 2020, "dead"), ("book", 2026, None)], "dead"),
        ([("resident", 2020, "moved_out"), ("book", 2026, None)], "moved_out"),
        # whom the registry does not know is no resident of it
        ([("book", 2026, None)], "unregistered"),
        ([("child", 2026, None)], "unregistered"),
    ],
)
def test_who_counts_as_a_resident(records, status):
    rows = [record(number, role, year, status=said)
            for number, (role, year, said) in enumerate(records, 1)]  # fmt: skip
    for order in (rows, rows[::-1]):
        made, _ = golden_of(*order)
        assert made["status"] == status

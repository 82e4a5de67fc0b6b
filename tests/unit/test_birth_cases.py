"""Births on their way to the register, as tables of what the records say and what a case is."""

from datetime import date, datetime, time, timedelta

import ibis
import pytest

from transforms.identity.birth_cases import birth_cases

BORN = date(2026, 3, 1)
SHAPES = {
    "core.person_mention": {"source_record_id": "int64", "role": "string", "person_id": "int64"},
    "core.birth_notice": {"source_record_id": "int64", "notice_date": "date",
                          "birth_date": "date", "birth_kind": "string"},
    "core.birth_report": {"source_record_id": "int64", "reported_at": "timestamp",
                          "birth_date": "date", "state": "string", "birth_kind": "string"},
    "core.birth_certificate": {"source_record_id": "int64", "issued_date": "date"},
    "core.person": {"source_record_id": "int64", "birth_date": "date",
                    "registered_at": "timestamp", "has_birth_certificate": "boolean"},
    "core.golden_record": {"person_id": "int64", "source_record_id": "int64", "status": "string",
                           "birth_date": "date"},
    "core.golden_record_identity": {"person_id": "int64", "nik": "string", "mother_nik": "string"},
    "ref.reporting_limit": {"event": "string", "valid_from": "date", "days": "int32"},
}  # fmt: skip
MOTHER, UNKNOWN_MOTHER = 900, 901


def at_night(day):
    return datetime.combine(day, time(23, 30))


class Records:
    """Small core tables, filled record by record."""

    def __init__(self):
        self.rows = {name: [] for name in SHAPES}
        self.limit(date(2006, 12, 29), 60)
        self.people(MOTHER, "resident", date(1998, 1, 1), nik="3274014101980001")
        self.people(UNKNOWN_MOTHER, "unregistered", date(1999, 1, 1))

    def limit(self, valid_from, days):
        self.rows["ref.reporting_limit"].append(
            {"event": "birth", "valid_from": valid_from, "days": days}
        )

    def people(self, person, status, born, nik=None, mother_nik=None):
        self.rows["core.golden_record"].append(
            {"person_id": person, "source_record_id": person, "status": status, "birth_date": born}
        )
        self.rows["core.golden_record_identity"].append(
            {"person_id": person, "nik": nik, "mother_nik": mother_nik}
        )

    def child(self, person, born=BORN, mother=MOTHER, mother_nik=None, **records):
        """A child and its records: notice, report, certificate, resident → what each says."""
        self.people(person, "unregistered", born, mother_nik=mother_nik)
        for kind, said in records.items():
            self.speak(person, kind, born, mother, said)
        return self

    def speak(self, person, kind, born, mother, said):
        record = sum(len(rows) for rows in self.rows.values())
        at = {"source_record_id": record}
        role = "resident" if kind == "resident" else "child"
        self.rows["core.person_mention"].append({**at, "role": role, "person_id": person})
        if mother and kind != "resident":
            self.rows["core.person_mention"].append({**at, "role": "mother", "person_id": mother})
        day = born + timedelta(said.pop("after", 5))
        table, own = {
            "notice": ("core.birth_notice", {"notice_date": day, "birth_date": born}),
            "report": ("core.birth_report", {"reported_at": at_night(day), "birth_date": born}),
            "certificate": ("core.birth_certificate", {"issued_date": day}),
            "resident": ("core.person", {"registered_at": at_night(day), "birth_date": born}),
        }[kind]
        self.rows[table].append({**dict.fromkeys(SHAPES[table]), **at, **own, **said})

    def cases(self):
        history = {"core.golden_record", "core.golden_record_identity"}

        def table(name):
            shape = SHAPES[name] | ({} if name in history else {"valid_to": "date"})
            rows = [{**dict.fromkeys(shape), **row} for row in self.rows[name]]
            return ibis.memtable(rows, schema=shape)

        made = birth_cases(table).to_pyarrow().to_pylist()
        return {one["person_id"]: one for one in made}


FILED, ISSUED, REFUSED = {"state": "filed"}, {"state": "issued"}, {"state": "refused"}


@pytest.mark.parametrize(
    ("records", "state", "days"),
    [
        ({"notice": {}}, "noticed", 5),
        ({"report": FILED | {"after": 9}}, "reported", 9),
        ({"notice": {}, "report": FILED | {"after": 9}}, "reported", 9),
        ({"report": REFUSED | {"after": 9}}, "refused", 9),
        ({"report": ISSUED, "certificate": {"after": 20}}, "certified", 20),
        ({"certificate": {"after": 20}}, "certified", 20),
        ({"report": ISSUED, "certificate": {"after": 20},
          "resident": {"after": 21, "has_birth_certificate": True}}, "in_register", 21),
        # registered without a certificate, and nobody says that there is one
        ({"resident": {"after": 30, "has_birth_certificate": False}, "report": FILED},
         "in_register", 30),
        # somebody says that there is a certificate, and none is on record
        ({"report": ISSUED | {"after": 9}}, "claimed", 9),
        ({"report": FILED, "resident": {"after": 30, "has_birth_certificate": True}},
         "claimed", 30),
    ],
)  # fmt: skip
def test_how_far_a_child_has_come(records, state, days):
    case = Records().child(1, **{kind: dict(said) for kind, said in records.items()}).cases()[1]
    assert (case["state"], case["since"]) == (state, BORN + timedelta(days))
    late_from = BORN + timedelta(61) if state == "noticed" else None
    assert case["late_from"] == late_from


def test_residents_born_before_births_were_reported_are_no_cases():
    records = Records().child(1, report=dict(FILED))
    records.child(2, born=BORN - timedelta(1), resident={"has_birth_certificate": True})
    records.child(3, resident={"has_birth_certificate": True})
    assert set(records.cases()) == {1, 3}


@pytest.mark.parametrize(
    ("apart", "kind", "doubts"),
    [
        (0, "twin", []),
        (0, "single", ["twins_said_single"]),
        (1, "twin", []),
        (2, "twin", []),
        (3, "single", ["siblings_within_nine_months"]),
        (60, "single", ["siblings_within_nine_months"]),
        (269, "single", ["siblings_within_nine_months"]),
        (270, "single", []),
        (400, "single", []),
        (400, "twin", ["twin_missing"]),
    ],
)
def test_two_children_of_one_mother(apart, kind, doubts):
    records = Records()
    for person, born in ((1, BORN), (2, BORN + timedelta(apart))):
        records.child(person, born, report=FILED | {"birth_kind": kind})
    found = records.cases()
    assert [found[person]["doubts"] for person in (1, 2)] == [doubts, doubts]
    assert found[1]["mother_person_id"] == found[2]["mother_person_id"] == MOTHER


def test_a_twin_alone_is_missed():
    assert Records().child(1, report=FILED | {"birth_kind": "twin"}).cases()[1]["doubts"] == [
        "twin_missing"
    ]
    assert Records().child(1, notice={"birth_kind": "kembar 2"}).cases()[1]["doubts"] == [
        "twin_missing"
    ]


@pytest.mark.parametrize(
    ("mother", "mother_nik", "records", "doubts", "who"),
    [
        (MOTHER, None, {"report": FILED}, [], MOTHER),
        (None, None, {"report": FILED}, ["mother_missing"], None),
        (None, "3274014101980001", {"resident": {}}, [], MOTHER),
        (None, "3274014101980009", {"report": FILED}, ["mother_unknown"], None),
        (UNKNOWN_MOTHER, None, {"report": FILED}, ["mother_unknown"], UNKNOWN_MOTHER),
    ],
)
def test_who_the_mother_is(mother, mother_nik, records, doubts, who):
    made = Records().child(5, report=dict(FILED))  # the first birth that was reported
    made.child(1, mother=mother, mother_nik=mother_nik,
               **{kind: dict(said) for kind, said in records.items()})  # fmt: skip
    case = made.cases()[1]
    found = [one for one in case["doubts"] if one.startswith("mother")]
    assert (found, case["mother_person_id"]) == (doubts, who)


def test_two_records_that_name_two_mothers():
    records = Records().child(1, report=dict(FILED))
    records.speak(1, "notice", BORN, UNKNOWN_MOTHER, {})
    assert "mothers_differ" in records.cases()[1]["doubts"]


def test_a_report_is_late_by_the_limit_of_the_day_of_birth():
    records = Records()
    records.limit(date(2026, 2, 1), 30)
    for child, born in enumerate((date(2001, 1, 1), date(2026, 1, 31), date(2026, 2, 1)), start=1):
        records.child(child, born=born, notice={})
    late = {
        child: case["late_from"] - case["birth_date"] for child, case in records.cases().items()
    }
    assert late == {1: timedelta(61), 2: timedelta(61), 3: timedelta(31)}

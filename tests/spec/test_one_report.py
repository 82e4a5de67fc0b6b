"""Requests of the inbox, mail and SMS become one `core.report`, and what one citizen sent twice is
counted once."""

import pytest

from tests.inbox import Inbox, letter, request, sms

LAMP = "Lampu jalan padam di Jl. Kesambi RT 05 sejak tiga hari, mohon diperbaiki"


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


def test_a_report_by_each_channel(inbox):
    inbox.requests = [request(1, "Sampah menumpuk di pasar", "081211112222")]
    inbox.mail("1.a", letter("a", "Saluran air tersumbat"))
    inbox.sms(sms(1, "LAPOR#Kesambi#Jalan berlubang"))
    inbox.sync()
    assert inbox.reports() == [
        ("app", "in_progress", 1, True), ("email", "unverified", 1, True),
        ("sms", "unverified", 1, True),
    ]  # fmt: skip
    assert inbox.rebuild_differences() == {}


def test_one_report_by_sms_and_in_the_app(inbox):
    inbox.requests = [request(1, LAMP, "0812-0000-0001")]
    inbox.sms(sms(1, f"lapor {LAMP.upper()}!"))
    inbox.sync()
    assert inbox.reports() == [("app", "in_progress", 2, True)]
    assert inbox.rows(
        "SELECT known_by, round(days_apart, 2), common_words FROM lake.core.report_source "
        "WHERE repeats_record_id IS NOT NULL"
    ) == [("phone", 0.04, 1.0)]
    assert inbox.rebuild_differences() == {}


def test_by_mail_and_again_by_mail_and_in_the_app(inbox):
    inbox.mail("1.a", letter("a", LAMP))
    inbox.mail("1.b", letter("b", f"{LAMP} segera", at="Sun, 22 Nov 2026 09:00:00 +0700"))
    inbox.sync()
    assert inbox.reports() == [("email", "unverified", 2, True)]
    inbox.next_night()
    inbox.requests = [request(1, LAMP, email="Warga@Surel.example ")]
    inbox.sync()
    assert inbox.reports() == [("app", "in_progress", 3, True)]
    assert inbox.rebuild_differences() == {}


def test_undone_when_the_other_one_disappears(inbox):
    inbox.requests = [request(1, LAMP, "081200000001"), request(2, "Lain", "081200000009")]
    inbox.sms(sms(1, f"LAPOR {LAMP}"))
    inbox.sync()
    inbox.next_night()
    inbox.requests = inbox.requests[1:]
    inbox.sync()
    assert inbox.reports() == [
        ("app", "in_progress", 1, True), ("sms", "unverified", 1, True),
    ]  # fmt: skip
    assert inbox.rebuild_differences() == {}


@pytest.mark.parametrize(
    "other",
    [
        sms(1, f"LAPOR {LAMP}", phone="+6281200000002"),  # somebody else
        sms(1, f"LAPOR {LAMP}", at="2026-10-20 09:00:00"),  # a month before
        sms(1, f"LAPOR {LAMP.replace('05', '06')}"),  # another place
        sms(1, "LAPOR Lampu jalan padam di Jl. Kesambi"),  # other words
        sms(1, f"LAPOR {LAMP}", phone="3636"),  # no subscriber
    ],
)
def test_what_is_not_one_report(inbox, other):
    inbox.requests = [request(1, LAMP, "081200000001"), request(2, "Lain", "3636")]
    inbox.sms(other)
    inbox.sync()
    assert len(inbox.reports()) == 3


def test_two_requests_of_the_inbox_are_never_one(inbox):
    inbox.requests = [request(n, LAMP, "081200000001") for n in (1, 2)]
    inbox.sms(sms(1, f"LAPOR {LAMP}"))
    inbox.sync()
    assert [count for _, _, count, _ in inbox.reports()] == [1, 2]


def test_parts_join_also_over_nights(inbox):
    first, second = LAMP[:30], LAMP[30:]
    inbox.requests = [request(1, LAMP, "081200000001")]
    inbox.sms(sms(8, second, udh="050003CC0202"))
    inbox.sync()
    assert inbox.reports() == [
        ("app", "in_progress", 1, True), ("sms", "unverified", 1, False),
    ]  # fmt: skip
    inbox.next_night()
    inbox.sms(
        sms(8, second, udh="050003CC0202"), sms(9, f"LAPOR#Kesambi#{first}", udh="050003CC0201")
    )
    inbox.sync()
    assert inbox.reports() == [("app", "in_progress", 2, True)]
    assert inbox.rows(
        "SELECT description, address FROM lake.core.report_identity "
        "WHERE valid_to IS NULL AND stream = 'sms'"
    ) == [(LAMP, "Kesambi")]
    assert inbox.rebuild_differences() == {}


def test_a_reference_used_again_is_another_message(inbox):
    inbox.sms(
        sms(1, "LAPOR satu ", udh="050003CC0201"), sms(2, "dua", udh="050003CC0202"),
        sms(3, "LAPOR tiga ", udh="050003CC0201", at="2026-11-20 10:00:00"),
        sms(4, "empat", udh="050003CC0202", at="2026-11-20 10:00:00"),
        sms(5, "LAPOR lima ", udh="050003CC0201", at="2026-11-22 10:00:00"),
    )  # fmt: skip
    inbox.sync("sms")
    assert {name for group in inbox.groups() for name in group} == {
        "sms: satu dua", "sms: tiga empat", "sms: lima ",
    }  # fmt: skip
    assert sorted(whole for *_, whole in inbox.reports()) == [False, True, True]


def test_an_sms_without_keyword_is_kept_whole_and_flagged(inbox):
    inbox.sms(sms(1, "LAPRO#Kesambi#lampu mati"))
    (account,) = inbox.sync("sms")
    assert (account.inserted, account.flagged) == (1, 1)
    assert inbox.groups() == {frozenset({"sms: LAPRO#Kesambi#lampu mati"})}

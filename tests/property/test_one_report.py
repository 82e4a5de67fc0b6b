"""Which records are one report does not depend on the order in which they arrive, nor on how many
nights that takes."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inbox import Inbox, request, sms

TEXTS = ["Lampu jalan padam di RT 05", "Lampu jalan padam di RT 06", "Sampah menumpuk di pasar"]
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["request", "sms"]),
        st.sampled_from(TEXTS),
        st.sampled_from(["081200000001", "081200000002"]),
        st.integers(1, 20),
    ),
    min_size=2,
    max_size=6,
)


def hold(inbox: Inbox, records) -> None:
    """Let the sources hold exactly these (place, record)."""
    inbox.requests = [
        request(place, text, phone, at=f"2026-11-{day:02}T08:00:00+07:00")
        for place, (kind, text, phone, day) in records
        if kind == "request"
    ]
    inbox.sms(
        *(
            sms(place, f"LAPOR {text}", phone, at=f"2026-11-{day:02} 09:00:00")
            for place, (kind, text, phone, day) in records
            if kind == "sms"
        )
    )


def reports(inbox: Inbox) -> list[tuple]:
    """Current links by what the sources call the records."""
    name = "coalesce(one.report_number, '') || one.description || one.sender_phone"
    return inbox.rows(
        f"""
        WITH named AS (SELECT source_record_id, {name} || record.requested_at AS name
            FROM lake.core.report_identity AS one
            JOIN lake.core.report_record AS record USING (source_record_id)
            WHERE one.valid_to IS NULL AND record.valid_to IS NULL)
        SELECT named.name, report.name FROM lake.core.report_source AS origin
        JOIN named USING (source_record_id)
        JOIN named AS report ON report.source_record_id = origin.report_record_id
        WHERE origin.valid_to IS NULL ORDER BY ALL
        """
    )


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(tmp_path_factory, records, chance):
    numbered = list(enumerate(records, 1))
    at_once = Inbox(tmp_path_factory.mktemp("once"))
    hold(at_once, numbered)
    at_once.sync("request", "sms")
    piecemeal = Inbox(tmp_path_factory.mktemp("piecemeal"))
    shuffled = chance.sample(numbered, len(numbered))
    half = len(shuffled) // 2
    for present in (shuffled[:half], shuffled[half:], sorted(shuffled)):
        hold(piecemeal, present)
        piecemeal.sync(*chance.sample(["request", "sms"], 2))
        piecemeal.next_night()
    assert reports(piecemeal) == reports(at_once)

"""Which pairs are questions, in what order, and what follows from answers: as tables."""

from datetime import date
from uuid import UUID

import duckdb
import pytest

from common.errors import DefinitionError
from portal import quality, review
from warehouse import decisions
from warehouse.catalog import KEYED_HASH
from warehouse.tables import tables

NIGHT = date(2026, 11, 23)
TABLES = ("core.person_mention", "core.person_decision", "core.person_answer", "ops.person_pair",
          "core.mention_identity")  # fmt: skip


def record(number):
    return UUID(int=number)


def mention(role, number):
    return f"{role}:{record(number)}"


class Lake:
    """Pairs (role and number of both, probability) of people who are one or not."""

    def __init__(self, pairs, sampled=0):
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.core")
        self.connection.execute("CREATE SCHEMA lake.ops; SET VARIABLE inner_key = 'i'")
        self.connection.execute("SET VARIABLE outer_key = 'o'")
        self.connection.execute(KEYED_HASH)
        for name in TABLES:
            self.connection.execute(tables()[name].ddl("lake"))
        person = {}
        for role, one, other_role, other, probability, is_one in pairs:
            self.connection.execute(
                "INSERT INTO lake.ops.person_pair VALUES (?, ?, ?, ?, 0, ?)",
                [record(one), role, record(other), other_role, probability],
            )
            second = person.setdefault((other_role, other), len(person))
            person.setdefault((role, one), second if is_one else len(person))
        for (role, one), group in person.items():
            self.connection.execute(
                "INSERT INTO lake.core.person_mention VALUES (?, ?, ?, 'model', 1, 'm', ?, NULL)",
                [record(one), role, record(900 + group), NIGHT],
            )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(review, "SAMPLED", sampled)
            patch.setattr(review, "ONE_IN", 1)
            review.gather(self.connection)

    def next(self, reviewer="siti", **which):
        return review.following(self.connection, reviewer, **which)

    def answer(self, question, given, reviewer="siti", **how):
        how = {"reason": "", "wants_second": False, "settles": False, "night": NIGHT} | how
        return review.answer(self.connection, question, given, reviewer=reviewer, **how)

    def withdraw(self, reviewer, by="dewi"):
        """Takes back the newest answer of a reviewer."""
        (newest, *_) = review.given(self.connection, reviewer)
        return review.withdraw(self.connection, newest.answer_id, by=by, night=NIGHT)

    def standing(self):
        return self.connection.execute(
            "SELECT is_same FROM lake.core.person_decision WHERE undone_night IS NULL"
        ).fetchall()

    def state(self):
        """In which the only pair waits, for somebody who never answered; None: it does not."""
        question = self.next("joko") or self.next("joko", is_supervisor=True)
        return question and question.state

    def decisions(self):
        return self.connection.execute(
            "SELECT is_same, decided_by FROM lake.core.person_decision"
        ).fetchall()


PAIRS = {
    "uncertain": ("child", 1, "resident", 2, 0.5, False),
    "barely doubtful": ("child", 1, "resident", 2, 0.02, False),
    "cut": ("book", 1, "book", 2, 0.999, False),
    "two_numbers": ("resident", 1, "resident", 2, 0.9, False),
}


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (("child", 1, "resident", 2, 0.5, False), "uncertain"),
        (("child", 1, "resident", 2, 0.01, False), "uncertain"),
        (("child", 1, "resident", 2, 0.009, False), None),
        (("child", 1, "resident", 2, 0.5, True), None),
        (("child", 1, "resident", 2, 0.995, True), None),
        (("child", 1, "resident", 2, 0.995, False), "cut"),
        (("resident", 1, "resident", 2, 0.999, False), "two_numbers"),
        (("resident", 1, "resident", 2, 0.002, False), None),
    ],
)
def test_what_is_a_question(pair, kind):
    question = Lake([pair]).next()
    assert (question and question.kind) == kind


def test_what_changes_most_is_asked_first():
    lake = Lake([
        ("child", 1, "resident", 2, 0.9, False),
        ("child", 3, "resident", 4, 0.5, False),
        ("child", 5, "resident", 6, 0.7, False),
        ("mother", 7, "resident", 6, 0.999, True),
    ])  # fmt: skip
    order = []
    while question := lake.next(skipped=order):
        order.append((question.one, question.other))
    assert [one for one, _ in order] == [mention("child", number) for number in (5, 3, 1)]


def test_who_shares_nothing_but_a_name_comes_last():
    lake = Lake([
        ("child", 1, "resident", 2, 0.5, False), ("child", 3, "resident", 4, 0.2, False)
    ])  # fmt: skip
    assert lake.next().one == mention("child", 1)
    for role, number in (("child", 3), ("resident", 4)):
        lake.connection.execute(
            "INSERT INTO lake.core.mention_identity BY NAME "
            "SELECT ?::UUID AS source_record_id, ? AS role, DATE '2026-01-01' AS birth_date",
            [record(number), role],
        )
    review.gather(lake.connection)
    question = lake.next() or lake.next(is_sample=True)
    assert question.one == mention("child", 3)


def test_rivals_are_the_other_residents_that_fit():
    lake = Lake([("child", 1, "resident", 2, 0.5, False), ("child", 1, "resident", 3, 0.4, False)])
    assert lake.next().rivals == 1


# The answers in turn: who, what, a wish for a second opinion. What follows: the state in which the
# pair then waits (None: no more) and the decision.
FLOWS = [
    ("uncertain", [("siti", "same")], None, True),
    ("uncertain", [("siti", "different")], None, False),
    ("uncertain", [("siti", "unsure")], "second", None),
    ("uncertain", [("siti", "unsure"), ("budi", "same")], None, True),
    ("uncertain", [("siti", "unsure"), ("budi", "unsure")], "differing", None),
    ("uncertain", [("siti", "same", True)], "second", None),
    ("uncertain", [("siti", "same", True), ("budi", "same")], None, True),
    ("uncertain", [("siti", "same", True), ("budi", "different")], "differing", None),
    ("uncertain", [("siti", "same", True), ("budi", "unsure")], "second", None),
    ("uncertain", [("siti", "same", True), ("budi", "different"), ("dewi", "different")], None,
     False),
    ("uncertain", [("siti", "same", True), ("budi", "different"), ("dewi", "unsure")], None,
     None),
    ("cut", [("siti", "same")], None, True),
    ("cut", [("siti", "different")], None, False),
    ("two_numbers", [("siti", "same")], "second", None),
    ("two_numbers", [("siti", "different")], "second", None),
    ("two_numbers", [("siti", "same"), ("budi", "same")], None, True),
    ("two_numbers", [("siti", "same"), ("budi", "different")], "differing", None),
    ("two_numbers", [("siti", "same"), ("budi", "different"), ("dewi", "same")], None, True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "answers", "state", "is_same"), FLOWS)
def test_what_follows_from_answers(kind, answers, state, is_same):
    lake = Lake([PAIRS[kind]])
    for who, given, *wish in answers:
        is_supervisor = who == "dewi"
        question = lake.next(who, is_supervisor=is_supervisor)
        assert question.is_blind == (question.state == "second")
        lake.answer(question, given, who, wants_second=bool(wish), settles=is_supervisor)
        assert lake.next(who) is None, "nobody answers the same pair twice"
    assert lake.state() == state
    assert lake.decisions() == ([] if is_same is None else [(is_same, answers[-1][0])])


@pytest.mark.parametrize(
    ("pair", "answers", "decided"),
    [
        (("child", 1, "resident", 2, 0.999, True), ["same"], []),
        (("child", 1, "resident", 2, 0.999, True), ["different"], []),
        (("child", 1, "resident", 2, 0.999, True), ["different", "different"], [False]),
        (("child", 1, "resident", 2, 0.001, False), ["different"], []),
        (("child", 1, "resident", 2, 0.001, False), ["same", "same"], [True]),
        (("child", 1, "resident", 2, 0.5, False), ["same"], [True]),
    ],
)
def test_a_sampled_answer_decides_alone_only_where_the_model_doubts(pair, answers, decided):
    lake = Lake([pair], sampled=5)
    assert lake.next() is None
    for who, given in zip(("siti", "budi"), answers, strict=False):
        question = lake.next(who, is_sample=True)
        assert (question.kind, question.is_blind) == ("sample", True)
        lake.answer(question, given, who)
    assert [is_same for is_same, _ in lake.decisions()] == decided


def test_who_is_late_is_told():
    lake = Lake([PAIRS["uncertain"]])
    question = lake.next("siti")
    late = lake.next("budi")
    lake.answer(question, "same", "siti")
    with pytest.raises(review.Answered):
        lake.answer(late, "different", "budi")
    assert lake.decisions() == [(True, "siti")]


def test_an_answer_that_contradicts_decisions_is_refused():
    lake = Lake([
        ("child", 1, "resident", 2, 0.9, False),
        ("child", 3, "resident", 2, 0.5, False),
        ("child", 1, "child", 3, 0.4, False),
    ])  # fmt: skip
    for given in ("same", "same"):
        lake.answer(lake.next(), given)
    with pytest.raises(DefinitionError, match="contradicts"):
        lake.answer(lake.next(), "different")


def answered(kind, answers):
    """The pair of a kind, after these answers."""
    lake = Lake([PAIRS[kind]])
    for who, given, *wish in answers:
        is_supervisor = who == "dewi"
        question = lake.next(who, is_supervisor=is_supervisor)
        lake.answer(question, given, who, wants_second=bool(wish), settles=is_supervisor)
    return lake


WISHED = [("siti", "same", True), ("budi", "same")]
DIFFER = [("siti", "same", True), ("budi", "different")]
SETTLED = [*DIFFER, ("dewi", "different")]
# The answers in turn; whose is taken back; the state in which the pair then waits, and the
# decision that stands.
TAKEN_BACK = [
    ("uncertain", [("siti", "same")], "siti", "open", None),
    ("uncertain", [("siti", "unsure")], "siti", "open", None),
    ("uncertain", [("siti", "same", True)], "siti", "open", None),
    ("uncertain", [("siti", "unsure"), ("budi", "same")], "budi", "second", None),
    ("uncertain", [("siti", "unsure"), ("budi", "same")], "siti", None, True),
    ("uncertain", [("siti", "unsure"), ("budi", "unsure")], "siti", "second", None),
    ("uncertain", WISHED, "siti", "open", None),
    ("uncertain", WISHED, "budi", "open", None),
    ("uncertain", DIFFER, "siti", "second", None),
    ("uncertain", DIFFER, "budi", "second", None),
    ("uncertain", SETTLED, "dewi", "differing", None),
    ("uncertain", SETTLED, "budi", None, False),
    ("uncertain", SETTLED, "siti", None, False),
    ("uncertain", [*DIFFER, ("dewi", "unsure")], "dewi", "differing", None),
    ("two_numbers", [("siti", "same")], "siti", "open", None),
    ("two_numbers", [("siti", "same"), ("budi", "same")], "siti", "open", None),
]


@pytest.mark.parametrize(("kind", "answers", "whose", "state", "is_same"), TAKEN_BACK)
def test_what_is_taken_back_counts_no_more(kind, answers, whose, state, is_same):
    lake = answered(kind, answers)
    before = lake.standing()
    undone = lake.withdraw(whose)
    assert (lake.state(), lake.standing()) == (state, [] if is_same is None else [(is_same,)])
    assert bool(undone) == (before != lake.standing())
    if state:
        again = lake.next(whose, is_supervisor=whose == "dewi")
        assert again.state == state, "who took it back may answer again"
        lake.answer(again, "unsure", whose, settles=whose == "dewi")
    assert len(lake.connection.execute("FROM lake.core.person_answer").fetchall()) == (
        len(answers) + bool(state)
    ), "all stays on record"


def test_who_took_back_and_answers_again_decides_with_the_one_who_stayed():
    lake = answered("uncertain", DIFFER)
    lake.withdraw("siti")
    lake.answer(lake.next("siti"), "different", "siti")
    assert (lake.state(), lake.decisions()) == (None, [(False, "siti")])
    lake.withdraw("budi")
    assert (lake.state(), lake.standing()) == ("open", [])


def test_an_answer_is_taken_back_once():
    lake = answered("uncertain", [("siti", "same")])
    lake.withdraw("siti")
    with pytest.raises(review.Answered):
        lake.withdraw("siti")
    assert lake.connection.execute(
        "SELECT withdrawn_by, withdrawn_at > answered_at FROM lake.core.person_answer"
    ).fetchall() == [("dewi", True)]


def test_a_decision_that_was_not_made_at_the_desk_stands():
    lake = answered("uncertain", [("siti", "same", True)])
    pair = (decisions.Mention.read(mention(role, n)) for role, n in (("child", 1), ("resident", 2)))
    decisions.record(lake.connection, *pair, is_same=True, by="A letter", why="1", night=NIGHT)
    assert [one.became for one in review.given(lake.connection)] == ["decided"]
    assert lake.withdraw("siti") is None
    assert (lake.state(), lake.standing()) == (None, [(True,)])


def test_a_decision_of_the_desk_that_is_undone_is_asked_again():
    lake = answered("uncertain", [("siti", "unsure"), ("budi", "same")])
    ((decision,),) = lake.connection.execute(
        "SELECT decision_id FROM lake.core.person_decision"
    ).fetchall()
    decisions.revoke(lake.connection, decision, by="A letter", night=NIGHT)
    assert lake.next("siti") is None, "who was unsure still is"
    question = lake.next("budi")
    assert question.state == "second"
    lake.answer(question, "different", "budi")
    assert lake.standing() == [(False,)]
    assert [one.became for one in review.given(lake.connection)] == ["stands", "undone", "decided"]


@pytest.mark.parametrize(
    ("answers", "became"),
    [
        ([("siti", "same")], ["stands"]),
        ([("siti", "unsure")], ["second"]),
        (WISHED, ["stands", "stands"]),
        (DIFFER, ["differing", "differing"]),
        (SETTLED, ["stands", "decided", "decided"]),
        ([*DIFFER, ("dewi", "unsure")], ["closed", "closed", "closed"]),
    ],
)
def test_what_became_of_answers_newest_first(answers, became):
    lake = answered("uncertain", answers)
    found = review.given(lake.connection)
    assert [one.reviewer for one in found] == [who for who, *_ in reversed(answers)]
    assert [one.became for one in found] == became
    lake.withdraw("siti")
    (own,) = review.given(lake.connection, "siti")
    assert (own.became, own.withdrawn_by) == ("withdrawn", "dewi")
    assert review.one_given(lake.connection, own.answer_id) == own
    assert review.one_given(lake.connection, record(1)) is None


def test_only_the_newest_answers_are_listed(monkeypatch):
    lake = Lake([PAIRS["uncertain"], ("child", 3, "resident", 4, 0.5, False)])
    first, second = (lake.answer(lake.next(), "unsure")[0] for _ in range(2))
    assert [one.answer_id for one in review.given(lake.connection)] == [second, first]
    monkeypatch.setattr(review, "NEWEST", 1)
    assert [one.answer_id for one in review.given(lake.connection)] == [second]


def test_who_answers_what_was_taken_back_meanwhile_is_told():
    lake = answered("uncertain", DIFFER)
    dealt = lake.next("dewi", is_supervisor=True)
    lake.withdraw("siti")
    lake.withdraw("budi")
    with pytest.raises(review.Answered):
        lake.answer(dealt, "same", "dewi", settles=True)


def test_quality_does_not_count_what_was_taken_back():
    lake = answered("uncertain", DIFFER)
    measured = quality.measure(lake.connection)
    assert (measured.answers, measured.pairs_of_two) == (2, 1)
    lake.withdraw("siti")
    measured = quality.measure(lake.connection)
    assert (measured.answers, measured.pairs_of_two) == (1, 0)
    sample = Lake([("child", 1, "resident", 2, 0.999, True)], sampled=5)
    sample.answer(sample.next(is_sample=True), "same")
    assert quality.measure(sample.connection).strata == {"accepted": (1, 1, 1)}
    sample.withdraw("siti")
    assert quality.measure(sample.connection).strata == {"accepted": (1, 0, 0)}


def test_quality_is_estimated_from_the_sample_alone():
    pairs = [("child", n, "resident", 1000 + n, 0.999, True) for n in range(40)]
    pairs += [("child", n, "resident", 1000 + n, 0.3, False) for n in range(40, 80)]
    pairs += [("child", n, "resident", 1000 + n, 0.002, False) for n in range(80, 120)]
    lake = Lake(pairs, sampled=40)
    assert quality.measure(lake.connection).precision is None
    while question := lake.next(is_sample=True):
        number = int(question.one[-2:], 16)
        is_true = (number < 39, number < 60, False)[(number >= 40) + (number >= 80)]
        lake.answer(question, "same" if is_true else "different")
    measured = quality.measure(lake.connection)
    assert measured.strata == {
        "accepted": (40, 40, 39), "doubtful": (40, 40, 20), "rejected": (40, 40, 0)
    }  # fmt: skip
    assert measured.precision.value == pytest.approx(39 / 40)
    assert measured.recall == pytest.approx(39 / 59)
    assert (measured.agreement, measured.kappa) == (None, None)


def test_a_wrong_link_that_people_part_still_counts_as_wrong():
    lake = Lake([("child", n, "resident", 1000 + n, 0.999, True) for n in range(40)], sampled=40)
    for who in ("siti", "budi"):
        while question := lake.next(who, is_sample=True):
            is_wrong = question.one == mention("child", 7)
            lake.answer(question, "different" if is_wrong else "same", who)
    assert [is_same for is_same, _ in lake.decisions()] == [False]
    lake.connection.execute(
        "UPDATE lake.ops.person_pair SET probability = 0 WHERE source_record_id = ?::UUID",
        [record(7)],
    )
    review.gather(lake.connection)
    assert quality.measure(lake.connection).precision.value == 39 / 40


def test_wilson_gives_the_interval_of_the_paper():
    share = quality.wilson(8, 10)
    assert (round(share.low, 3), round(share.high, 3)) == (0.490, 0.943)
    assert quality.wilson(10, 10).high == 1


def test_kappa_is_cohens():
    both = [("same", "same", 20), ("same", "different", 5), ("different", "same", 10),
            ("different", "different", 15)]  # fmt: skip
    agreed, kappa = quality._agreement(both)
    assert (round(agreed, 2), round(kappa, 2)) == (0.7, 0.4)

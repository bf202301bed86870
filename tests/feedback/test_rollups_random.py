"""Whatever people do, in whatever order the work is delivered: the sums equal the rows, counted here by hand."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models import Message
from atom.ground.errors import AtomError
from atom.ground.principal import Principal
from feedback.models import DirtyHour, Feedback, FeedbackDay, FeedbackHour
from feedback.rollups import hour_of, recount, sum_hours
from feedback.services import giving, judging
from feedback.tasks import aggregate_feedback

BEGIN = datetime(2026, 11, 1, 22, 0, tzinfo=UTC)
PEOPLE = ("alice", "bob", "carol")
WORDS = st.fixed_dictionaries(
    {
        "thumb": st.sampled_from(["", "up", "down"]),
        "rating": st.sampled_from([None, 1, 3, 5]),
        "correction": st.sampled_from(["", "better"]),
        "comment": st.sampled_from(["", "hm"]),
        "category": st.sampled_from(["", "tone", "facts"]),
    }
)
WHO, WHICH = st.sampled_from(PEOPLE), st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("submit"), WHO, WHICH, WORDS),
    # Of what is there, one: so that a step seldom does nothing.
    st.tuples(st.just("edit"), st.integers(0, 8), WORDS),
    st.tuples(st.just("withdraw"), st.integers(0, 8)),
    st.tuples(st.just("judge"), st.sampled_from(["accept", "reject", "split"]), st.integers(0, 2), st.integers(0, 8)),
    st.tuples(st.just("deliver")),
    # The broker gives an old piece of work once more, or early.
    st.tuples(st.just("redeliver"), st.integers(0, 4)),
)


class World:
    """Three people and three answers, said at different hours around midnight."""

    def __init__(self, people: dict[str, Principal], answers: list[Message]) -> None:
        self.people = people
        self.answers = answers

    def rows(self) -> list[Feedback]:
        return list(Feedback.objects.filter(withdrawn_at=None).order_by("created_at", "user__username"))

    def one_of(self, which: int) -> Feedback | None:
        rows = self.rows()
        return rows[which % len(rows)] if rows else None

    def author_of(self, found: Feedback) -> Principal:
        return next(person for person in self.people.values() if person.user_id == found.user_id)

    def of(self, who: str, which: int) -> Feedback | None:
        return Feedback.objects.filter(user_id=self.people[who].user_id, message=self.answers[which]).first()

    def submit(self, who: str, which: int, words: dict[str, Any]) -> None:
        before = self.of(who, which)
        given = giving.give_feedback(principal=self.people[who], message_id=self.answers[which].id, **words)
        if before is None:
            # As if it had been said then: its mark names the hour of now, so it gets one of its own.
            at = BEGIN + timedelta(hours=which * 2)
            Feedback.objects.filter(pk=given.pk).update(created_at=at)
            DirtyHour.objects.create(agent_id=given.agent_id, hour=hour_of(at))

    def edit(self, which: int, words: dict[str, Any]) -> None:
        if found := self.one_of(which):
            giving.change_feedback(feedback=found, principal=self.author_of(found), **words)

    def withdraw(self, which: int) -> None:
        if found := self.one_of(which):
            giving.withdraw_feedback(feedback=found, principal=self.author_of(found))

    def judge(self, decision: Any, keep: int, which: int) -> None:
        if found := self.one_of(which):
            part = ("opinion", "correction", "nonsense")[keep]
            judging.adjudicate(feedback=found, principal=self.people["bob"], decision=decision, keep=part)

    def deliver(self) -> None:
        aggregate_feedback()

    def redeliver(self, hours: int) -> None:
        sum_hours(self.answers[0].run.agent_id, [BEGIN + timedelta(hours=hours)])  # type: ignore[union-attr]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=30))
def test_sums_equal_rows_after_anything(
    make_answer: Callable[..., Message],
    alice: Principal,
    bob: Principal,
    carol: Principal,
    steps: list[tuple[Any, ...]],
) -> None:
    for table in (FeedbackDay, FeedbackHour, DirtyHour, Feedback):
        table.objects.all().delete()
    answers = list(Message.objects.filter(role="assistant").order_by("created_at"))
    answers += [make_answer() for _ in range(3 - len(answers))]
    world = World({"alice": alice, "bob": bob, "carol": carol}, answers)
    for name, *arguments in steps:
        try:
            getattr(world, name)(*arguments)
        except AtomError:
            # Nothing said, decided already, withdrawn: refused, and nothing may have moved.
            continue
    aggregate_feedback()
    assert recount(repair=False) == []
    for table in (FeedbackHour, FeedbackDay):
        assert counted_by_table(table) == counted_by_hand(world.rows())


def counted_by_hand(rows: list[Feedback]) -> Counter[tuple[str, str]]:
    """What the rows say, by category, with nothing of the rollups' own code."""
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        names = ["total", row.get_sentiment(), row.status]
        names += ["corrections"] if row.correction else []
        names += [f"rating_{row.rating}"] if row.rating else []
        found.update((row.category, name) for name in names)
    return Counter({key: count for key, count in found.items() if key[1] not in {"accepted", "split"}})


def counted_by_table(table: Any) -> Counter[tuple[str, str]]:
    names = ["total", "positive", "negative", "neutral", "pending", "rejected", "corrections"]
    names += [f"rating_{stars}" for stars in range(1, 6)]
    found: Counter[tuple[str, str]] = Counter()
    for row in table.objects.all():
        found.update({(row.category, name): getattr(row, name) for name in names if getattr(row, name)})
    return found


def test_sums_are_apart_by_day(make_answer: Callable[..., Message], carol: Principal) -> None:
    world = World({"carol": carol}, [make_answer() for _ in range(3)])
    for which in range(3):
        world.submit("carol", which, {"thumb": "up"})
    aggregate_feedback()
    days = FeedbackDay.objects.order_by("day").values_list("total", flat=True)
    assert list(days) == [1, 2]
    # Once more, when the next day's first hour has its sums.
    world.redeliver(0)
    assert list(days.all()) == [1, 2]


@pytest.mark.parametrize("said", [{"thumb": "up"}, {"correction": "better"}])
def test_a_withdrawn_feedback_counts_nowhere(
    make_answer: Callable[..., Message], carol: Principal, said: dict[str, Any]
) -> None:
    given_ = giving.give_feedback(principal=carol, message_id=make_answer().id, **said)
    aggregate_feedback()
    assert FeedbackHour.objects.get().total == 1
    assert recount(repair=False) == []
    giving.withdraw_feedback(feedback=given_, principal=carol)
    aggregate_feedback()
    assert not FeedbackHour.objects.exists()
    assert not FeedbackDay.objects.exists()

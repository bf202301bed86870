"""The hourly sums equal the rows, whatever the order and however often they are made."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models import Agent, Message
from feedback.models import DirtyHour, Feedback, FeedbackDay, FeedbackHour, FeedbackStatus
from feedback.rollups import COUNTED, hour_of, recount, sum_dirty_hours, sum_hours
from feedback.tasks import aggregate_feedback

BEGIN = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
SAID = st.tuples(
    st.integers(0, 300),
    st.sampled_from(["", "up", "down"]),
    st.sampled_from([None, 1, 2, 3, 4, 5]),
    st.sampled_from(["", "better"]),
)


def say(answer: Message, minute: int, thumb: str = "up", rating: int | None = None, correction: str = "") -> Feedback:
    assert answer.run is not None
    given = Feedback.objects.create(
        workspace_id=answer.workspace_id,
        agent_id=answer.run.agent_id,
        session_id=answer.session_id,
        run=answer.run,
        message=answer,
        thumb=thumb,
        rating=rating,
        correction=correction,
        status=FeedbackStatus.ACCEPTED,
        created_at=BEGIN + timedelta(minutes=minute),
    )
    DirtyHour.objects.create(agent_id=given.agent_id, hour=hour_of(given.created_at))
    return given


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(SAID, max_size=25), pauses=st.sets(st.integers(0, 25)))
def test_sums_equal_rows_in_any_order_of_work(
    make_answer: Callable[..., Message], said: list[tuple[int, str, int | None, str]], pauses: set[int]
) -> None:
    for table in (FeedbackDay, FeedbackHour, DirtyHour, Feedback):
        table.objects.all().delete()
    answer = Message.objects.filter(role="assistant").first() or make_answer()
    for place, (minute, thumb, rating, correction) in enumerate(said):
        say(answer, minute, thumb, rating, correction)
        if place in pauses:
            aggregate_feedback()
    aggregate_feedback()
    aggregate_feedback()
    assert recount(repair=False) == []
    assert sum(FeedbackHour.objects.values_list("total", flat=True)) == len(said)
    assert sum(FeedbackDay.objects.values_list("total", flat=True)) == len(said)
    words = Counter(given.get_sentiment() for given in Feedback.objects.all())
    for sentiment in ("positive", "negative", "neutral"):
        assert sum(FeedbackHour.objects.values_list(sentiment, flat=True)) == words[sentiment]


@pytest.mark.parametrize(
    ("thumb", "rating", "sentiment"),
    [
        ("up", None, "positive"),
        ("down", None, "negative"),
        ("", 5, "positive"),
        ("", 4, "positive"),
        ("", 3, "neutral"),
        ("", 2, "negative"),
        ("", 1, "negative"),
        ("", None, "neutral"),
        ("up", 1, "positive"),
        ("down", 5, "negative"),
    ],
)
def test_what_is_positive_negative_and_neutral(
    make_answer: Callable[..., Message], thumb: str, rating: int | None, sentiment: str
) -> None:
    given = say(make_answer(), 1, thumb, rating)
    aggregate_feedback()
    row = FeedbackHour.objects.get()
    assert given.get_sentiment() == sentiment
    assert [name for name in ("positive", "negative", "neutral") if getattr(row, name)] == [sentiment]


def test_the_same_hour_is_summed_once_however_often_it_changed(make_answer: Callable[..., Message]) -> None:
    answer = make_answer()
    for minute in (1, 2, 61):
        say(answer, minute)
    assert sum_dirty_hours() == 2
    assert sum_dirty_hours() == 0


def test_a_task_delivered_again_or_out_of_order_changes_no_figure(make_answer: Callable[..., Message]) -> None:
    answer = make_answer()
    say(answer, 1, "up", 5)
    say(answer, 2, "down", 1, "better")
    aggregate_feedback()
    before = list(FeedbackHour.objects.values("hour", *COUNTED))
    # As a broker delivers: the same work once more, for an hour that is summed already.
    DirtyHour.objects.create(agent_id=answer.run.agent_id, hour=BEGIN)  # type: ignore[union-attr]
    aggregate_feedback()
    aggregate_feedback()
    assert list(FeedbackHour.objects.values("hour", *COUNTED)) == before
    assert before[0]["total"] == 2


def test_late_feedback_reaches_its_own_hour(make_answer: Callable[..., Message]) -> None:
    answer = make_answer()
    say(answer, 70)
    aggregate_feedback()
    say(answer, 5)
    aggregate_feedback()
    totals = FeedbackHour.objects.order_by("hour").values_list("hour", "total")
    assert list(totals) == [(BEGIN, 1), (BEGIN + timedelta(hours=1), 1)]


def test_an_hour_of_an_agent_that_is_gone_has_no_sums(make_answer: Callable[..., Message]) -> None:
    say(make_answer(), 1)
    agent = Agent.objects.get()
    agent.delete()
    sum_hours(agent_id=uuid4(), hours=[BEGIN])
    assert aggregate_feedback() == 0
    assert not FeedbackHour.objects.exists()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_workers_at_once_while_people_speak_sum_everything(make_answer: Callable[..., Message]) -> None:
    answer = make_answer()
    line = threading.Barrier(8, timeout=30)

    def one(rounds: int) -> list[int]:
        """The total after each round, read while everybody waits."""
        totals = []
        try:
            for number in range(rounds):
                line.wait()
                with transaction.atomic():
                    say(answer, number)
                aggregate_feedback()
                line.wait()
                totals.append(FeedbackHour.objects.get().total)
        finally:
            connection.close()
        return totals

    with ThreadPoolExecutor(8) as pool:
        seen = [done.result(60) for done in [pool.submit(one, 40) for _ in range(8)]]
    assert seen == [[8 * number for number in range(1, 41)]] * 8
    assert not DirtyHour.objects.exists()


def test_recount_finds_and_repairs_wrong_and_missing_sums(make_answer: Callable[..., Message]) -> None:
    answer = make_answer()
    say(answer, 1)
    say(answer, 61)
    aggregate_feedback()
    FeedbackHour.objects.filter(hour=BEGIN).update(total=7)
    FeedbackHour.objects.exclude(hour=BEGIN).delete()
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("feedback", "recount", "--check", stdout=out)
    # Both hours, and the day, which is the sum of the hours as they stand.
    assert "3 hours and days differed\n" in out.getvalue()
    assert [difference.is_day for difference in recount(repair=False)] == [False, False, True]
    call_command("feedback", "recount", stdout=out)
    assert "3 hours and days differed, repaired" in out.getvalue()
    call_command("feedback", "recount", "--check", stdout=out)
    assert "0 hours and days differed" in out.getvalue()
    assert FeedbackDay.objects.get().total == 2


def test_two_agents_are_summed_apart(make_answer: Callable[..., Message]) -> None:
    say(make_answer("one"), 1)
    say(make_answer("two"), 1, "down")
    aggregate_feedback()
    one, two = FeedbackHour.objects.order_by("agent__slug")
    assert (one.positive, one.negative, two.positive, two.negative) == (1, 0, 0, 1)
    assert Agent.objects.count() == 2
    assert set(COUNTED) <= {item.name for item in FeedbackHour._meta.get_fields()}


def test_summing_one_agents_hour_leaves_anothers_marked(make_answer: Callable[..., Message]) -> None:
    one = say(make_answer("one"), 1)
    say(make_answer("two"), 1)
    sum_hours(agent_id=one.agent_id, hours=[BEGIN])
    assert sum_dirty_hours() == 1
    assert FeedbackHour.objects.count() == 2


def test_recount_finds_sums_of_hours_and_days_that_nobody_spoke_in(make_answer: Callable[..., Message]) -> None:
    """As after rows that were removed by hand."""
    given = say(make_answer(), 1)
    say(make_answer(), 60 * 24 + 1)
    aggregate_feedback()
    Feedback.objects.exclude(pk=given.pk).delete()
    day = FeedbackDay.objects.latest("day")
    day.pk, day.day = None, day.day + timedelta(days=3)
    day.save(force_insert=True)
    # The hour whose rows are gone, and the day without any hour; the hour's own day is still the sum of its hours.
    assert [found.is_day for found in recount(repair=False)] == [False, True]
    recount(repair=True)
    assert recount(repair=False) == []
    assert list(FeedbackDay.objects.values_list("total", flat=True)) == [1]


def test_costs_and_times_are_summed_over_those_that_have_them(make_answer: Callable[..., Message]) -> None:
    for cost, latency in ((5, 250), (None, None), (7, None)):
        given = say(make_answer(), 1)
        Feedback.objects.filter(pk=given.pk).update(cost_nano_usd=cost, latency_ms=latency)
    aggregate_feedback()
    row = FeedbackHour.objects.get()
    assert (row.total, row.costed, row.cost_nano_usd, row.timed, row.latency_ms) == (3, 2, 12, 1, 250)

"""`/api/feedback/`: what may be said, by whom, and what becomes of it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from agents.models import Message
from agents.runs.records import add_message
from atom.ground.errors import Forbidden
from atom.ground.models import AuditEntry, Membership, Scope
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from feedback.models import DirtyHour, Feedback
from feedback.services import giving, judging
from feedback.signals import feedback_given
from feedback.tasks import aggregate_feedback
from llm.messages import ToolCall

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


def test_submit_feedback_is_associated_with_its_run_session_and_agent(
    api: API, carol: Principal, make_answer: MakeAnswer
) -> None:
    answer = make_answer()
    given = api(carol).post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json")
    assert given.status_code == 201
    body = given.json()
    assert body["message_id"] == str(answer.id)
    assert body["run_id"] == str(answer.run_id)
    assert body["session_id"] == str(answer.session_id)
    assert (body["agent"], body["user"], body["thumb"], body["status"]) == ("helper", "carol", "up", "accepted")
    assert api(carol).get(f"/api/feedback/{body['id']}/").json() == body


def test_feedback_by_run_is_about_its_answer(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    answer = make_answer()
    given = api(carol).post("/api/feedback/", {"run_id": answer.run_id, "rating": 5}, format="json").json()
    assert given["message_id"] == str(answer.id)


def test_feedback_with_correction_waits_for_a_review(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    body = {"message_id": make_answer().id, "thumb": "down", "correction": "Better: good day"}
    assert api(carol).post("/api/feedback/", body, format="json").json()["status"] == "pending"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 400),
        ({"comment": "   "}, 400),
        ({"thumb": "sideways"}, 400),
        ({"rating": 0}, 400),
        ({"rating": 6}, 400),
        ({"rating": "many"}, 400),
        ({"thumb": "up", "comment": "x" * 50_001}, 400),
        ({"comment": "a\x00b"}, 400),
    ],
)
def test_what_says_nothing_or_nonsense_is_refused_and_nothing_is_stored(
    api: API, carol: Principal, make_answer: MakeAnswer, said: dict[str, Any], status: int
) -> None:
    answer = api(carol).post("/api/feedback/", {"message_id": make_answer().id, **said}, format="json")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code", "param", "details"}
    assert not Feedback.objects.exists()
    assert not DirtyHour.objects.exists()


def test_feedback_needs_an_answer_to_be_about(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    carols = api(carol)
    asked = make_answer(is_answered=False)
    answer = make_answer()
    for body, status in (
        ({}, 400),
        ({"message_id": uuid4()}, 404),
        ({"run_id": uuid4()}, 404),
        ({"message_id": "x"}, 400),
        ({"message_id": asked.id}, 400),
        ({"run_id": asked.run_id}, 409),
        ({"message_id": answer.id, "run_id": asked.run_id}, 400),
    ):
        assert carols.post("/api/feedback/", {"thumb": "up", **body}, format="json").status_code == status, body


def test_feedback_on_a_blocked_run_is_a_409(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    asked = make_answer(is_answered=False)
    assert asked.run is not None
    called = add_message(asked.run, Message.Role.ASSISTANT, [ToolCall("c1", "delete_record", "{}")])
    for named in ({"run_id": asked.run_id}, {"message_id": called.id}):
        refused = api(carol).post("/api/feedback/", {"thumb": "up", **named}, format="json")
        assert refused.status_code == 409
    assert not Feedback.objects.exists()


def test_a_token_without_the_scope_feedback_is_refused(carol: Principal, make_answer: MakeAnswer) -> None:
    member = Membership.objects.get(user_id=carol.user_id)
    secret = create_token(membership=member, name="chat only", by="test", scopes=[Scope.CHAT])[1]
    chatting = APIClient()
    chatting.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    body = {"message_id": make_answer().id, "thumb": "up"}
    assert chatting.post("/api/feedback/", body, format="json").status_code == 403
    for path in ("", "analytics/", "trends/"):
        assert chatting.get(f"/api/feedback/{path}").status_code == 403


def test_what_was_given_is_told_once_after_the_commit(
    api: API,
    carol: Principal,
    make_answer: MakeAnswer,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    told: list[Any] = []

    def listen(feedback_id: Any, **_: Any) -> None:
        told.append(feedback_id)

    feedback_given.connect(listen)
    try:
        with django_capture_on_commit_callbacks() as waiting:
            body = {"message_id": make_answer().id, "thumb": "up"}
            given = api(carol).post("/api/feedback/", body, format="json").json()
            assert told == []
        for callback in waiting:
            callback()
    finally:
        feedback_given.disconnect(listen)
    assert [str(feedback_id) for feedback_id in told] == [given["id"]]


def test_mallory_neither_gives_reads_nor_judges_alices_feedback(
    api: API, carol: Principal, mallory: Principal, make_answer: MakeAnswer
) -> None:
    answer = make_answer()
    given = api(carol).post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json").json()
    hers = api(mallory)
    assert hers.post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json").status_code == 404
    assert hers.post("/api/feedback/", {"run_id": answer.run_id, "thumb": "up"}, format="json").status_code == 404
    assert hers.get(f"/api/feedback/{given['id']}/").status_code == 404
    path = f"/api/feedback/{given['id']}/adjudicate/"
    assert hers.post(path, {"accepted": True}, format="json").status_code == 404
    assert hers.get("/api/feedback/").json()["results"] == []
    for path in (
        "/api/feedback/?agent=helper",
        "/api/feedback/analytics/?agent=helper",
        "/api/feedback/trends/?agent=helper",
    ):
        assert hers.get(path).status_code == 404
    aggregate_feedback()
    assert hers.get("/api/feedback/analytics/").json()["total"] == 0


def test_without_a_token_nothing_is_told(api: API, db: None) -> None:
    assert api().get("/api/feedback/").status_code == 401


def test_the_list_is_filtered_by_agent_session_and_run(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    first, second = make_answer("one"), make_answer("two")
    carols = api(carol)
    for answer in (first, second):
        carols.post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json")
    for query in ("agent=one", f"session={first.session_id}", f"run={first.run_id}"):
        [found] = carols.get(f"/api/feedback/?{query}").json()["results"]
        assert found["agent"] == "one"
    assert len(carols.get("/api/feedback/").json()["results"]) == 2
    assert carols.get("/api/feedback/?run=nonsense").status_code == 400
    assert carols.get("/api/feedback/?agent=nobody").status_code == 404


def test_only_owner_and_approver_adjudicate_and_the_same_decision_twice_is_a_409(
    api: API, alice: Principal, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    body = {"message_id": make_answer().id, "correction": "better"}
    given = api(carol).post("/api/feedback/", body, format="json").json()
    path = f"/api/feedback/{given['id']}/adjudicate/"
    assert api(carol).post(path, {"accepted": True}, format="json").status_code == 403
    judged = api(bob).post(path, {"accepted": True, "note": "right"}, format="json")
    assert (judged.status_code, judged.json()["status"]) == (200, "accepted")
    assert api(alice).post(path, {"accepted": True}, format="json").status_code == 409
    assert api(alice).post(path, {"accepted": False}, format="json").json()["status"] == "rejected"
    assert api(alice).post(path, {}, format="json").status_code == 400
    events = AuditEntry.objects.filter(event__startswith="feedback.").order_by("seq").values_list("event", flat=True)
    assert list(events) == ["feedback.given", "feedback.accepted", "feedback.rejected"]


def test_the_service_itself_lets_no_member_adjudicate(carol: Principal, make_answer: MakeAnswer) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, correction="better")
    with pytest.raises(Forbidden):
        judging.adjudicate(feedback=given, principal=carol, decision="accept")
    given.refresh_from_db()
    assert given.status == "pending"


def test_analytics_aggregation_counts_what_was_said(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    carols = api(carol)
    for said in (
        {"thumb": "up"},
        {"rating": 5},
        {"rating": 1},
        {"thumb": "down", "correction": "no"},
        {"rating": 3},
        {"comment": "hm"},
    ):
        assert carols.post("/api/feedback/", {"message_id": make_answer().id, **said}, format="json").status_code == 201
    assert carols.get("/api/feedback/analytics/").json()["total"] == 0
    assert aggregate_feedback() == 1
    figures = carols.get("/api/feedback/analytics/?agent=helper").json()
    expected = {
        "total": 6,
        "positive": 2,
        "negative": 2,
        "neutral": 2,
        "corrections": 1,
        "average_rating": 3.0,
        "ratings": {"1": 1, "2": 0, "3": 1, "4": 0, "5": 1},
    }
    assert expected.items() <= figures.items()
    assert expected.items() <= carols.get("/api/feedback/analytics/").json().items()


def test_trends_end_today_and_fill_quiet_days(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    carols = api(carol)
    carols.post("/api/feedback/", {"message_id": make_answer().id, "thumb": "up"}, format="json")
    aggregate_feedback()
    points = carols.get("/api/feedback/trends/?agent=helper&days=7").json()
    assert len(points) == 7
    assert [point["total"] for point in points] == [0, 0, 0, 0, 0, 0, 1]
    assert points[-1]["positive"] == 1
    for bad in ("0", "400", "x"):
        assert carols.get(f"/api/feedback/trends/?days={bad}").status_code == 400


def test_a_broker_that_is_down_loses_no_feedback(
    api: API,
    carol: Principal,
    make_answer: MakeAnswer,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    # The broker of these tests is an address where nobody listens.
    carols = api(carol)
    with django_capture_on_commit_callbacks(execute=True) as queued:
        given = carols.post("/api/feedback/", {"message_id": make_answer().id, "thumb": "up"}, format="json")
    assert given.status_code == 201
    assert len(queued) >= 2
    assert aggregate_feedback() == 1
    assert carols.get("/api/feedback/analytics/").json()["total"] == 1

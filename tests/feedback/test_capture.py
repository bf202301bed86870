"""One current word per person and answer: saying it again, changing it, taking it back, many at once."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Message
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback import limits
from feedback.models import Feedback, FeedbackRevision
from feedback.services import giving, judging
from feedback.signals import feedback_given, feedback_judged
from feedback.tasks import aggregate_feedback

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


@pytest.fixture
def told() -> Any:
    """Names of the facts, in the order in which they are told."""
    heard: list[str] = []

    def given(**_: Any) -> None:
        heard.append("given")

    def judged(**_: Any) -> None:
        heard.append("judged")

    feedback_given.connect(given)
    feedback_judged.connect(judged)
    yield heard
    feedback_given.disconnect(given)
    feedback_judged.disconnect(judged)


def test_saying_something_else_replaces_what_was_said_and_keeps_it_as_history(
    api: API, carol: Principal, make_answer: MakeAnswer
) -> None:
    answer, carols = make_answer(), api(carol)
    first = carols.post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json").json()
    second = carols.post("/api/feedback/", {"message_id": answer.id, "rating": 2}, format="json").json()
    assert (second["id"], second["thumb"], second["rating"], second["revision"]) == (first["id"], "", 2, 2)
    [before] = carols.get(f"/api/feedback/{first['id']}/history/").json()["results"]
    assert (before["revision"], before["said"]["thumb"], before["said"]["rating"]) == (1, "up", None)


def test_saying_the_same_again_changes_nothing(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    body = {"message_id": make_answer().id, "thumb": "up", "tags": ["Tone", "tone "]}
    first, again = (api(carol).post("/api/feedback/", body, format="json") for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.json()["tags"] == ["tone"]
    assert not FeedbackRevision.objects.exists()


def test_two_people_each_have_a_word_on_one_answer(
    api: API, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    answer = make_answer()
    for person in (bob, carol):
        api(person).post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json")
    assert Feedback.objects.count() == 2


def test_an_edit_leaves_alone_what_it_does_not_name(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="down", comment="why?")
    edited = api(carol).patch(f"/api/feedback/{given.id}/", {"thumb": "up", "category": "tone"}, format="json")
    assert edited.status_code == 200
    assert {"thumb": "up", "comment": "why?", "category": "tone", "revision": 2}.items() <= edited.json().items()
    assert AuditEntry.objects.filter(event="feedback.changed").count() == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"thumb": ""}, 400), ({"rating": 9}, 400), ({"comment": "a\x00"}, 400), ({"tags": ["x"] * 51}, 400)],
)
def test_an_edit_that_leaves_nothing_or_nonsense_is_refused_and_nothing_moves(
    api: API, carol: Principal, make_answer: MakeAnswer, changes: dict[str, Any], status: int
) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    refused = api(carol).patch(f"/api/feedback/{given.id}/", changes, format="json")
    assert refused.status_code == status
    given.refresh_from_db()
    assert (given.thumb, given.revision) == ("up", 1)


def test_only_its_author_changes_or_withdraws_feedback(
    api: API, alice: Principal, carol: Principal, mallory: Principal, make_answer: MakeAnswer
) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    for person, status in ((alice, 403), (mallory, 404)):
        client = api(person)
        assert client.patch(f"/api/feedback/{given.id}/", {"thumb": "down"}, format="json").status_code == status
        assert client.delete(f"/api/feedback/{given.id}/").status_code == status
        assert client.get(f"/api/feedback/{given.id}/history/").status_code == (200 if person is alice else 404)
    given.refresh_from_db()
    assert (given.thumb, given.is_withdrawn) == ("up", False)


def test_withdrawn_feedback_is_gone_until_it_is_given_again(
    api: API, carol: Principal, make_answer: MakeAnswer
) -> None:
    answer, carols = make_answer(), api(carol)
    given = giving.give_feedback(principal=carol, message_id=answer.id, thumb="up")
    assert carols.delete(f"/api/feedback/{given.id}/").status_code == 204
    assert carols.delete(f"/api/feedback/{given.id}/").status_code == 404
    assert carols.get("/api/feedback/").json()["results"] == []
    aggregate_feedback()
    assert carols.get("/api/feedback/analytics/").json()["total"] == 0
    again = carols.post("/api/feedback/", {"message_id": answer.id, "thumb": "up"}, format="json").json()
    aggregate_feedback()
    assert (again["id"], again["revision"]) == (str(given.id), 3)
    assert carols.get("/api/feedback/analytics/").json()["total"] == 1


def test_a_batch_is_kept_whole(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    batch = [{"message_id": make_answer().id, "rating": stars} for stars in (1, 5)]
    kept = api(carol).post("/api/feedback/batch/", {"feedback": batch}, format="json")
    assert kept.status_code == 201
    assert [given["rating"] for given in kept.json()["results"]] == [1, 5]
    assert api(carol).post("/api/feedback/batch/", batch, format="json").status_code == 201
    assert Feedback.objects.count() == 2


@pytest.mark.parametrize(
    ("wrong", "status", "param"),
    [
        ({"rating": 6}, 400, "feedback.1.rating"),
        ({"thumb": "up", "message_id": str(uuid4())}, 404, "1"),
        ({"comment": " "}, 400, "1"),
    ],
    ids=["out of range", "unknown", "nothing"],
)
def test_a_batch_with_one_wrong_feedback_leaves_nothing_and_says_which(
    api: API, carol: Principal, make_answer: MakeAnswer, wrong: dict[str, Any], status: int, param: str
) -> None:
    batch = [{"message_id": make_answer().id, "rating": 1}, {"message_id": make_answer().id, **wrong}]
    refused = api(carol).post("/api/feedback/batch/", {"feedback": batch}, format="json")
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
    assert not Feedback.objects.exists()


def test_an_empty_batch_or_one_beyond_the_limit_is_refused(api: API, carol: Principal) -> None:
    for batch in ([], [{"run_id": str(uuid4()), "thumb": "up"}] * 501, "many", {"feedback": 3}):
        assert api(carol).post("/api/feedback/batch/", batch, format="json").status_code == 400


@pytest.mark.parametrize("bad", [b'{"thumb": "\\ud800"}', b'{"comment": "\\u0000"}', b"{", b"[" * 100 + b"]" * 100])
def test_surrogates_nuls_and_broken_bodies_are_400(api: API, carol: Principal, bad: bytes) -> None:
    for path in ("", "batch/"):
        answer = api(carol).post(f"/api/feedback/{path}", bad, content_type="application/json")
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "code", "param", "details"}


def test_who_says_too_much_in_a_minute_waits(
    api: API, carol: Principal, bob: Principal, make_answer: MakeAnswer, store: redis.Redis, settings: Settings
) -> None:
    settings.ATOM_FEEDBACK_PER_MINUTE = 3
    limits._away_until = 0.0
    answer = make_answer()
    body = {"message_id": answer.id, "thumb": "up"}
    # Six in one go meet at most one turn of the minute, so at least one of them is too much.
    answers = [api(carol).post("/api/feedback/", body, format="json") for _ in range(8)]
    refused = [given for given in answers if given.status_code == 429]
    assert refused
    assert refused[0].json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(refused[0]["Retry-After"]) <= 60
    assert api(bob).post("/api/feedback/", body, format="json").status_code == 201


def test_the_correction_is_shown_as_a_difference(api: API, carol: Principal, make_answer: MakeAnswer) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, correction="hello there")
    shown = api(carol).get(f"/api/feedback/{given.id}/").json()["diff"]
    assert shown == [{"op": "same", "text": "hello"}, {"op": "added", "text": " there"}]


def test_every_change_of_what_counts_is_told_once_and_the_trail_holds_it(
    bob: Principal,
    carol: Principal,
    make_answer: MakeAnswer,
    told: list[str],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    answer = make_answer()
    with django_capture_on_commit_callbacks(execute=True):
        given = giving.give_feedback(principal=carol, message_id=answer.id, thumb="up")
    with django_capture_on_commit_callbacks(execute=True):
        giving.give_feedback(principal=carol, message_id=answer.id, thumb="down")
        giving.give_feedback(principal=carol, message_id=answer.id, thumb="down")
    with django_capture_on_commit_callbacks(execute=True):
        judging.adjudicate(feedback=given, principal=bob, decision="reject")
    with django_capture_on_commit_callbacks(execute=True):
        giving.withdraw_feedback(feedback=given, principal=carol)
    assert told == ["given", "given", "judged", "judged"]
    entries = AuditEntry.objects.filter(event__startswith="feedback.").order_by("seq")
    words = ["given", "changed", "rejected", "withdrawn"]
    assert [entry.event for entry in entries] == [f"feedback.{word}" for word in words]


def test_words_that_a_reviewer_rejected_are_judged_again_after_an_edit(
    bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="down")
    judging.adjudicate(feedback=given, principal=bob, decision="reject")
    changed = giving.change_feedback(feedback=given, principal=carol, rating=1)
    assert changed.status == "pending"

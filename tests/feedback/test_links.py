"""Feedback links: one answer, judged by somebody without an account, until the link is over."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Message
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback.models import Feedback, FeedbackLink
from feedback.services.links import token_of

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


@pytest.fixture
def answer(make_answer: MakeAnswer) -> Message:
    return make_answer()


@pytest.fixture
def path(api: API, carol: Principal, answer: Message) -> str:
    """The path of a link that Carol made for the answer."""
    made = api(carol).post(f"/api/messages/{answer.id}/feedback-link/", {}, format="json")
    assert made.status_code == 201
    assert made.json()["url"].startswith("http://testserver/f/")
    address: str = made.json()["url"].removeprefix("http://testserver")
    return address


def test_a_stranger_reads_the_answer_and_judges_it(path: str, answer: Message) -> None:
    visitor = Client(enforce_csrf_checks=True)
    page = visitor.get(path)
    assert page.status_code == 200
    assert "hello" in page.text
    assert (page["Cache-Control"], page["Referrer-Policy"]) == ("no-store", "no-referrer")
    said = visitor.post(path, {"thumb": "down", "rating": "2", "correction": "hi", "comment": ""})
    assert (said.status_code, "Thank you" in said.text) == (200, True)
    given = Feedback.objects.get()
    assert (given.message_id, given.user_id, given.thumb, given.rating) == (answer.id, None, "down", 2)
    # Nobody knows who it was, so nothing counts before a reviewer has said so.
    assert given.status == "pending"


def test_a_thumb_from_a_link_waits_for_a_review_too(path: str) -> None:
    Client().post(path, {"thumb": "up"})
    assert Feedback.objects.get().status == "pending"


def test_the_link_changes_its_one_feedback(path: str) -> None:
    visitor = Client()
    visitor.post(path, {"thumb": "up", "comment": "first <b>"})
    page = visitor.get(path).text
    assert "first &lt;b&gt;" in page
    visitor.post(path, {"rating": "5"})
    given = Feedback.objects.get()
    assert (given.thumb, given.rating, given.revision) == ("", 5, 2)


def test_a_program_may_send_json(path: str) -> None:
    assert Client().post(path, {"rating": 4}, content_type="application/json").status_code == 200
    refused = Client().post(path, {"rating": 9}, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "rating")


@pytest.mark.parametrize(
    "said",
    [{}, {"comment": "  "}, {"thumb": "sideways"}, {"rating": "6"}, {"comment": "a\x00b"}, {"comment": "x" * 10_001}],
    ids=["nothing", "blank", "thumb", "rating", "nul", "long"],
)
def test_nonsense_is_a_page_with_a_400_and_nothing_is_kept(path: str, said: dict[str, Any]) -> None:
    refused = Client().post(path, said)
    assert refused.status_code == 400
    assert 'role="alert"' in refused.text
    assert not Feedback.objects.exists()


def test_a_link_that_is_over_or_taken_back_is_gone(api: API, carol: Principal, path: str) -> None:
    FeedbackLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().get(path).status_code == 410
    assert Client().post(path, {"thumb": "up"}).status_code == 410
    FeedbackLink.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert Client().get(path).status_code == 200
    link = FeedbackLink.objects.get()
    assert api(carol).delete(f"/api/feedback-links/{link.id}/").status_code == 204
    assert Client().get(path).status_code == 410
    assert "hello" not in Client().get(path).text
    assert api(carol).delete(f"/api/feedback-links/{link.id}/").status_code == 404
    assert not Feedback.objects.exists()
    events = AuditEntry.objects.filter(event__startswith="feedback.link").order_by("seq")
    assert list(events.values_list("event", flat=True)) == ["feedback.link_made", "feedback.link_revoked"]


def test_an_address_that_we_did_not_sign_is_not_found(path: str) -> None:
    link = FeedbackLink.objects.get()
    for token in ("x", link.id.hex, token_of(link)[:-1], token_of(link) + "a"):
        assert Client().get(f"/f/{token}/").status_code == 404


def test_a_link_says_too_much_only_so_often(path: str, store: Any) -> None:
    statuses = [Client().post(path, {"rating": str(1 + number % 5)}).status_code for number in range(42)]
    assert 429 in statuses


def test_links_are_made_for_answers_and_last_as_long_as_asked(
    api: API, carol: Principal, make_answer: MakeAnswer
) -> None:
    carols = api(carol)
    asked = make_answer(is_answered=False)
    assert carols.post(f"/api/messages/{asked.id}/feedback-link/", {}, format="json").status_code == 400
    answer = make_answer()
    for seconds in (0, 59, 91 * 86_400, "soon"):
        body = {"expires_in": seconds}
        assert carols.post(f"/api/messages/{answer.id}/feedback-link/", body, format="json").status_code == 400
    made = carols.post(f"/api/messages/{answer.id}/feedback-link/", {"expires_in": 60}, format="json").json()
    link = FeedbackLink.objects.get(pk=made["id"])
    assert timedelta(seconds=50) < link.expires_at - timezone.now() <= timedelta(seconds=60)


def test_no_link_is_made_for_an_answer_that_says_nothing(api: API, carol: Principal, answer: Message) -> None:
    """A run that was blocked, or whose answer is nothing but calls of tools."""
    Message.objects.filter(pk=answer.pk).update(parts=[])
    assert api(carol).post(f"/api/messages/{answer.id}/feedback-link/", {}, format="json").status_code == 409
    assert not FeedbackLink.objects.exists()


def test_mallory_makes_sees_and_revokes_no_link_of_alices(
    api: API, mallory: Principal, path: str, answer: Message
) -> None:
    hers = api(mallory)
    assert hers.post(f"/api/messages/{answer.id}/feedback-link/", {}, format="json").status_code == 404
    assert hers.get("/api/feedback-links/").json()["results"] == []
    assert hers.delete(f"/api/feedback-links/{FeedbackLink.objects.get().id}/").status_code == 404
    assert Client().get(path).status_code == 200


def test_a_member_sees_and_revokes_their_own_links_only(
    api: API, alice: Principal, bob: Principal, carol: Principal, answer: Message, path: str
) -> None:
    made = api(bob).post(f"/api/messages/{answer.id}/feedback-link/", {}, format="json").json()
    assert api(carol).delete(f"/api/feedback-links/{made['id']}/").status_code == 404
    assert len(api(carol).get("/api/feedback-links/").json()["results"]) == 1
    assert len(api(alice).get("/api/feedback-links/").json()["results"]) == 2

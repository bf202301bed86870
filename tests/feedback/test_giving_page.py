"""The admin's page where a signed-in person judges an answer, or makes a link for somebody without an account."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Message
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from feedback.models import Feedback, FeedbackLink
from feedback.services import giving

MakeAnswer = Callable[..., Message]
LIST = "/admin/feedback/feedback/"
ADD = f"{LIST}add/"
UNKNOWN = "There is no message or run with this id."


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def errors_beside(html: str, field: str) -> str:
    """What is written below the field, up to the next one."""
    after = html.split(f'id="id_{field}"', 1)[1]
    return unescape(re.split(r"<label|</form>", after, maxsplit=1)[0])


def link_fields(answer: Any, days: Any = 3) -> dict[str, Any]:
    return {"link-answer": answer, "link-days": days, "make_link": "1"}


@pytest.mark.parametrize("named_by", ["message", "run"])
def test_a_signed_in_person_judges_an_answer(carol: Principal, make_answer: MakeAnswer, named_by: str) -> None:
    answer = make_answer()
    sent = {
        "answer": answer.pk if named_by == "message" else answer.run_id,
        "thumb": "down",
        "rating": "2",
        "correction": "good day",
        "comment": "too short",
        "category": "tone",
        "tags": "Rude, short,",
    }
    page = signed_in(carol).post(ADD, sent)
    given = Feedback.objects.get()
    assert (page.status_code, page["Location"]) == (302, f"{LIST}{given.pk}/change/")
    assert (given.message_id, given.user_id, given.status) == (answer.pk, carol.user_id, "pending")
    assert (given.thumb, given.rating, given.correction) == ("down", 2, "good day")
    assert (given.comment, given.category, given.tags) == ("too short", "tone", ["rude", "short"])
    [entry] = AuditEntry.objects.filter(event="feedback.given")
    assert entry.actor == "carol"


def test_the_page_shows_the_answer_and_what_was_said_before(carol: Principal, make_answer: MakeAnswer) -> None:
    answer = make_answer()
    giving.give_feedback(principal=carol, message_id=answer.pk, thumb="up", correction="good <day>", tags=["a", "b"])
    html = signed_in(carol).get(f"{ADD}?answer={answer.pk}").text
    for shown in ("hello", f'value="{answer.pk}"', "good &lt;day&gt;", 'value="a, b"', '<option value="up" selected>'):
        assert shown in html
    client = signed_in(carol)
    assert client.post(ADD, {"answer": answer.pk, "thumb": "down"}).status_code == 302
    given = Feedback.objects.get()
    assert (given.thumb, given.correction, given.revision) == ("down", "", 2)


def test_what_another_person_said_is_not_filled_in(bob: Principal, carol: Principal, make_answer: MakeAnswer) -> None:
    answer = make_answer()
    giving.give_feedback(principal=carol, message_id=answer.pk, comment="between us")
    assert "between us" not in signed_in(bob).get(f"{ADD}?answer={answer.pk}").text


def test_the_list_and_the_trace_lead_to_the_page(carol: Principal, make_answer: MakeAnswer) -> None:
    client, answer = signed_in(carol), make_answer()
    assert f'href="{ADD}"' in client.get(LIST).text
    html = client.get(f"/admin/trace/?id={answer.run_id}").text
    assert re.findall(rf'href="({ADD}[^"]*)"', html) == [f"{ADD}?answer={answer.pk}", f"{ADD}?answer={answer.pk}#link"]


@pytest.mark.parametrize(
    ("sent", "field", "told"),
    [
        ({"answer": "nonsense", "thumb": "up"}, "answer", "This is not an id."),
        ({"answer": str(uuid4()), "thumb": "up"}, "answer", UNKNOWN),
        ({"rating": "6"}, "rating", "Select a valid choice"),
        ({"comment": "a\x00b"}, "comment", "Null characters are not allowed."),
        ({"comment": "x" * 50_001}, "comment", "at most 50000 characters"),
        ({"thumb": "up", "tags": ",".join("abcdefghijk")}, "tags", "At most 10 tags."),
        ({"thumb": "up", "tags": "x" * 41}, "tags", "A tag has at most 40 characters."),
    ],
    ids=["no id", "unknown", "six stars", "a NUL", "too long", "eleven tags", "a long tag"],
)
def test_what_is_refused_is_told_beside_its_field(
    carol: Principal, make_answer: MakeAnswer, sent: dict[str, str], field: str, told: str
) -> None:
    html = signed_in(carol).post(ADD, {"answer": make_answer().pk, **sent}).text
    assert told in errors_beside(html, field)
    assert not Feedback.objects.exists()


def test_saying_nothing_is_told_above_the_form(carol: Principal, make_answer: MakeAnswer) -> None:
    html = signed_in(carol).post(ADD, {"answer": make_answer().pk, "comment": "  "}).text
    assert "Give at least one of thumb, rating, correction, comment." in html
    assert not Feedback.objects.exists()


def test_a_question_and_a_run_without_an_answer_are_told_beside_the_answer(
    carol: Principal, make_answer: MakeAnswer
) -> None:
    asked = make_answer(is_answered=False)
    client = signed_in(carol)
    for reference, told in ((asked.pk, "an agent's answer"), (asked.run_id, "This run has no answer to judge.")):
        assert told in errors_beside(client.post(ADD, {"answer": reference, "thumb": "up"}).text, "answer")
        assert told in errors_beside(client.post(ADD, link_fields(reference)).text, "link-answer")
    assert not Feedback.objects.exists()
    assert not FeedbackLink.objects.exists()


def test_a_link_is_shown_once_with_its_expiry_and_works(carol: Principal, make_answer: MakeAnswer) -> None:
    answer = make_answer()
    client = signed_in(carol)
    assert "Make a feedback link" in client.get(f"{ADD}?answer={answer.pk}").text
    page = client.post(ADD, link_fields(answer.pk))
    link = FeedbackLink.objects.get()
    assert (link.message_id, link.created_by_id, link.workspace_id) == (answer.pk, carol.user_id, carol.workspace_id)
    assert abs(link.expires_at - timezone.now() - timedelta(days=3)) < timedelta(minutes=5)
    assert "no-store" in page["Cache-Control"]
    assert f"{link.expires_at:%Y-%m-%d %H:%M} UTC" in page.text
    [address] = re.findall(r'<code id="secret">http://testserver([^<]+)</code>', page.text)
    assert address not in client.get(f"{ADD}?answer={answer.pk}").text
    assert Client().post(address, {"thumb": "up"}).status_code == 200
    assert Feedback.objects.get().link_id == link.pk
    assert AuditEntry.objects.filter(event="feedback.link_made", actor="carol").count() == 1


@pytest.mark.parametrize(
    ("days", "told"),
    [("0", "greater than or equal to 1."), ("91", "less than or equal to 90."), ("", "This field is required.")],
)
def test_a_link_lasts_from_one_to_ninety_days(carol: Principal, make_answer: MakeAnswer, days: str, told: str) -> None:
    html = signed_in(carol).post(ADD, link_fields(make_answer().pk, days)).text
    assert told in errors_beside(html, "link-days")
    assert not FeedbackLink.objects.exists()


@pytest.mark.parametrize("named_by", ["message", "run"])
def test_mallory_judges_no_answer_of_alices_and_makes_no_link_to_it(
    mallory: Principal, make_answer: MakeAnswer, named_by: str
) -> None:
    """Neither learns she that it exists: she reads what she would read of any id."""
    answer = make_answer()
    reference = answer.pk if named_by == "message" else answer.run_id
    client = signed_in(mallory)
    assert "hello" not in client.get(f"{ADD}?answer={reference}").text
    assert UNKNOWN in errors_beside(client.post(ADD, {"answer": reference, "thumb": "down"}).text, "answer")
    assert UNKNOWN in errors_beside(client.post(ADD, link_fields(reference)).text, "link-answer")
    assert not Feedback.objects.exists()
    assert not FeedbackLink.objects.exists()


def test_who_is_not_signed_in_is_asked_to(make_answer: MakeAnswer) -> None:
    page = Client().post(ADD, {"answer": make_answer().pk, "thumb": "up"})
    assert (page.status_code, page["Location"].startswith("/admin/login/")) == (302, True)
    assert not Feedback.objects.exists()


def test_the_queue_has_no_page_to_add_to(alice: Principal, db: None) -> None:
    assert signed_in(alice).get("/admin/feedback/feedbacktojudge/add/").status_code == 403

"""Feedback in the admin: one list to read, two buttons for those who judge."""

from collections.abc import Callable

import httpx
import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Message
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from feedback.models import Feedback, Reviewer
from feedback.services import giving, judging

MakeAnswer = Callable[..., Message]
LIST = "/admin/feedback/feedback/"


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def url(given: Feedback, verb: str) -> str:
    return reverse(f"admin:feedback_feedback_{verb}", args=[given.pk])


@pytest.fixture
def given(carol: Principal, make_answer: MakeAnswer) -> Feedback:
    """Carol's correction, which waits for a review."""
    return giving.give_feedback(
        principal=carol, message_id=make_answer().id, thumb="down", rating=2, correction="Better: <b>good day</b>"
    )


def test_the_list_shows_what_was_said(given: Feedback, alice: Principal) -> None:
    html = signed_in(alice).get(LIST).text
    for shown in ("Helper", "negative", "★★☆☆☆", "Better: &lt;b&gt;good day&lt;/b&gt;", "pending", "carol"):
        assert shown in html


def test_the_page_leads_to_the_session(given: Feedback, alice: Principal) -> None:
    html = signed_in(alice).get(f"{LIST}{given.pk}/change/").text
    assert reverse("admin:agents_session_change", args=[given.session_id]) in html
    assert "hello" in html


def test_feedback_on_a_call_without_a_session_has_a_page(
    carol: Principal, alice: Principal, make_answer: MakeAnswer
) -> None:
    answer = make_answer()
    given = giving.give_feedback(principal=carol, message_id=answer.id, comment="fine")
    Feedback.objects.filter(pk=given.pk).update(session=None)
    assert signed_in(alice).get(f"{LIST}{given.pk}/change/").status_code == 200


def test_nobody_changes_what_another_said(given: Feedback, alice: Principal) -> None:
    client = signed_in(alice)
    assert client.post(f"{LIST}{given.pk}/change/", {"thumb": "up"}).status_code == 403
    assert client.post(f"{LIST}{given.pk}/delete/", {"post": "yes"}).status_code == 403
    given.refresh_from_db()
    assert given.thumb == "down"


@pytest.mark.parametrize(("verb", "status"), [("accept", "accepted"), ("reject", "rejected")])
def test_an_approver_judges_after_being_asked(given: Feedback, bob: Principal, verb: str, status: str) -> None:
    client = signed_in(bob)
    assert f"{verb.title()} this feedback?" in client.get(url(given, verb)).text
    given.refresh_from_db()
    assert given.status == "pending"
    answer = client.post(url(given, verb), {"reason": "checked"}, follow=True)
    assert f"The feedback was {status}." in answer.text
    given.refresh_from_db()
    assert (given.status, given.note, given.adjudicated_by_id) == (status, "checked", bob.user_id)
    assert AuditEntry.objects.filter(event=f"feedback.{status}").count() == 1


def test_the_same_decision_twice_is_a_message(given: Feedback, bob: Principal) -> None:
    client = signed_in(bob)
    client.post(url(given, "accept"))
    assert "This feedback is accepted already." in client.post(url(given, "accept"), follow=True).text


def test_a_member_reads_and_does_not_judge(given: Feedback, carol: Principal) -> None:
    client = signed_in(carol)
    assert client.get(LIST).status_code == 200
    assert url(given, "accept") not in client.get(f"{LIST}{given.pk}/change/").text
    client.post(url(given, "accept"))
    given.refresh_from_db()
    assert given.status == "pending"


def test_mallory_finds_no_feedback_in_the_admin(given: Feedback, mallory: Principal) -> None:
    client = signed_in(mallory)
    assert "good day" not in client.get(LIST).text
    assert client.get(f"{LIST}{given.pk}/change/", follow=False).status_code in {302, 404}
    client.post(url(given, "accept"))
    given.refresh_from_db()
    assert given.status == "pending"


@pytest.mark.django_db(transaction=True)
def test_everything_is_downloaded_from_the_list(
    given: Feedback, server: str, bob: Principal, mallory: Principal
) -> None:
    judging.adjudicate(feedback=given, principal=bob, decision="accept")
    found = {}
    for person in (bob, mallory):
        cookies = {name: morsel.value for name, morsel in signed_in(person).cookies.items()}
        for form in ("csv", "json", "dataset"):
            answer = httpx.get(f"{server}{LIST}{form}/", cookies=cookies, timeout=30)
            assert answer.headers["content-disposition"].startswith("attachment")
            found[person.username, form] = "good day" in answer.text
    assert found == {(name, form): name == "bob" for name in ("bob", "mallory") for form in ("csv", "json", "dataset")}


@pytest.mark.django_db(transaction=True)
def test_a_download_has_what_the_list_shows(
    given: Feedback, server: str, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up", comment="lovely")
    client = signed_in(bob)
    assert (
        f'href="{LIST}csv/?sentiment=positive&amp;q=love"' in client.get(f"{LIST}?sentiment=positive&q=love&p=1").text
    )
    assert f'href="{LIST}csv/"' in client.get(LIST).text
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    found = {}
    for asked in ("", "?sentiment=positive", "?status__exact=pending", "?q=lovely", "?sentiment=positive&q=day"):
        text = httpx.get(f"{server}{LIST}csv/{asked}", cookies=cookies, timeout=30).text
        found[asked] = ("good day" in text, "lovely" in text)
    assert found == {
        "": (True, True),
        "?sentiment=positive": (False, True),
        "?status__exact=pending": (True, False),
        "?q=lovely": (False, True),
        "?sentiment=positive&q=day": (False, False),
    }
    assert httpx.get(f"{server}{LIST}csv/?bogus=1", cookies=cookies, timeout=30).status_code == 302


REVIEWERS = "/admin/feedback/reviewer/"


def test_an_owner_names_a_reviewer_and_takes_it_back(alice: Principal, carol: Principal) -> None:
    client = signed_in(alice)
    assert client.post(f"{REVIEWERS}add/", {"user": str(carol.user_id), "category": "tone"}).status_code == 302
    made = Reviewer.objects.get()
    assert (made.user_id, made.category, made.workspace_id) == (carol.user_id, "tone", alice.workspace_id)
    again = client.post(f"{REVIEWERS}add/", {"user": str(carol.user_id), "category": "tone"}, follow=True)
    assert "This member reviews that category already." in again.text
    assert client.post(f"{REVIEWERS}{made.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Reviewer.objects.exists()
    events = AuditEntry.objects.filter(event__startswith="feedback.reviewer").order_by("seq")
    assert list(events.values_list("event", flat=True)) == ["feedback.reviewer_added", "feedback.reviewer_removed"]


def test_mallory_and_members_name_and_see_no_reviewer_of_alices(
    alice: Principal, bob: Principal, carol: Principal, mallory: Principal
) -> None:
    made = judging.add_reviewer(principal=alice, user_id=carol.user_id, category="zebra")
    for person in (bob, carol):
        assert signed_in(person).get(REVIEWERS).status_code == 403
    client = signed_in(mallory)
    assert "zebra" not in client.get(REVIEWERS).text
    assert client.post(f"{REVIEWERS}add/", {"user": str(carol.user_id), "category": ""}).status_code == 200
    client.post(f"{REVIEWERS}{made.pk}/delete/", {"post": "yes"})
    assert list(Reviewer.objects.values_list("pk", flat=True)) == [made.pk]


def test_a_reviewers_specialty_is_offered_from_what_there_is_in_the_workspace(
    alice: Principal, carol: Principal, mallory: Principal, make_answer: MakeAnswer
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up", category="zebra & co")
    assert '<option value="zebra &amp; co">' in signed_in(alice).get(f"{REVIEWERS}add/").text
    assert "zebra" not in signed_in(mallory).get(f"{REVIEWERS}add/").text

"""The queue: who sees what waits, who decides, and what a split keeps."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from agents.models import Message
from atom.ground.errors import Conflict, Forbidden
from atom.ground.models import AuditEntry, Membership, Role, Workspace
from atom.ground.principal import Principal
from atom.ground.services import add_member
from atom.ground.tokens import principal_of_user
from feedback.models import Feedback, Part
from feedback.services import giving, judging

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


@pytest.fixture
def dora(workspace: Workspace) -> Principal:
    """A member who knows about tone, and may judge what is said of it."""
    member = add_member(
        workspace=workspace, username="dora", password="correct horse battery", role=Role.MEMBER, by="alice"
    )
    return principal_of_user(member.user_id)


@pytest.fixture
def special(api: API, alice: Principal, dora: Principal) -> str:
    """Dora's specialty, as Alice has entered it."""
    made = api(alice).post("/api/feedback/reviewers/", {"user": "dora", "category": "tone"}, format="json")
    assert made.status_code == 201
    reviewer: str = made.json()["id"]
    return reviewer


def correct(person: Principal, answer: Message, **said: Any) -> Feedback:
    return giving.give_feedback(principal=person, message_id=answer.id, correction="better", **said)


def test_a_split_keeps_one_part_and_rejects_the_other(
    api: API, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer(), thumb="down")
    path = f"/api/feedback/{given.id}/adjudicate/"
    split = api(bob).post(path, {"decision": "split", "keep": "opinion"}, format="json")
    assert (split.status_code, split.json()["status"], split.json()["kept"]) == (200, "split", "opinion")
    given.refresh_from_db()
    assert given.is_accepted(Part.OPINION)
    assert not given.is_accepted(Part.CORRECTION)
    assert api(bob).post(path, {"decision": "split", "keep": "opinion"}, format="json").status_code == 409
    assert api(bob).post(path, {"decision": "split", "keep": "correction"}, format="json").status_code == 200
    given.refresh_from_db()
    assert (given.is_accepted(Part.OPINION), given.is_accepted(Part.CORRECTION)) == (False, True)
    assert AuditEntry.objects.filter(event="feedback.split").count() == 2


def test_what_has_one_part_only_is_not_split(
    api: API, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer())
    for body in ({"decision": "split", "keep": "opinion"}, {"decision": "split"}, {"decision": "maybe"}):
        assert api(bob).post(f"/api/feedback/{given.id}/adjudicate/", body, format="json").status_code == 400
    both = {"decision": "accept", "accepted": True}
    assert api(bob).post(f"/api/feedback/{given.id}/adjudicate/", both, format="json").status_code == 400


def test_the_queue_holds_what_waits_the_oldest_first(
    api: API, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    first, second = correct(carol, make_answer()), correct(carol, make_answer())
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    assert [row["id"] for row in api(bob).get("/api/feedback/queue/").json()["results"]] == [
        str(first.id),
        str(second.id),
    ]
    judging.adjudicate(feedback=first, principal=bob, decision="accept")
    assert [row["id"] for row in api(bob).get("/api/feedback/queue/").json()["results"]] == [str(second.id)]


def test_a_member_without_a_specialty_has_an_empty_queue(
    api: API, carol: Principal, bob: Principal, make_answer: MakeAnswer
) -> None:
    correct(bob, make_answer())
    assert api(carol).get("/api/feedback/queue/").json()["results"] == []


def test_new_feedback_goes_to_the_reviewer_of_its_category(
    api: API, carol: Principal, dora: Principal, special: str, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer(), category="tone")
    other = correct(carol, make_answer(), category="facts")
    assert (given.assignee_id, other.assignee_id) == (dora.user_id, None)
    [mine] = api(dora).get("/api/feedback/queue/?mine=true").json()["results"]
    assert (mine["id"], mine["assignee"]) == (str(given.id), "dora")


def test_a_reviewer_judges_their_category_and_nothing_else(
    api: API, carol: Principal, dora: Principal, special: str, make_answer: MakeAnswer
) -> None:
    for category, status in (("tone", 200), ("facts", 403)):
        given = correct(carol, make_answer(), category=category)
        answer = api(dora).post(f"/api/feedback/{given.id}/adjudicate/", {"accepted": True}, format="json")
        assert answer.status_code == status


def test_a_reviewer_does_not_judge_their_own_words(dora: Principal, special: str, make_answer: MakeAnswer) -> None:
    given = correct(dora, make_answer(), category="tone")
    assert given.assignee_id is None
    with pytest.raises(Forbidden):
        judging.adjudicate(feedback=given, principal=dora, decision="accept")


def test_who_is_no_reviewer_any_more_judges_nothing(
    api: API, alice: Principal, carol: Principal, dora: Principal, special: str, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer(), category="tone")
    assert api(alice).delete(f"/api/feedback/reviewers/{special}/").status_code == 204
    with pytest.raises(Forbidden):
        judging.adjudicate(feedback=given, principal=dora, decision="accept")
    events = AuditEntry.objects.filter(event__startswith="feedback.reviewer_").values_list("event", flat=True)
    assert set(events) == {"feedback.reviewer_added", "feedback.reviewer_removed"}


def test_feedback_is_handed_to_somebody_who_may_judge_it(
    api: API, bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    path = f"/api/feedback/{correct(carol, make_answer()).id}/assign/"
    assert api(bob).post(path, {"user": "bob"}, format="json").json()["assignee"] == "bob"
    assert api(bob).post(path, {"user": "carol"}, format="json").status_code == 400
    assert api(bob).post(path, {"user": "mallory"}, format="json").status_code == 404
    assert api(bob).post(path, {"user": None}, format="json").json()["assignee"] is None
    assert api(carol).post(path, {"user": "bob"}, format="json").status_code == 403


def test_only_owners_name_reviewers_and_each_once(
    api: API, alice: Principal, bob: Principal, dora: Principal, special: str
) -> None:
    body = {"user": "dora", "category": "tone"}
    assert api(bob).post("/api/feedback/reviewers/", body, format="json").status_code == 403
    assert api(alice).post("/api/feedback/reviewers/", body, format="json").status_code == 409
    assert api(alice).post("/api/feedback/reviewers/", {"user": "nobody"}, format="json").status_code == 404


def test_mallory_sees_and_names_nobody_of_alices(
    api: API, mallory: Principal, carol: Principal, special: str, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer(), category="tone")
    hers = api(mallory)
    assert hers.get("/api/feedback/queue/").json()["results"] == []
    assert hers.get("/api/feedback/reviewers/").json()["results"] == []
    assert hers.delete(f"/api/feedback/reviewers/{special}/").status_code == 404
    assert hers.post("/api/feedback/reviewers/", {"user": "carol"}, format="json").status_code == 404
    assert hers.post(f"/api/feedback/{given.id}/assign/", {"user": "mallory"}, format="json").status_code == 404
    assert Membership.objects.filter(user__username="mallory").count() == 1


def test_the_specialist_with_the_least_to_do_is_asked_before_those_who_know_everything(
    api: API, alice: Principal, carol: Principal, dora: Principal, workspace: Workspace, make_answer: MakeAnswer
) -> None:
    people = {"dora": "tone", "erin": "tone", "fred": ""}
    for name in ("erin", "fred"):
        add_member(workspace=workspace, username=name, password="correct horse battery", role=Role.MEMBER, by="alice")
    for name, category in reversed(people.items()):
        body = {"user": name, "category": category}
        assert api(alice).post("/api/feedback/reviewers/", body, format="json").status_code == 201
    asked = [correct(carol, make_answer(), category="tone").assignee for _ in range(4)]
    assert sorted(str(person) for person in asked) == ["dora", "dora", "erin", "erin"]
    assert str(correct(carol, make_answer(), category="facts").assignee) == "fred"


def test_withdrawn_words_are_judged_no_more(bob: Principal, carol: Principal, make_answer: MakeAnswer) -> None:
    given = correct(carol, make_answer())
    giving.withdraw_feedback(feedback=given, principal=carol)
    with pytest.raises(Conflict):
        judging.adjudicate(feedback=given, principal=bob, decision="accept")


def test_who_accepts_the_whole_after_a_split_keeps_no_single_part(
    bob: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    given = correct(carol, make_answer(), thumb="down")
    judging.adjudicate(feedback=given, principal=bob, decision="split", keep="opinion")
    # A part that is named where none is asked for says nothing.
    whole = judging.adjudicate(feedback=given, principal=bob, decision="accept", keep="opinion")
    assert whole.kept == ""
    assert whole.is_accepted(Part.OPINION)
    assert whole.is_accepted(Part.CORRECTION)

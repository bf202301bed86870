"""Quorum, four eyes, and looking again when a person approves."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.db import connection
from django.urls import reverse
from rest_framework.test import APIClient

from agents.models import Agent, Maturity
from atom.ground.errors import AlreadyDecided, Conflict, Forbidden
from atom.ground.models import AuditEntry, Role, Workspace
from atom.ground.principal import Principal
from atom.ground.services import add_member
from atom.ground.tokens import principal_of_user
from governance import services
from governance.judging import judge_action
from governance.models import Approval, ApprovalStatus, ApprovalVote, PolicyVersion
from governance.policies import services as policies
from tests.conftest import PASSWORD
from tests.governance.conftest import action_of
from tests.governance.test_admin import signed_in
from tests.governance.test_policies import document

API = Callable[[Principal | None], APIClient]
Put = Callable[..., PolicyVersion]


@pytest.fixture
def put(alice: Principal, store: redis.Redis) -> Put:
    def make(*rules: dict[str, Any]) -> PolicyVersion:
        version = policies.save_policy(principal=alice, name="house", document=document(*rules))
        return policies.activate(policy=version.policy, principal=alice)

    return make


@pytest.fixture
def asked(make_agent: Callable[..., Agent]) -> Callable[..., Approval]:
    agent = make_agent(maturity=Maturity.INTERN)

    def make(by: Principal | None = None, **given: Any) -> Approval:
        verdict = judge_action(action_of(agent, user_id=by.user_id if by else None, **given))
        return Approval.objects.get(decision=verdict.decision_id)

    return make


TWO = {"actions": ["delete"], "decision": "ask", "quorum": 2}
FOUR_EYES = {"actions": ["delete"], "decision": "ask", "four_eyes": True}


def test_two_people_must_approve(
    put: Put, asked: Callable[..., Approval], alice: Principal, bob: Principal, api: API
) -> None:
    put(TWO)
    approval = asked()
    url = f"/api/approvals/{approval.pk}/approve/"
    first = api(bob).post(url, {"revision": 1, "note": "fine"}, format="json").json()
    assert (first["status"], first["quorum"], first["votes"]) == ("pending", 2, ["bob"])
    again = api(bob).post(url, {"revision": 1}, format="json")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    second = api(alice).post(url, {"revision": 1}, format="json").json()
    assert (second["status"], second["votes"], second["decided_by"]) == ("approved", ["bob", "alice"], "alice")
    events = AuditEntry.objects.filter(event__startswith="approval.").order_by("seq").values_list("event", flat=True)
    assert list(events) == ["approval.requested", "approval.vote", "approval.approved"]


def test_one_no_is_enough(put: Put, asked: Callable[..., Approval], alice: Principal, bob: Principal) -> None:
    put(TWO)
    approval = asked()
    services.approve(approval=approval, principal=bob, revision=1)
    assert services.reject(approval=approval, principal=alice, revision=1).status == ApprovalStatus.REJECTED
    with pytest.raises(AlreadyDecided):
        services.approve(approval=approval, principal=bob, revision=1)


def test_whoever_caused_it_does_not_approve_it_under_four_eyes(
    put: Put, asked: Callable[..., Approval], bob: Principal, alice: Principal, api: API
) -> None:
    put(FOUR_EYES)
    approval = asked(by=bob)
    url = f"/api/approvals/{approval.pk}/approve/"
    assert api(bob).post(url, {"revision": 1}, format="json").status_code == 403
    assert not ApprovalVote.objects.exists()
    assert api(alice).post(url, {"revision": 1}, format="json").json()["status"] == "approved"


def test_without_four_eyes_they_may(asked: Callable[..., Approval], bob: Principal) -> None:
    assert services.approve(approval=asked(by=bob), principal=bob, revision=1).status == ApprovalStatus.APPROVED


def test_rules_that_ask_together_are_joined(put: Put, asked: Callable[..., Approval]) -> None:
    put(TWO, {**FOUR_EYES, "when": "arguments.id > 5"})
    approval = asked(arguments={"id": 7})
    assert (approval.quorum, approval.four_eyes) == (2, True)
    assert not asked(arguments={"id": 3}).four_eyes


def test_a_policy_that_denies_by_now_is_not_approved_past(
    put: Put, asked: Callable[..., Approval], bob: Principal, api: API
) -> None:
    approval = asked()
    put({"actions": ["delete"], "decision": "deny"})
    answer = api(bob).post(f"/api/approvals/{approval.pk}/approve/", {"revision": 1}, format="json")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == (
        "This may not happen any more. The rule 'rule-0' of house@1 does not allow to delete."
    )
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_an_agent_that_was_demoted_is_not_approved_past(asked: Callable[..., Approval], bob: Principal) -> None:
    approval = asked()
    Agent.objects.update(maturity=Maturity.STUDENT)
    with pytest.raises(Conflict, match="A student may not delete"):
        services.approve(approval=approval, principal=bob, revision=1)


def test_a_stricter_policy_counts_for_what_waits_already(
    put: Put, asked: Callable[..., Approval], bob: Principal, alice: Principal
) -> None:
    approval = asked(by=bob)
    put({**TWO, "four_eyes": True})
    with pytest.raises(Forbidden):
        services.approve(approval=approval, principal=bob, revision=1)
    assert services.approve(approval=approval, principal=alice, revision=1).status == ApprovalStatus.PENDING


def test_the_inbox_counts_votes(put: Put, asked: Callable[..., Approval], alice: Principal, bob: Principal) -> None:
    put(TWO)
    approval = asked()
    url = reverse("admin:governance_approval_approve", args=[approval.pk])
    body = {"_form_submitted": "True", "revision": 1, "note": ""}
    html = signed_in(bob).post(url, body, follow=True).content.decode()
    assert "Your yes is counted (bob (1 of 2)): delete by Helper." in html
    assert "Approved: delete by Helper." in signed_in(alice).post(url, body, follow=True).content.decode()


@pytest.mark.postgres
def test_of_votes_at_once_none_is_lost(
    transactional_db: None, put: Put, asked: Callable[..., Approval], workspace: Workspace
) -> None:
    put({**TWO, "quorum": 8})
    approval = asked()
    names = [f"person{number}" for number in range(8)]
    people = [
        principal_of_user(
            add_member(workspace=workspace, username=name, password=PASSWORD, role=Role.APPROVER, by="alice").user_id
        )
        for name in names
    ]
    line = threading.Barrier(len(people))

    def vote(person: Principal) -> None:
        try:
            line.wait()
            services.approve(approval=approval, principal=person, revision=1)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(vote, people))
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.APPROVED

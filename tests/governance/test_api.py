from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Agent, AgentStatus
from atom.ground.models import Membership
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from governance.models import Approval

Api = Callable[..., APIClient]
DELETE = {"agent": "intern", "action": "delete", "arguments": {"id": 7}}


def posted(client: APIClient, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(f"/api/{path}", body, format="json")
    return answer.status_code, answer.json()


def with_scopes(principal: Principal, *scopes: str) -> APIClient:
    member = Membership.objects.get(user_id=principal.user_id)
    client = APIClient()
    secret = create_token(membership=member, name="narrow", by="test", scopes=scopes)[1]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


# --- actions/ --------------------------------------------------------------------------------------------


def test_an_action_is_judged(api: Api, carol: Principal, intern: Agent) -> None:
    status, verdict = posted(api(carol), "actions/", DELETE)
    approval = Approval.objects.get()
    assert status == 200
    assert verdict == {
        "id": str(approval.decision_id),
        "decision": "ask",
        "reason": "An intern may delete only after a person has approved it.",
        "complexity": 4,
        "required_maturity": "autonomous",
        "rule": "matrix:intern:4",
        "policy_version": "default-1",
        "approval_id": str(approval.id),
        "is_error": False,
    }
    assert (approval.requested_by_id, approval.arguments) == (carol.user_id, {"id": 7})


def test_a_denial_is_an_answer_too(api: Api, carol: Principal, make_agent: Callable[..., Agent]) -> None:
    make_agent("student", maturity="student")
    status, verdict = posted(api(carol), "actions/", {**DELETE, "agent": "student", "context": {"ip": "::1"}})
    assert (status, verdict["decision"], verdict["approval_id"]) == (200, "deny", None)


def test_a_paused_agent_is_denied(api: Api, carol: Principal, intern: Agent) -> None:
    Agent.objects.update(status=AgentStatus.PAUSED)
    assert posted(api(carol), "actions/", {"agent": "intern", "action": "read"})[1]["decision"] == "deny"


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent": None},
        {"action": ""},
        {"action": "x" * 201},
        {"arguments": [1]},
        {"context": "x"},
        {"expires_in": 0},
        {"expires_in": 86_401},
        {"expires_in": "soon"},
    ],
)
def test_a_malformed_action_is_refused(api: Api, carol: Principal, intern: Agent, wrong: dict[str, Any]) -> None:
    status, body = posted(api(carol), "actions/", {**DELETE, **wrong})
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert not Approval.objects.exists()


def test_an_unknown_agent_is_not_found(api: Api, carol: Principal, mallory: Principal, intern: Agent) -> None:
    assert posted(api(carol), "actions/", {**DELETE, "agent": "nobody"})[0] == 404
    assert posted(api(mallory), "actions/", DELETE)[0] == 404


def test_an_action_needs_a_token_with_the_scope_chat(api: Api, carol: Principal, intern: Agent) -> None:
    assert posted(api(), "actions/", DELETE)[0] == 401
    assert posted(with_scopes(carol, "feedback"), "actions/", DELETE)[0] == 403


# --- actions/{id}/outcome/ -------------------------------------------------------------------------------


def test_an_outcome_is_reported_once(api: Api, alice: Principal, intern: Agent) -> None:
    client = api(alice)
    verdict = posted(client, "actions/", DELETE)[1]
    outcome = f"actions/{verdict['id']}/outcome/"
    done = {"status": "succeeded", "result": {"rows": 1}}
    assert posted(client, outcome, done)[0] == 409
    assert posted(client, f"approvals/{verdict['approval_id']}/approve/", {"revision": 1})[0] == 200
    status, body = posted(client, outcome, done)
    assert (status, body["status"], body["result"]) == (200, "succeeded", {"rows": 1})
    assert posted(client, outcome, done)[0] == 409
    assert client.get(f"/api/approvals/{verdict['approval_id']}/").json()["status"] == "executed"


@pytest.mark.parametrize("wrong", [{}, {"status": "perhaps"}, {"status": "failed", "error": 10_001 * "x"}])
def test_a_malformed_outcome_is_refused(
    api: Api, alice: Principal, ask: Callable[..., Approval], wrong: dict[str, Any]
) -> None:
    assert posted(api(alice), f"actions/{ask().decision_id}/outcome/", wrong)[0] == 400


def test_mallory_cannot_report(api: Api, mallory: Principal, ask: Callable[..., Approval]) -> None:
    path = f"actions/{ask().decision_id}/outcome/"
    assert posted(api(mallory), path, {"status": "succeeded"})[0] == 404
    assert posted(api(), path, {"status": "succeeded"})[0] == 401


# --- approvals/ ------------------------------------------------------------------------------------------


def test_anybody_in_the_workspace_may_look(api: Api, carol: Principal, ask: Callable[..., Approval]) -> None:
    approval = ask()
    listed = api(carol).get("/api/approvals/").json()
    assert set(listed) == {"results", "next", "previous"}
    shown = listed["results"][0]
    assert shown == api(carol).get(f"/api/approvals/{approval.id}/").json()
    assert shown["id"] == str(approval.id)
    assert (shown["status"], shown["agent"], shown["action"]) == ("pending", "intern", "delete")
    assert (shown["arguments"], shown["revision"], shown["run_id"]) == ({"id": 7}, 1, None)
    assert shown["reason"].startswith("An intern may delete only")
    assert (shown["decided_by"], shown["decided_at"], shown["note"]) == (None, None, "")
    assert shown["created_at"] < shown["expires_at"]


def test_approvals_are_filtered_by_status(api: Api, bob: Principal, ask: Callable[..., Approval]) -> None:
    client = api(bob)
    decided, overdue, waiting = ask(), ask(), ask()
    posted(client, f"approvals/{decided.id}/approve/", {"revision": 1})
    Approval.objects.filter(pk=overdue.pk).update(expires_at=timezone.now())

    def found(status: str) -> list[str]:
        return [row["id"] for row in client.get("/api/approvals/", {"status": status}).json()["results"]]

    assert found("approved") == [str(decided.id)]
    assert found("expired") == [str(overdue.id)]
    assert found("pending") == [str(waiting.id)]
    assert client.get(f"/api/approvals/{overdue.id}/").json()["status"] == "expired"


def test_approvals_are_filtered_by_agent(
    api: Api, bob: Principal, ask: Callable[..., Approval], make_agent: Callable[..., Agent]
) -> None:
    ask()
    make_agent("other")
    client = api(bob)
    assert len(client.get("/api/approvals/?agent=intern&status=pending").json()["results"]) == 1
    assert client.get("/api/approvals/?agent=other").json()["results"] == []
    assert client.get("/api/approvals/?agent=nobody").status_code == 404


def test_a_bad_filter_is_refused(api: Api, bob: Principal) -> None:
    answer = api(bob).get("/api/approvals/?status=maybe")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "status")


def test_looking_needs_chat_or_approve(api: Api, bob: Principal, ask: Callable[..., Approval]) -> None:
    approval = ask()
    for path in ("/api/approvals/", f"/api/approvals/{approval.id}/"):
        assert api().get(path).status_code == 401
        assert with_scopes(bob, "feedback").get(path).status_code == 403
        assert with_scopes(bob, "approve").get(path).status_code == 200


@pytest.mark.parametrize(("verb", "status"), [("approve", "approved"), ("reject", "rejected"), ("cancel", "cancelled")])
def test_an_approver_decides_once(
    api: Api, bob: Principal, ask: Callable[..., Approval], verb: str, status: str
) -> None:
    path = f"approvals/{ask().id}/{verb}/"
    code, body = posted(api(bob), path, {"revision": 1, "note": "fine"})
    assert (code, body["status"], body["decided_by"], body["note"]) == (200, status, "bob", "fine")
    code, body = posted(api(bob), path, {"revision": 1})
    assert (code, body["error"]["code"]) == (409, "already_decided")


@pytest.mark.parametrize("verb", ["approve", "reject", "cancel"])
def test_who_may_not_decide_does_not(
    api: Api, carol: Principal, mallory: Principal, ask: Callable[..., Approval], verb: str
) -> None:
    approval = ask()
    path = f"approvals/{approval.id}/{verb}/"
    assert posted(api(), path, {"revision": 1})[0] == 401
    assert posted(api(carol), path, {"revision": 1})[0] == 403
    assert posted(api(mallory), path, {"revision": 1})[0] == 404
    assert posted(api(mallory), f"approvals/{uuid4()}/{verb}/", {"revision": 1})[0] == 404
    approval.refresh_from_db()
    assert approval.status == "pending"


@pytest.mark.parametrize("wrong", [{}, {"revision": "x"}, {"revision": 0}, {"revision": 2**40}, {"revision": None}])
def test_a_decision_names_its_revision(
    api: Api, bob: Principal, ask: Callable[..., Approval], wrong: dict[str, Any]
) -> None:
    assert posted(api(bob), f"approvals/{ask().id}/approve/", wrong)[0] == 400


def test_another_revision_is_a_conflict(api: Api, bob: Principal, ask: Callable[..., Approval]) -> None:
    assert posted(api(bob), f"approvals/{ask().id}/approve/", {"revision": 2})[0] == 409


def test_approving_for_a_paused_agent_is_a_conflict(api: Api, bob: Principal, ask: Callable[..., Approval]) -> None:
    approval = ask()
    Agent.objects.update(status=AgentStatus.PAUSED)
    status, body = posted(api(bob), f"approvals/{approval.id}/approve/", {"revision": 1})
    assert (status, body["error"]["code"]) == (409, "agent_paused")
    assert api(bob).get(f"/api/approvals/{approval.id}/").json()["status"] == "pending"


def test_mallory_sees_nothing(api: Api, mallory: Principal, ask: Callable[..., Approval]) -> None:
    approval = ask()
    assert api(mallory).get("/api/approvals/").json()["results"] == []
    assert api(mallory).get("/api/approvals/?agent=intern").status_code == 404
    assert api(mallory).get(f"/api/approvals/{approval.id}/").status_code == 404

"""One id leads from an answer to its feedback, cost, approval and audit entries."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from agents.gate import Action
from agents.models import Agent, Maturity, Message, Run, RunStatus
from atom.ground.models import AuditEntry, Membership, User, Workspace
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from feedback.services import adjudicate, give_feedback
from governance.judging import judge_action
from governance.models import Approval
from governance.services import approve

API = Callable[..., APIClient]


@pytest.fixture
def intern(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("intern", maturity=Maturity.INTERN)


@pytest.fixture
def ids(workspace: Workspace, intern: Agent, alice: Principal, bob: Principal) -> dict[str, UUID]:
    """A run that cost something, asked people, was answered and judged: an id of everything that belongs to it."""
    run = Run.objects.create(
        workspace=workspace, agent=intern, status=RunStatus.SUCCEEDED, cost_usd=Decimal("0.125"), user_id=alice.user_id
    )
    said = [{"type": "text", "text": "It is deleted."}]
    message = Message.objects.create(workspace=workspace, run=run, role="assistant", parts=said)
    verdict = judge_action(action_of(intern, run_id=run.id))
    approve(approval=Approval.objects.get(decision=verdict.decision_id), principal=bob, revision=1)
    given = give_feedback(principal=alice, run_id=run.id, correction="It was archived.")
    adjudicate(feedback=given, principal=bob, decision="accept")
    assert verdict.decision_id
    assert verdict.approval_id
    return {
        "run": run.id,
        "message": message.id,
        "decision": verdict.decision_id,
        "approval": verdict.approval_id,
        "feedback": given.id,
        "audit entry": AuditEntry.objects.get(event="feedback.accepted").id,
    }


def action_of(agent: Agent, **given: Any) -> Action:
    return Action(workspace_id=agent.workspace_id, agent_id=agent.id, name="delete", arguments={"id": 7}, **given)


@pytest.mark.parametrize("kind", ["run", "message", "decision", "approval", "feedback", "audit entry"])
def test_from_any_id_of_it_all_of_it_is_found(
    api: API, alice: Principal, intern: Agent, ids: dict[str, UUID], kind: str
) -> None:
    judge_action(action_of(intern))
    found = api(alice).get(f"/api/trace/{ids[kind]}/").json()
    assert (found["run"]["id"], float(found["run"]["cost_usd"])) == (str(ids["run"]), 0.125)
    assert [row["id"] for row in found["messages"]] == [str(ids["message"])]
    assert [row["id"] for row in found["decisions"]] == [str(ids["decision"])]
    assert [(row["id"], row["status"]) for row in found["approvals"]] == [(str(ids["approval"]), "approved")]
    assert [row["id"] for row in found["feedback"]] == [str(ids["feedback"])]
    events = [row["event"] for row in found["audit"]]
    assert events == ["approval.requested", "approval.approved", "feedback.given", "feedback.accepted"]


def test_an_action_outside_of_any_run_has_a_trace_too(api: API, alice: Principal, intern: Agent) -> None:
    verdict = judge_action(action_of(intern))
    for reference in (verdict.decision_id, verdict.approval_id):
        found = api(alice).get(f"/api/trace/{reference}/").json()
        assert (found["run"], found["messages"], found["feedback"]) == (None, [], [])
        assert [row["id"] for row in found["approvals"]] == [str(verdict.approval_id)]
        assert [row["event"] for row in found["audit"]] == ["approval.requested"]


def test_an_entry_about_neither_is_found_alone(api: API, alice: Principal) -> None:
    entry = AuditEntry.objects.get(event="workspace.created")
    found = api(alice).get(f"/api/trace/{entry.id}/").json()
    assert [row["id"] for row in found["audit"]] == [str(entry.id)]
    assert (found["run"], found["decisions"]) == (None, [])


def test_what_a_token_may_not_see_is_null(api: API, carol: Principal, ids: dict[str, UUID]) -> None:
    found = api(carol).get(f"/api/trace/{ids['run']}/").json()
    assert found["run"]["id"] == str(ids["run"])
    assert found["audit"] is None
    member = Membership.objects.get(user_id=carol.user_id)
    secret = create_token(membership=member, name="f", by="test", scopes=["feedback"])[1]
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")
    found = client.get(f"/api/trace/{ids['feedback']}/").json()
    assert [row["id"] for row in found["feedback"]] == [str(ids["feedback"])]
    assert [found[part] for part in ("run", "messages", "decisions", "approvals", "audit")] == [None] * 5
    assert client.get(f"/api/trace/{ids['run']}/").status_code == 404


def test_mallory_finds_nothing_of_alices(api: API, mallory: Principal, ids: dict[str, UUID]) -> None:
    hers = api(mallory)
    assert {hers.get(f"/api/trace/{one}/").status_code for one in (*ids.values(), uuid4())} == {404}
    assert api().get(f"/api/trace/{ids['run']}/").status_code == 401


def test_the_runs_page_leads_to_its_trace(alice: Principal, ids: dict[str, UUID]) -> None:
    browser = Client()
    browser.force_login(User.objects.get(pk=alice.user_id))
    page = browser.get(reverse("admin:agents_run_change", args=[ids["run"]])).content.decode()
    address = reverse("trace", args=[ids["run"]])
    assert f'href="{address}"' in page
    assert browser.get(address).json()["run"]["id"] == str(ids["run"])


# --- The page -------------------------------------------------------------------------------------------------
@pytest.fixture
def page(client: Client) -> Callable[[Principal, object], Any]:
    def shown(principal: Principal, wanted: object) -> Any:
        client.force_login(User.objects.get(pk=principal.user_id))
        return client.get(reverse("trace-page"), {"id": str(wanted)})

    return shown


@pytest.mark.parametrize("kind", ["run", "message", "decision", "approval", "feedback", "audit entry"])
def test_the_page_shows_all_of_it_from_any_id(
    page: Callable[[Principal, object], Any], alice: Principal, ids: dict[str, UUID], kind: str
) -> None:
    shown = page(alice, ids[kind])
    assert shown.status_code == 200
    assert all(f"{ids[one]}" in shown.text for one in ("run", "decision", "approval", "feedback", "audit entry"))
    assert all(text in shown.text for text in ("It is deleted.", "0.125", "approval.approved", "by bob"))


def test_the_page_says_what_a_member_may_not_see(
    page: Callable[[Principal, object], Any], carol: Principal, ids: dict[str, UUID]
) -> None:
    shown = page(carol, ids["run"])
    assert "approval.approved" not in shown.text


@pytest.mark.parametrize(
    ("wanted", "says"), [("nothing", "This is not an id."), (str(UUID(int=5)), "nothing with this id")]
)
def test_the_page_says_when_there_is_nothing(
    page: Callable[[Principal, object], Any], alice: Principal, wanted: str, says: str
) -> None:
    shown = page(alice, wanted)
    assert (shown.status_code, says in shown.text) == (404, True)


def test_mallory_finds_nothing_on_the_page(
    page: Callable[[Principal, object], Any], mallory: Principal, ids: dict[str, UUID]
) -> None:
    for one in ids.values():
        shown = page(mallory, one)
        assert (shown.status_code, "It is deleted." in shown.text) == (404, False)


def test_a_runs_page_leads_to_its_trace(client: Client, alice: Principal, ids: dict[str, UUID]) -> None:
    client.force_login(User.objects.get(pk=alice.user_id))
    shown = client.get(reverse("admin:agents_run_change", args=[ids["run"]]))
    assert f"{reverse('trace-page')}?id={ids['run']}" in shown.text

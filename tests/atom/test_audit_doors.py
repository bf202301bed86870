"""Every door that changes what may happen leaves an entry in the audit trail."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Agent, Maturity, Message, Run, RunStatus
from atom.ground import audit
from atom.ground.models import AuditEntry, User, Workspace
from atom.ground.principal import Principal
from feedback.models import Feedback, Variant, WebhookDelivery
from governance import execution
from governance.maturity import proposals
from governance.models import Approval, Proposal, Review, ReviewStatus, TrainingTask
from tests.governance.maturity.conftest import ended_run, reviewed_actions, runs_that_went_well

# What a door that writes does, where it changes nothing of what anybody may do.
UNAUDITED = {
    "POST api/audit/verify/": "reads",
    "POST api/models/route/": "explains",
    "POST api/provider-keys/<uuid:key_id>/test/": "calls the provider once",
    "POST api/sessions/": "begins a conversation",
    "POST api/runs/<uuid:run_id>/cancel/": "ends one's own conversation's turn, which its row tells",
    "POST api/policies/<uuid:policy_id>/replay/": "tries a draft without effect",
}
POLICY = "version: 1\nrules:\n  - name: no-purge\n    actions: [purge]\n    decision: deny\n"
RULE = "version: 1\nrules:\n  - name: ask-purge\n    actions: [purge]\n    decision: ask\n"


def writing_doors() -> Iterator[str]:
    """`METHOD route` of every REST door that takes a write."""

    def walk(resolver: URLResolver | Any, before: str = "") -> Iterator[str]:
        for found in resolver.url_patterns:
            route = before + str(found.pattern)
            if hasattr(found, "url_patterns"):
                yield from walk(found, route)
            elif hasattr(found.callback, "view_class") and route.startswith("api/"):
                yield from (f"{verb.upper()} {route}" for verb in WRITES if hasattr(found.callback.view_class, verb))

    return walk(get_resolver())


WRITES = ("post", "put", "patch", "delete")


class Walk:
    """Goes through doors one after the other and notes which entry each of them left."""

    def __init__(self, client: APIClient) -> None:
        self.client = client
        self.left: dict[str, list[str]] = {}
        # Doors that left nothing when they were gone through, be it once of several times.
        self.silent: set[str] = set()

    def go(self, door: str, body: object = None, client: APIClient | None = None, **ids: object) -> dict[str, Any]:
        verb, route = door.split(" ")
        before = AuditEntry.objects.count()
        path = route
        for name, value in ids.items():
            path = path.replace(f"<uuid:{name}>", str(value)).replace(f"<str:{name}>", str(value))
            path = path.replace(f"<path:{name}>", str(value))
        answer = getattr(client or self.client, verb.lower())(f"/{path}", body, format="json")
        assert answer.status_code in {200, 201, 202, 204}, f"{door}: {answer.content!r}"
        added = AuditEntry.objects.order_by("at", "seq")[before:]
        self.left[door] = [entry.event for entry in added]
        if not self.left[door]:
            self.silent.add(door)
        return answer.json() if answer.content else {}


@pytest.fixture
def walk(api: Callable[..., APIClient], alice: Principal, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Walk:
    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    return Walk(api(alice))


def through_people_and_keys(walk: Walk) -> None:
    person = {"username": "dave", "password": "a long passphrase", "role": "operator"}
    walk.go("POST api/members/", person)
    owner = {"username": "erin", "password": "a long passphrase"}
    walk.go("POST api/workspaces/", {"name": "Erin's", "owner": owner})
    token = walk.go("POST api/tokens/", {"name": "mine"})
    walk.go("DELETE api/tokens/<uuid:token_id>/", token_id=token["id"])
    key = walk.go("POST api/provider-keys/", {"provider": "openai", "name": "k", "secret": "sk-" + "a1b2" * 10})
    walk.go("PATCH api/provider-keys/<uuid:key_id>/", {"name": "renamed"}, key_id=key["id"])
    walk.go("DELETE api/provider-keys/<uuid:key_id>/", key_id=key["id"])
    walk.go("POST api/breakers/reset/", {"provider": "openai", "model": "gpt-4o-mini"})
    price = walk.go(
        "POST api/models/", {"model": "openai/own", "input_usd_per_million": "1", "output_usd_per_million": "2"}
    )
    walk.go("DELETE api/models/<uuid:price_id>/", price_id=price["id"])
    alias = walk.go("POST api/models/aliases/", {"alias": "fast", "model": "openai/gpt-4o-mini"})
    walk.go("DELETE api/models/aliases/<uuid:alias_id>/", alias_id=alias["id"])


def through_agents(walk: Walk) -> None:
    made = {"name": "W", "slug": "walker", "system_prompt": "", "models": ["openai/gpt-4o-mini"]}
    walk.go("POST api/agents/", made)
    for door in ("PATCH api/agents/<str:agent>/", *(f"POST api/agents/<str:agent>/{verb}/" for verb in STATUSES)):
        walk.go(door, {"name": "X"} if "PATCH" in door else {"reason": "because"}, agent="walker")


STATUSES = ("pause", "resume", "retire")


def through_approvals(walk: Walk, bob: APIClient, intern: Agent) -> None:
    def ask() -> dict[str, Any]:
        asked = walk.go("POST api/actions/", {"agent": intern.slug, "action": "delete", "arguments": {"id": 7}})
        assert walk.left["POST api/actions/"] == ["approval.requested"]
        return {"id": asked["approval_id"], "action": asked["id"]}

    for verb in ("approve", "reject", "cancel"):
        walk.go(f"POST api/approvals/<uuid:approval_id>/{verb}/", {"revision": 1}, bob, approval_id=ask()["id"])
    edited = {"revision": 1, "arguments": {"id": 8}}
    walk.go("POST api/approvals/<uuid:approval_id>/edit/", edited, bob, approval_id=ask()["id"])
    items = [{"id": ask()["id"], "revision": 1} for _ in range(2)]
    walk.go("POST api/approvals/bulk/", {"decision": "reject", "items": items}, bob)
    assert walk.left["POST api/approvals/bulk/"] == ["approval.rejected"] * 2
    allowed = walk.go("POST api/actions/", {"agent": intern.slug, "action": "read"})
    assert walk.left["POST api/actions/"] == ["action.allowed"]
    walk.go("POST api/actions/<uuid:decision_id>/outcome/", {"status": "succeeded"}, decision_id=allowed["id"])


def through_grants_and_budgets(walk: Walk, intern: Agent) -> None:
    soon = (timezone.now() + timedelta(days=1)).isoformat()
    made = {"agent": intern.slug, "action": "delete", "bounds": {"id": {"equals": 7}}, "expires_at": soon}
    for door in ("DELETE api/grants/<uuid:grant_id>/", "POST api/grants/<uuid:grant_id>/revoke/"):
        walk.go(door, grant_id=walk.go("POST api/grants/", made)["id"])
    delegation = walk.go("POST api/delegations/", {"to": "dave", "ends_at": soon})
    walk.go("DELETE api/delegations/<uuid:delegation_id>/", delegation_id=delegation["id"])
    budget = walk.go("POST api/budgets/", {"scope": "workspace", "period": "day", "limit_usd": "5"})
    walk.go("PATCH api/budgets/<uuid:budget_id>/", {"limit_usd": "6"}, budget_id=budget["id"])
    walk.go("DELETE api/budgets/<uuid:budget_id>/", budget_id=budget["id"])


def through_policies(walk: Walk) -> None:
    policy = walk.go("POST api/policies/", {"name": "House", "document": POLICY})["id"]
    for verb in ("activate", "versions", "shadow", "activate", "rollback", "deactivate"):
        body = {"document": RULE} if verb == "versions" else {"on": True} if verb == "shadow" else {}
        walk.go(f"POST api/policies/<uuid:policy_id>/{verb}/", body, policy_id=policy)


def through_feedback(walk: Walk, intern: Agent, workspace: Workspace, hook: str) -> None:
    run = Run.objects.create(workspace=workspace, agent=intern, status=RunStatus.SUCCEEDED)
    said = [{"type": "text", "text": "Hi."}]
    answer = Message.objects.create(workspace=workspace, run=run, role="assistant", parts=said)
    given = walk.go("POST api/feedback/", {"run_id": str(run.id), "correction": "Hello."})
    one = {"feedback_id": given["id"]}
    walk.go("POST api/feedback/<uuid:feedback_id>/assign/", {"user": "alice"}, **one)
    walk.go("POST api/feedback/<uuid:feedback_id>/adjudicate/", {"accepted": True}, **one)
    walk.go("PATCH api/feedback/<uuid:feedback_id>/", {"comment": "politely"}, **one)
    walk.go("DELETE api/feedback/<uuid:feedback_id>/", **one)
    walk.go("POST api/feedback/batch/", {"feedback": [{"run_id": str(run.id), "thumb": "up"}]})
    reviewer = walk.go("POST api/feedback/reviewers/", {"user": "carol", "category": "tone"})
    walk.go("DELETE api/feedback/reviewers/<uuid:reviewer_id>/", reviewer_id=reviewer["id"])
    link = walk.go("POST api/messages/<uuid:message_id>/feedback-link/", {}, message_id=answer.id)
    walk.go("DELETE api/feedback-links/<uuid:link_id>/", link_id=link["id"])
    walk.go("PUT api/feedback/digest/", {"frequency": "daily", "recipients": ["alice@example.org"]})
    made = walk.go("POST api/feedback/webhooks/", {"url": hook})
    heard = {"events": ["feedback.given", "feedback.changed"]}
    walk.go("PATCH api/feedback/webhooks/<uuid:webhook_id>/", heard, webhook_id=made["id"])
    walk.go("POST api/feedback/webhooks/<uuid:webhook_id>/rotate/", webhook_id=made["id"])
    walk.go("POST api/feedback/", {"run_id": str(run.id), "thumb": "down"})
    sent = WebhookDelivery.objects.get(webhook=made["id"])
    walk.go("POST api/feedback/webhooks/deliveries/<uuid:delivery_id>/replay/", delivery_id=sent.pk)
    walk.go("DELETE api/feedback/webhooks/<uuid:webhook_id>/", webhook_id=made["id"])


def won_by_terse(experiment_id: UUID) -> None:
    """A hundred people like the second variant and nobody the first."""
    for variant in Variant.objects.filter(experiment=experiment_id).select_related("experiment"):
        owner = {"workspace_id": variant.experiment.workspace_id, "agent_id": variant.experiment.agent_id}
        run = Run.objects.create(**owner, variant=variant.id, status=RunStatus.SUCCEEDED)
        answer = Message.objects.create(workspace_id=run.workspace_id, run=run, role="assistant", parts=[])
        said = {"thumb": "up" if variant.place else "down", "variant": variant.id, "status": "accepted"}
        Feedback.objects.bulk_create(Feedback(**owner, run=run, message=answer, **said) for _ in range(100))


def through_experiments(walk: Walk, intern: Agent) -> None:
    arms = [{"name": "as it is"}, {"name": "terse", "system_prompt": "Be terse."}]
    asked = {"agent": intern.slug, "variants": arms}
    draft, tried = (walk.go("POST api/experiments/", {**asked, "name": name})["id"] for name in ("A", "B"))
    walk.go("DELETE api/experiments/<uuid:experiment_id>/", experiment_id=draft)
    walk.go("POST api/experiments/<uuid:experiment_id>/start/", experiment_id=tried)
    won_by_terse(UUID(tried))
    walk.go("POST api/experiments/<uuid:experiment_id>/stop/", {"reason": "clear"}, experiment_id=tried)
    walk.go("POST api/experiments/<uuid:experiment_id>/promote/", experiment_id=tried)


def through_levels(walk: Walk, student: Agent, bob: Principal, deciding: APIClient) -> None:
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *("draft", "suggest", "plan", "propose", "generate") * 6)
    proposed = proposals.consider(student.pk)
    assert proposed is not None
    no = {"reason": "not yet"}
    walk.go("POST api/proposals/<uuid:proposal_id>/decline/", no, deciding, proposal_id=proposed.pk)
    up, down = {"to": "intern", "reason": "earned"}, {"to": "student", "reason": "lost"}
    walk.go("POST api/agents/<str:agent>/promote/", up, deciding, agent=student.slug)
    back = Proposal.objects.create(workspace_id=student.workspace_id, agent=student, before="intern", to="student")
    walk.go("POST api/proposals/<uuid:proposal_id>/confirm/", {}, deciding, proposal_id=back.pk)
    Agent.objects.filter(pk=student.pk).update(maturity=Maturity.SUPERVISED)
    walk.go("POST api/agents/<str:agent>/demote/", down, deciding, agent=student.slug)
    walk.go("PATCH api/workspace/", {"spot_check_share": "1"})
    walk.go("POST api/actions/", {"agent": student.slug, "action": "read"})
    drawn = Review.objects.get(agent=student, status=ReviewStatus.PENDING)
    walk.go("POST api/reviews/<uuid:review_id>/", {"is_right": True}, deciding, review_id=drawn.pk)
    walk.go("POST api/actions/", {"agent": student.slug, "action": "delete"})
    task = TrainingTask.objects.get(agent=student, action="delete")
    walk.go("POST api/training/<uuid:task_id>/complete/", {"rating": 4}, deciding, task_id=task.pk)
    walk.go("POST api/runs/<uuid:run_id>/rating/", {"rating": 5}, deciding, run_id=ended_run(student).pk)
    assert walk.left["POST api/proposals/<uuid:proposal_id>/decline/"] == ["level.declined"]
    assert walk.left["POST api/agents/<str:agent>/promote/"] == ["agent.promoted"]
    assert walk.left["POST api/agents/<str:agent>/demote/"] == ["agent.demoted"]
    assert walk.left["POST api/training/<uuid:task_id>/complete/"] == ["training.completed"]
    assert walk.left["POST api/runs/<uuid:run_id>/rating/"] == ["run.rated"]


def through_mcp_servers(walk: Walk, url: str) -> None:
    server = "api/mcp-servers/<uuid:server_id>/"
    body = {"slug": "small", "name": "Small", "transport": "http", "url": url}
    server_id = walk.go("POST api/mcp-servers/", body)["id"]
    found = walk.go(f"POST {server}refresh/", server_id=server_id)["tools"]
    read = next(tool["digest"] for tool in found if tool["name"] == "read_note")
    for verb, given in (("approve", {"digest": read, "action": "read_notes"}), ("withdraw", {})):
        walk.go(f"POST {server}tools/<path:name>/{verb}/", given, server_id=server_id, name="read_note")
    walk.go(f"PATCH {server}", {"name": "Other"}, server_id=server_id)
    walk.go(f"DELETE {server}", server_id=server_id)


def through_runs_and_stops(walk: Walk, captain: Agent) -> None:
    run = Run.objects.create(workspace_id=captain.workspace_id, agent=captain, status=RunStatus.RUNNING)
    for verb in ("pause", "resume", "correct", "terminate"):
        body = {"text": "Be brief."} if verb == "correct" else {}
        walk.go(f"POST api/runs/<uuid:run_id>/{verb}/", body, run_id=run.pk)
    assert walk.left["POST api/runs/<uuid:run_id>/terminate/"] == ["run.terminated"]
    # The entry is that of the wish: an autonomous agent asks the gate for nothing before it starts.
    walk.go("POST api/agents/<str:agent>/trigger/", {"trigger": "schedule", "message": "go"}, agent=captain.slug)
    assert walk.left["POST api/agents/<str:agent>/trigger/"] == ["run.wanted"]
    walk.go("POST api/agents/<str:agent>/kill/", {"reason": "runaway"}, agent=captain.slug)
    for on in (True, False):
        walk.go("POST api/kill-switch/", {"on": on, "reason": "because"})


# Steps into a run write on threads of their own, so what the walk wrote before is committed.
@pytest.mark.django_db(transaction=True)
def test_every_door_that_changes_what_may_happen_leaves_an_entry(
    walk: Walk,
    api: Callable[..., APIClient],
    bob: Principal,
    carol: Principal,
    workspace: Workspace,
    make_agent: Callable[..., Agent],
    mcp_url: str,
) -> None:
    intern = make_agent("intern", maturity=Maturity.INTERN)
    deciding = api(bob)
    through_people_and_keys(walk)
    through_agents(walk)
    through_approvals(walk, deciding, intern)
    through_grants_and_budgets(walk, intern)
    through_policies(walk)
    through_mcp_servers(walk, mcp_url)
    # An address by number: nobody asks a name server.
    through_feedback(walk, intern, workspace, hook="https://93.184.215.14/hook")
    through_experiments(walk, intern)
    through_levels(walk, make_agent("student", maturity=Maturity.STUDENT), bob, deciding)
    through_runs_and_stops(walk, make_agent("captain"))
    assert walk.silent == set()
    assert set(writing_doors()) - walk.left.keys() - UNAUDITED.keys() == set(), "walk through these, or say why not"
    assert audit.verify_all() == []


def test_what_time_and_workers_do_to_an_approval_is_in_the_trail_too(
    walk: Walk, make_agent: Callable[..., Agent]
) -> None:
    intern = make_agent("intern", maturity=Maturity.INTERN)
    asked = walk.go("POST api/actions/", {"agent": intern.slug, "action": "delete"})
    Approval.objects.filter(pk=asked["approval_id"]).update(expires_at=timezone.now())
    execution.close_overdue()
    told = AuditEntry.objects.filter(entry__contains=asked["approval_id"]).order_by("seq")
    assert [entry.event for entry in told] == ["approval.requested", "approval.expired"]

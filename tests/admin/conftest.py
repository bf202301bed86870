"""Browsers of the standing cast, and a workspace with something on every page."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from agents.models import Agent, Message, Run, RunEvent, RunStatus, Session
from atom.ground.models import Membership, User, Workspace
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from feedback.models import Feedback
from governance.maturity.confidence import Cause, apply_change
from governance.models import (
    Approval,
    ConfidenceEvent,
    Decision,
    Proposal,
    Review,
    Source,
    TrainingTask,
    TriggeredRun,
)
from governance.policies.services import save_policy
from llm.model_services import set_alias, set_price
from llm.services import create_key


@pytest.fixture
def browser() -> Callable[[Principal], Client]:
    """A test client that is signed in as somebody."""

    def sign_in(principal: Principal) -> Client:
        client = Client()
        client.force_login(User.objects.get(pk=principal.user_id))
        return client

    return sign_in


def learning_rows(agent: Agent, decision: Decision, approval: Approval) -> list[Model]:
    """What an agent learns and earns, a row of each kind."""
    whose: dict[str, Any] = {"workspace_id": agent.workspace_id, "agent": agent}
    change = apply_change(
        agent.pk,
        Cause(ConfidenceEvent.TRAINING_COMPLETED, Decimal("0.1"), "zebra learned", Source.TRAINING, decision.pk),
    )
    made = [
        Proposal.objects.create(**whose, before="intern", to="supervised", reason="zebra"),
        Review.objects.create(**whose, decision=decision, note="zebra"),
        TrainingTask.objects.create(**whose, action="zebra_delete", reason="zebra"),
        TriggeredRun.objects.create(
            **whose, trigger="event", message="zebra", status="queued", reason="z", expires_at=approval.expires_at
        ),
    ]
    return [*made, change] if change else made


@pytest.fixture
def rows(alice: Principal, bob: Principal, workspace: Workspace, make_agent: Callable[..., Agent]) -> dict[str, Any]:
    """One row of every kind in Alice's workspace, by model label; every text of hers says `zebra`."""
    agent = make_agent("zebra", name="Zebra", maturity="intern", system_prompt="You are a zebra.")
    session = Session.objects.create(workspace=workspace, agent=agent, user_id=alice.user_id, title="zebra talk")
    run = Run.objects.create(
        workspace=workspace,
        agent=agent,
        session=session,
        user_id=alice.user_id,
        status=RunStatus.FAILED,
        provider="openai",
        model="zebra-model",
        error_code="zebra_error",
        error_message="The zebra ran away.",
        ended_at=timezone.now(),
    )
    call = {"type": "tool_call", "id": "c1", "name": "zebra_tool", "arguments": json.dumps({"stripes": 40})}
    result = {"type": "tool_result", "call_id": "c1", "content": json.dumps({"ok": True})}
    for role, part in (("user", {"type": "text", "text": "zebra?"}), ("assistant", call), ("tool", result)):
        message = Message.objects.create(workspace=workspace, session=session, run=run, role=role, parts=[part])
    said = Feedback.objects.create(
        workspace=workspace, agent=agent, session=session, run=run, message=message, thumb="up", comment="zebra!"
    )
    RunEvent.objects.create(run=run, seq=1, type="tool_judged", data={"name": "zebra_tool"})
    member = Membership.objects.get(user_id=alice.user_id)
    token, _ = create_token(membership=member, name="zebra token", by="alice")
    decision = Decision.objects.create(
        workspace=workspace,
        agent=agent,
        maturity=agent.maturity,
        action="zebra_delete",
        complexity=4,
        arguments={"id": 7},
        arguments_digest="0" * 64,
        decision="ask",
        reason="zebras ask first",
        rule="matrix",
        policy_version="1",
        latency_us=5,
    )
    approval = Approval.objects.create(
        workspace=workspace,
        agent=agent,
        decision=decision,
        action="zebra_delete",
        arguments={"id": 7},
        digest="0" * 64,
        expires_at=timezone.now() + timedelta(hours=1),
    )
    key = create_key(workspace_id=workspace.id, provider="groq", name="zebra key", secret="sk-zebra", by="alice")
    price, _ = set_price(
        workspace_id=workspace.id,
        model="groq/zebra",
        input_usd_per_million=Decimal(1),
        output_usd_per_million=Decimal(2),
        by="alice",
    )
    alias, _ = set_alias(workspace_id=workspace.id, alias="zebra", model="groq/zebra", by="alice")
    entry = workspace.audit_entries.order_by("-seq").first()
    document = {"version": 1, "rules": [{"name": "zebra", "actions": ["stripe"], "decision": "deny"}]}
    policy = save_policy(principal=alice, name="zebra", document=document).policy
    learned = learning_rows(agent, decision, approval)
    found: list[Any] = [
        agent,
        session,
        run,
        token,
        decision,
        approval,
        policy,
        entry,
        member,
        workspace,
        said,
        key,
        price,
        alias,
    ]
    found += learned
    return {row._meta.label_lower: row for row in found if row is not None}

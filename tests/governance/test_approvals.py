"""Deciding: first that it works, then each refusal."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from django.utils import timezone

from agents.gate import gate
from agents.models import Agent, AgentStatus, Run, RunStatus
from agents.runs.live import CONTROL_CHANNEL
from atom.ground.errors import AgentPaused, AlreadyDecided, Conflict, Forbidden, NotFound
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance import queries, services
from governance.judging import judge_action
from governance.models import Approval, ApprovalStatus, Outcome
from tests.governance.conftest import action_of, use_broker

Ask = Callable[..., Approval]
DECISIONS = {
    ApprovalStatus.APPROVED: services.approve,
    ApprovalStatus.REJECTED: services.reject,
    ApprovalStatus.CANCELLED: services.cancel,
}


def last_entry() -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(AuditEntry.objects.order_by("-seq")[0].entry)
    return entry


def judged(agent: Agent, action: str) -> UUID:
    decision_id = judge_action(action_of(agent, action)).decision_id
    assert decision_id is not None
    return decision_id


@pytest.mark.parametrize("status", DECISIONS)
def test_an_approver_decides(ask: Ask, bob: Principal, status: ApprovalStatus) -> None:
    decided = DECISIONS[status](approval=ask(), principal=bob, revision=1, note="as agreed")
    assert (decided.status, decided.decided_by_id, decided.note) == (status, bob.user_id, "as agreed")
    assert decided.decided_at is not None
    assert str(decided) == f"delete ({status})"
    entry = last_entry()
    assert (entry["event"], entry["actor"]) == (f"approval.{status}", "bob")
    assert entry["details"]["digest"] == decided.digest
    assert entry["details"]["policy_version"] == "default-1"


@pytest.mark.parametrize("first", DECISIONS)
@pytest.mark.parametrize("second", DECISIONS)
def test_a_decision_is_final(
    ask: Ask, alice: Principal, bob: Principal, first: ApprovalStatus, second: ApprovalStatus
) -> None:
    approval = ask()
    DECISIONS[first](approval=approval, principal=bob, revision=1)
    with pytest.raises(AlreadyDecided, match=f"already {first} by bob"):
        DECISIONS[second](approval=approval, principal=alice, revision=1)
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by_id) == (first, bob.user_id)


@pytest.mark.parametrize("status", DECISIONS)
def test_another_revision_cannot_be_decided(ask: Ask, bob: Principal, status: ApprovalStatus) -> None:
    approval = ask()
    with pytest.raises(AlreadyDecided, match="revision 1 now"):
        DECISIONS[status](approval=approval, principal=bob, revision=2)
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


@pytest.mark.parametrize("status", DECISIONS)
def test_an_expired_approval_cannot_be_decided(ask: Ask, bob: Principal, status: ApprovalStatus) -> None:
    approval = ask()
    Approval.objects.update(expires_at=timezone.now())
    with pytest.raises(AlreadyDecided, match="expired"):
        DECISIONS[status](approval=approval, principal=bob, revision=1)


@pytest.mark.parametrize("status", DECISIONS)
def test_a_member_may_not_decide(ask: Ask, carol: Principal, status: ApprovalStatus) -> None:
    approval = ask()
    with pytest.raises(Forbidden):
        DECISIONS[status](approval=approval, principal=carol, revision=1)
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_a_member_may_take_back_their_own_question(ask: Ask, carol: Principal) -> None:
    approval = ask(user_id=carol.user_id)
    assert services.cancel(approval=approval, principal=carol, revision=1).status == ApprovalStatus.CANCELLED


@pytest.mark.parametrize("status", [AgentStatus.PAUSED, AgentStatus.RETIRED])
def test_nothing_is_approved_for_an_agent_that_is_not_active(ask: Ask, bob: Principal, status: AgentStatus) -> None:
    approval = ask()
    Agent.objects.update(status=status)
    with pytest.raises(AgentPaused):
        services.approve(approval=approval, principal=bob, revision=1)
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_a_paused_agents_question_can_be_rejected(ask: Ask, bob: Principal) -> None:
    approval = ask()
    Agent.objects.update(status=AgentStatus.PAUSED)
    assert services.reject(approval=approval, principal=bob, revision=1).status == ApprovalStatus.REJECTED


def test_nothing_is_approved_for_a_run_that_has_ended(run_approval: Approval, bob: Principal) -> None:
    Run.objects.update(status=RunStatus.CANCELLED)
    with pytest.raises(Conflict, match="has ended"):
        services.approve(approval=run_approval, principal=bob, revision=1)


def test_mallory_finds_no_approval(ask: Ask, mallory: Principal) -> None:
    approval = ask()
    assert not queries.approvals_of(mallory).exists()
    with pytest.raises(NotFound):
        queries.get_approval(mallory, approval.id)
    with pytest.raises(NotFound):
        queries.get_decision(mallory, approval.decision_id)


# --- What a client's call gets ---------------------------------------------------------------------------


def test_a_client_takes_an_approved_action_once(ask: Ask, bob: Principal) -> None:
    approval = ask()
    assert services.take(approval.id).status == "pending"
    services.approve(approval=approval, principal=bob, revision=1)
    first = services.take(approval.id)
    assert (first.status, first.arguments) == ("approved", {"id": 7})
    second = services.take(approval.id)
    assert (second.status, second.reason) == ("refused", "This was already approved by bob.")
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.EXECUTED


def test_a_client_hears_why_it_was_refused(ask: Ask, bob: Principal) -> None:
    approval = ask()
    services.reject(approval=approval, principal=bob, revision=1, note="too risky")
    answer = services.take(approval.id)
    assert (answer.status, answer.reason) == ("refused", "This was already rejected by bob: too risky.")


def test_a_client_hears_that_nobody_decided_in_time(ask: Ask) -> None:
    approval = ask()
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert services.take(approval.id).reason == "The approval expired before anybody decided."


def test_a_client_cannot_take_for_an_agent_paused_since(ask: Ask, bob: Principal) -> None:
    approval = ask()
    services.approve(approval=approval, principal=bob, revision=1)
    Agent.objects.update(status=AgentStatus.PAUSED)
    assert services.take(approval.id).status == "refused"
    Agent.objects.update(status=AgentStatus.ACTIVE)
    assert services.take(approval.id).status == "approved"


def test_a_client_cannot_take_what_atom_runs(run_approval: Approval) -> None:
    Approval.objects.update(status=ApprovalStatus.APPROVED)
    assert services.take(run_approval.id).status == "refused"
    run_approval.refresh_from_db()
    assert run_approval.status == ApprovalStatus.APPROVED


@pytest.mark.django_db(transaction=True)
def test_the_gate_takes(ask: Ask) -> None:
    assert asyncio.run(gate().take(ask().id)).status == "pending"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", DECISIONS)
def test_a_decision_wakes_the_run_that_holds_the_call(
    ask: Ask, waiting_run: Run, bob: Principal, store: redis.Redis, status: ApprovalStatus
) -> None:
    approval = ask(run_id=waiting_run.id, call_id="call-1")
    with store.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(CONTROL_CHANNEL)
        channel.get_message(timeout=5)
        DECISIONS[status](approval=approval, principal=bob, revision=1)
        heard = channel.get_message(timeout=5)
    assert heard is not None
    assert json.loads(heard["data"]) == {"run_id": str(waiting_run.id), "verb": "wake"}


@pytest.mark.django_db(transaction=True)
def test_a_decision_stands_while_the_store_is_away(ask: Ask, waiting_run: Run, bob: Principal) -> None:
    use_broker("redis://127.0.0.1:1/0")
    for approval in (ask(run_id=waiting_run.id), ask(run_id=waiting_run.id, is_run_by_atom=True)):
        services.approve(approval=approval, principal=bob, revision=1)
        approval.refresh_from_db()
        assert approval.status == ApprovalStatus.APPROVED


# --- What a client reports -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"), [("succeeded", ApprovalStatus.EXECUTED), ("failed", ApprovalStatus.FAILED)]
)
def test_an_outcome_closes_the_approval(ask: Ask, bob: Principal, outcome: str, status: ApprovalStatus) -> None:
    approval = ask()
    services.approve(approval=approval, principal=bob, revision=1)
    decision = services.report_outcome(
        decision=approval.decision, principal=bob, status=outcome, result={"rows": 1}, error="no disk"
    )
    approval.refresh_from_db()
    assert (approval.status, decision.outcome) == (status, outcome)
    assert decision.outcome_result == ({"rows": 1} if outcome == "succeeded" else {"error": "no disk"})
    with pytest.raises(Conflict, match="already reported"):
        services.report_outcome(decision=decision, principal=bob, status=outcome)


def test_an_allowed_action_has_one_outcome(intern: Agent, bob: Principal) -> None:
    decision = queries.get_decision(bob, judged(intern, "read"))
    services.report_outcome(decision=decision, principal=bob, status=Outcome.FAILED, error="gone")
    with pytest.raises(Conflict):
        services.report_outcome(decision=decision, principal=bob, status=Outcome.SUCCEEDED)
    decision.refresh_from_db()
    assert (decision.outcome, decision.outcome_result) == ("failed", {"error": "gone"})


def test_there_is_no_outcome_before_the_approval(ask: Ask, bob: Principal) -> None:
    approval = ask()
    with pytest.raises(Conflict, match="it is pending"):
        services.report_outcome(decision=approval.decision, principal=bob, status="succeeded")
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_there_is_no_outcome_of_what_was_denied(make_agent: Callable[..., Agent], bob: Principal) -> None:
    decision = queries.get_decision(bob, judged(make_agent(maturity="student"), "delete"))
    with pytest.raises(Conflict, match="denied"):
        services.report_outcome(decision=decision, principal=bob, status="succeeded")


def test_a_client_cannot_report_for_atom(run_approval: Approval, bob: Principal) -> None:
    Approval.objects.update(status=ApprovalStatus.APPROVED)
    with pytest.raises(Conflict, match="Atom runs"):
        services.report_outcome(decision=run_approval.decision, principal=bob, status="succeeded")


def test_an_unknown_decision_is_not_found(bob: Principal) -> None:
    with pytest.raises(NotFound):
        queries.get_decision(bob, uuid4())

"""An approved action of Atom's runs once, and its run hears what became of it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Agent, AgentStatus, Run, RunStatus
from agents.runs import records
from agents.runs.live import lease_key
from atom.ground.principal import Principal
from atom.ground.store import sync_store
from governance import execution, services, tasks
from governance.models import Approval, ApprovalStatus
from governance.telling import tell_run
from llm.messages import ToolCall, ToolResult
from tests.governance.conftest import DEAD_BROKER, Tool, call_in, use_broker

pytestmark = pytest.mark.django_db(transaction=True)
Queued = Callable[[], list[tuple[str, str]]]
EXECUTE, CONTINUE = "governance.tasks.execute_approved", "agents.tasks.continue_run"


def approve(approval: Approval, principal: Principal) -> None:
    services.approve(approval=approval, principal=principal, revision=approval.revision)


def heard_by(run: Run) -> list[str]:
    run.refresh_from_db()
    return [result.content for result in records.parked_results(run)]


def test_approving_queues_the_execution(run_approval: Approval, bob: Principal, queued: Queued) -> None:
    approve(run_approval, bob)
    assert queued() == [(EXECUTE, str(run_approval.id))]


def test_an_approved_action_runs_with_the_arguments_shown_and_the_run_goes_on(
    run_approval: Approval, waiting_run: Run, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    tasks.execute_approved(str(run_approval.id))
    assert tool.calls == [(str(run_approval.id), {"id": 7})]
    run_approval.refresh_from_db()
    assert (run_approval.status, run_approval.result) == (ApprovalStatus.EXECUTED, "gone")
    assert run_approval.decision.outcome == "succeeded"
    assert heard_by(waiting_run) == ["gone"]
    assert waiting_run.status == RunStatus.RUNNING
    assert queued()[1:] == [(CONTINUE, str(waiting_run.id))]
    # Until a worker takes it up, the run must not count as lost.
    assert sync_store().exists(lease_key(waiting_run.id))


def test_a_task_delivered_again_runs_nothing(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    for _ in range(5):
        tasks.execute_approved(str(run_approval.id))
    tasks.dispatch_approved()
    assert len(tool.calls) == 1
    assert [name for name, _ in queued()] == [EXECUTE, CONTINUE]


@pytest.mark.parametrize("status", ["pending", "rejected", "expired", "cancelled", "executed", "failed"])
def test_only_what_is_approved_runs(run_approval: Approval, queued: Queued, tool: Tool, status: str) -> None:
    Approval.objects.update(status=status)
    assert not execution.execute(run_approval.id)
    assert tool.calls == []


def test_a_claimed_action_is_left_to_its_worker(run_approval: Approval, bob: Principal, queued: Queued) -> None:
    approve(run_approval, bob)
    Approval.objects.update(claimed_until=timezone.now() + timedelta(seconds=30))
    assert not execution.execute(run_approval.id)
    assert tasks.dispatch_approved() == 0


def test_an_action_whose_worker_died_is_dispatched_again(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Approval.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert tasks.dispatch_approved() == 1
    assert queued()[1:] == [(EXECUTE, str(run_approval.id))]
    tasks.execute_approved(str(run_approval.id))
    assert len(tool.calls) == 1


def test_what_was_approved_while_the_broker_was_away_is_dispatched_later(
    run_approval: Approval, bob: Principal, queued: Queued, store_url: str
) -> None:
    use_broker(DEAD_BROKER)
    approve(run_approval, bob)
    use_broker(store_url)
    assert tasks.dispatch_approved() == 1
    assert queued() == [(EXECUTE, str(run_approval.id))]


def test_a_failing_tool_fails_the_approval_in_our_words(
    run_approval: Approval, waiting_run: Run, bob: Principal, queued: Queued, tool: Tool
) -> None:
    tool.status = 500
    approve(run_approval, bob)
    tasks.execute_approved(str(run_approval.id))
    run_approval.refresh_from_db()
    said = "The tool delete_record answered with status 500."
    assert (run_approval.status, run_approval.error) == (ApprovalStatus.FAILED, said)
    assert run_approval.decision.outcome_result == {"error": said}
    assert heard_by(waiting_run) == [f"Approved by bob, but it failed: {said}"]
    assert (CONTINUE, str(waiting_run.id)) in queued()


def test_a_slow_tool_is_given_up(
    run_approval: Approval, bob: Principal, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "TOOL_LIMIT_S", 0.0)
    approve(run_approval, bob)
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert run_approval.error == "The tool delete_record was not done within 0 s."


def test_other_arguments_than_those_approved_do_not_run(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Approval.objects.update(arguments={"id": 8})
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert (run_approval.status, tool.calls) == (ApprovalStatus.FAILED, [])
    assert run_approval.error == "The stored arguments are not the ones that were approved."


def test_a_tool_that_the_agent_lost_does_not_run(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Agent.objects.update(tools=[])
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert run_approval.error == "The agent has no tool 'delete_record' for this action any more."


def test_an_action_without_a_usable_tool_fails_instead_of_staying(
    run_approval: Approval, bob: Principal, queued: Queued
) -> None:
    approve(run_approval, bob)
    Agent.objects.update(tools=[{"nonsense": True}])
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert (run_approval.status, run_approval.error) == (ApprovalStatus.FAILED, "The tool failed on our side.")


def test_a_paused_agents_action_waits_until_it_is_resumed(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Agent.objects.update(status=AgentStatus.PAUSED)
    assert not execution.execute(run_approval.id)
    assert tasks.dispatch_approved() == 0
    Agent.objects.update(status=AgentStatus.ACTIVE)
    assert execution.execute(run_approval.id)
    assert len(tool.calls) == 1


def test_a_retired_agents_action_does_not_run(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Agent.objects.update(status=AgentStatus.RETIRED)
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert (run_approval.status, tool.calls) == (ApprovalStatus.FAILED, [])


def test_nothing_runs_for_a_run_that_was_cancelled_meanwhile(
    run_approval: Approval, bob: Principal, queued: Queued, tool: Tool
) -> None:
    approve(run_approval, bob)
    Run.objects.update(status=RunStatus.CANCELLED)
    execution.execute(run_approval.id)
    run_approval.refresh_from_db()
    assert (run_approval.status, tool.calls) == (ApprovalStatus.FAILED, [])
    assert run_approval.told_at is not None


@pytest.mark.parametrize(("decide", "word"), [(services.reject, "rejected"), (services.cancel, "cancelled")])
def test_a_run_hears_who_refused_and_why(
    run_approval: Approval, bob: Principal, queued: Queued, decide: Callable[..., Approval], word: str
) -> None:
    decide(approval=run_approval, principal=bob, revision=1, note="too risky")
    run = Run.objects.get()
    assert heard_by(run) == [f"Refused: {word} by bob: too risky"]
    assert queued() == [(CONTINUE, str(run.id))]


def test_a_run_hears_that_nobody_decided_in_time(run_approval: Approval, waiting_run: Run, queued: Queued) -> None:
    assert tasks.expire_approvals() == 0
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tasks.expire_approvals() == 1
    run_approval.refresh_from_db()
    assert run_approval.status == ApprovalStatus.EXPIRED
    assert heard_by(waiting_run) == ["Not done: the approval expired before anybody decided. Nobody said no."]
    assert queued() == [(CONTINUE, str(waiting_run.id))]
    assert tasks.expire_approvals() == 0


def test_a_question_that_no_run_waits_for_is_cancelled(run_approval: Approval, queued: Queued) -> None:
    Run.objects.update(status=RunStatus.CANCELLED)
    assert tasks.expire_approvals() == 1
    run_approval.refresh_from_db()
    assert (run_approval.status, run_approval.note) == ("cancelled", "The run that asked for it had ended.")


def test_a_question_asked_over_the_api_expires_without_a_run(ask: Callable[..., Approval], queued: Queued) -> None:
    approval = ask()
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tasks.expire_approvals() == 1
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.EXPIRED


def test_a_run_with_two_questions_goes_on_after_the_second(
    ask: Callable[..., Approval], intern: Agent, bob: Principal, queued: Queued, waiting_run: Run
) -> None:
    records.add_round(waiting_run.id, [ToolCall("call-2", "delete_record", '{"id": 8}')], [])
    first = ask(**call_in(waiting_run.id))
    second = ask(**{**call_in(waiting_run.id), "call_id": "call-2", "arguments": {"id": 8}})
    services.reject(approval=first, principal=bob, revision=1)
    assert queued() == []
    approve(second, bob)
    execution.execute(second.id)
    assert heard_by(waiting_run) == ["Refused: rejected by bob.", "gone"]
    assert [name for name, _ in queued()] == [EXECUTE, CONTINUE]


def test_a_decision_quicker_than_the_round_reaches_the_run_later(
    ask: Callable[..., Approval], intern: Agent, bob: Principal, queued: Queued
) -> None:
    run = records.open_run(agent=intern, user_id=None, door="chat", model="m", parts=[])
    approval = ask(**call_in(run.id))
    services.reject(approval=approval, principal=bob, revision=1)
    assert heard_by(run) == []
    records.add_round(run.id, [ToolCall("call-1", "delete_record", "{}")], [])
    tasks.dispatch_approved()
    assert heard_by(run) == ["Refused: rejected by bob."]
    assert execution.untold_ids() == []


def test_a_run_whose_go_ahead_was_lost_gets_it_again(
    run_approval: Approval, waiting_run: Run, bob: Principal, queued: Queued, store_url: str
) -> None:
    use_broker(DEAD_BROKER)
    services.reject(approval=run_approval, principal=bob, revision=1)
    assert heard_by(waiting_run) == ["Refused: rejected by bob."]
    use_broker(store_url)
    sync_store().delete(lease_key(waiting_run.id))
    tasks.dispatch_approved()
    assert queued() == [(CONTINUE, str(waiting_run.id))]
    tasks.dispatch_approved()
    assert len(queued()) == 1


def test_the_first_end_counts(run_approval: Approval, waiting_run: Run, bob: Principal, queued: Queued) -> None:
    approve(run_approval, bob)
    approval = Approval.objects.select_related("agent").get()
    assert execution.finish(approval, status=ApprovalStatus.EXECUTED, result="gone", by="atom")
    assert not execution.finish(approval, status=ApprovalStatus.FAILED, error="late", by="atom")
    approval.refresh_from_db()
    assert (approval.status, approval.result, approval.error) == ("executed", "gone", "")


def test_a_result_is_told_once(run_approval: Approval, waiting_run: Run, bob: Principal, queued: Queued) -> None:
    services.reject(approval=run_approval, principal=bob, revision=1)
    for _ in range(3):
        tell_run(run_approval.id)
    waiting_run.refresh_from_db()
    assert records.parked_results(waiting_run) == [ToolResult("call-1", "Refused: rejected by bob.")]
    assert len(queued()) == 1

"""What the tests of maturity share: ended runs, feedback, and agents with a history."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Agent, Maturity, Run, RunStatus
from agents.runs import records
from atom.ground.principal import Principal
from governance import services
from governance.judging import judge_action
from governance.maturity.runs import settle_run
from governance.models import Approval
from llm.messages import Text
from tests.governance.conftest import action_of


@pytest.fixture
def student(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("student", maturity=Maturity.STUDENT)


@pytest.fixture
def captain(make_agent: Callable[..., Agent]) -> Agent:
    """An autonomous agent."""
    return make_agent("captain", maturity=Maturity.AUTONOMOUS)


@pytest.fixture
def queued(all_queued: Callable[[], list[tuple[str, str]]]) -> Callable[[], list[tuple[str, str]]]:
    """What has been queued since the test began."""
    return all_queued


def ended_run(
    agent: Agent, status: str = RunStatus.SUCCEEDED, *, judged: str = "", code: str = "", **given: Any
) -> Run:
    """A run of the agent that has ended; `judged` is an action that was judged in it."""
    run = records.open_run(agent=agent, user_id=None, door="chat", model="m", parts=[Text("hi")])
    if judged:
        judge_action(action_of(agent, judged, run_id=run.pk))
    outcome = records.Outcome(status=status, error_code=code)
    records.end_run(run_id=run.pk, outcome=outcome, answer=[Text("hello")])
    run.refresh_from_db()
    return run


def confidence(agent: Agent) -> float:
    return float(Agent.objects.get(pk=agent.pk).confidence)


def runs_that_went_well(agent: Agent, number: int) -> None:
    for _ in range(number):
        settle_run(ended_run(agent).pk)


def reviewed_actions(agent: Agent, approver: Principal, *names: str) -> None:
    """Actions that the agent asked for and a person approved as they were."""
    for name in names:
        verdict = judge_action(action_of(agent, name))
        approval = Approval.objects.get(decision=verdict.decision_id)
        services.approve(approval=approval, principal=approver, revision=1)


def midnight() -> Any:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)

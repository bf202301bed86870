import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from agents.gate import Decision as Kind
from agents.gate import gate, judge
from agents.models import Agent, AgentStatus, Maturity
from atom.ground.errors import BadRequest, NotFound
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.digest import digest
from governance.gate import PolicyGate
from governance.judging import binding_digest, judge_action
from governance.models import Approval, ApprovalStatus, Decision
from tests.governance.conftest import action_of

ACTIONS = {1: "read", 2: "draft", 3: "update", 4: "delete"}
MATRIX = {
    "student": ["allow", "ask", "deny", "deny"],
    "intern": ["allow", "allow", "ask", "ask"],
    "supervised": ["allow", "allow", "watch", "ask"],
    "autonomous": ["allow", "allow", "allow", "allow"],
}
CELLS = [
    (maturity, complexity, decision)
    for maturity, decisions in MATRIX.items()
    for complexity, decision in enumerate(decisions, start=1)
]


@pytest.fixture
def student(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("student", maturity=Maturity.STUDENT)


def events() -> list[dict[str, Any]]:
    rows = AuditEntry.objects.exclude(event__startswith="agent.").order_by("seq").values_list("entry", flat=True)
    return [json.loads(entry) for entry in rows]


@pytest.mark.parametrize(("maturity", "complexity", "decision"), CELLS)
def test_the_matrix_decides(make_agent: Callable[..., Agent], maturity: str, complexity: int, decision: str) -> None:
    verdict = judge_action(action_of(make_agent(maturity=maturity), ACTIONS[complexity]))
    assert (verdict.decision, verdict.complexity) == (decision, complexity)
    assert verdict.required_maturity == list(MATRIX)[complexity - 1]
    assert (verdict.approval_id is not None) == (decision == "ask")


def test_a_reason_is_a_sentence_for_people(student: Agent, intern: Agent, make_agent: Callable[..., Agent]) -> None:
    assert judge_action(action_of(student)).reason == "A student may not delete; this needs an autonomous agent."
    assert judge_action(action_of(intern)).reason == "An intern may delete only after a person has approved it."
    assert judge_action(action_of(student, "chat")).reason == "A student may chat."
    supervised = make_agent("supervised", maturity=Maturity.SUPERVISED)
    assert judge_action(action_of(supervised, "sendEmail")).reason == (
        "A supervised agent may send email while people can watch and stop it."
    )


def test_an_unknown_action_says_so_in_the_reason_and_in_the_audit_trail(student: Agent) -> None:
    verdict = judge_action(action_of(student, "frobnicate"))
    assert verdict.decision == Kind.DENY
    assert verdict.reason.endswith("This is an unknown action, so it counts as a change.")
    assert Decision.objects.get().is_unknown_action
    assert events()[-1]["details"]["note"] == "unknown action"


def test_a_decision_keeps_its_inputs(student: Agent, alice: Principal) -> None:
    arguments = {"id": 7, "why": "old"}
    verdict = judge_action(
        action_of(student, arguments=arguments, context={"ip": "::1"}, tool="delete_record", user_id=alice.user_id)
    )
    row = Decision.objects.get()
    assert (row.agent, row.maturity, row.action, row.complexity) == (student, "student", "delete", 4)
    assert (row.arguments, row.arguments_digest, row.context) == (arguments, digest(arguments), {"ip": "::1"})
    assert (row.tool, row.user_id, row.decision, row.reason) == ("delete_record", alice.user_id, "deny", verdict.reason)
    assert (row.rule, row.policy_version) == ("matrix:student:4", "default-1")
    assert str(row) == "deny: delete"


def test_a_turn_of_conversation_is_stored_too(student: Agent) -> None:
    verdict = judge_action(action_of(student, "chat", arguments={}))
    assert verdict.is_allowed
    assert Decision.objects.get().action == "chat"


def test_a_denial_is_audited_with_the_one_who_caused_it(student: Agent, carol: Principal) -> None:
    judge_action(action_of(student, user_id=carol.user_id))
    entry = events()[-1]
    assert (entry["event"], entry["actor"]) == ("action.denied", "carol")
    assert entry["details"]["rule"] == "matrix:student:4"
    assert "arguments" not in entry["details"]


def test_what_is_allowed_is_in_the_audit_trail_too(student: Agent) -> None:
    verdict = judge_action(action_of(student, "read"))
    told = events()[-1]
    assert told["event"] == "action.allowed"
    assert told["details"]["decision"] == str(verdict.decision_id)


def test_asking_makes_an_approval_bound_to_what_was_asked(ask: Callable[..., Approval]) -> None:
    approval = ask()
    assert (approval.status, approval.revision, approval.arguments) == (ApprovalStatus.PENDING, 1, {"id": 7})
    assert approval.digest == binding_digest(
        agent_id=approval.agent_id, action="delete", arguments={"id": 7}, policy_version="default-1"
    )
    assert timedelta(hours=23) < approval.expires_at - timezone.now() <= timedelta(hours=24)
    entry = events()[-1]
    assert (entry["event"], entry["actor"]) == ("approval.requested", "agent/intern")
    assert entry["details"]["digest"] == approval.digest


@pytest.mark.parametrize("changed", [{"action": "drop"}, {"arguments": {"id": 8}}, {"policy_version": "2"}])
def test_anything_else_has_another_digest(changed: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"agent_id": uuid4(), "action": "delete", "arguments": {}, "policy_version": "1"}
    assert binding_digest(**asked) != binding_digest(**{**asked, **changed})


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (AgentStatus.PAUSED, "The agent helper is paused and may do nothing until a person resumes it."),
        (AgentStatus.RETIRED, "The agent helper is retired and may do nothing any more."),
    ],
)
def test_an_agent_that_is_not_active_may_do_nothing(
    make_agent: Callable[..., Agent], status: AgentStatus, reason: str
) -> None:
    agent = make_agent()
    Agent.objects.update(status=status)
    verdict = judge_action(action_of(agent, "chat"))
    assert (verdict.decision, verdict.reason, verdict.rule) == (Kind.DENY, reason, f"agent-{status}")
    assert Decision.objects.get().decision == Kind.DENY


def test_the_level_of_now_counts(student: Agent) -> None:
    Agent.objects.update(maturity=Maturity.AUTONOMOUS)
    assert judge_action(action_of(student)).decision == Kind.ALLOW


def test_people_can_be_given_less_time(intern: Agent) -> None:
    judge_action(action_of(intern), expires_in_s=1.5)
    left = Approval.objects.get().expires_at - timezone.now()
    assert timedelta(0) < left <= timedelta(seconds=1.5)


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
def test_people_cannot_be_given_more_time_or_none(intern: Agent, seconds: float) -> None:
    with pytest.raises(BadRequest):
        judge_action(action_of(intern), expires_in_s=seconds)
    assert not Decision.objects.exists()


def test_an_agent_of_another_workspace_is_not_found(student: Agent, mallory: Principal) -> None:
    action = action_of(student)
    object.__setattr__(action, "workspace_id", mallory.workspace_id)
    with pytest.raises(NotFound):
        judge_action(action)


@pytest.mark.django_db(transaction=True)
def test_the_configured_gate_judges(student: Agent) -> None:
    assert isinstance(gate(), PolicyGate)
    verdict = asyncio.run(gate().judge(action_of(student)))
    assert verdict.decision == Kind.DENY


@pytest.mark.django_db(transaction=True)
def test_a_gate_that_fails_denies(student: Agent) -> None:
    verdict = asyncio.run(judge(action_of(student, arguments={"not json": float("nan")})))
    assert (verdict.decision, verdict.rule) == (Kind.DENY, "gate-error")
    assert not Decision.objects.exists()

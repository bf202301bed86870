"""Random walks through governance beside a model of it: nothing ever runs that was neither allowed nor approved.

The model is written from the rules alone and shares no code with what it judges. `make test` takes some walks,
`make test-chaos` 2,000 of 50 steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pytest
import redis
import time_machine
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agents.models import Agent, Maturity
from agents.services import create_agent, set_status
from atom.ground import audit
from atom.ground.errors import AtomError
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from atom.ground.snapshots import _KINDS
from governance import execution
from governance import services as people
from governance.approvals import editing, grants
from governance.budgets import services as budgets
from governance.budgets.snapshot import LIMITS
from governance.judging import judge_action
from governance.maturity import levels
from governance.maturity.confidence import locked
from governance.models import Approval, ApprovalStatus, Budget, Grant, Policy
from governance.policies import services as policies
from tests.governance.conftest import Tool, action_of

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ACTIONS = ("read", "suggest", "update", "delete")
MATRIX = {
    "student": ("allow", "ask", "deny", "deny"),
    "intern": ("allow", "allow", "ask", "ask"),
    "supervised": ("allow", "allow", "watch", "ask"),
    "autonomous": ("allow", "allow", "allow", "allow"),
}
LIVES = timedelta(hours=24)
GRANT_LIVES = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Said:
    """A decision of the model, and what it demands of people."""

    decision: str
    quorum: int = 1
    four_eyes: bool = False


# Versions 1 to 5 of one policy: as a document, and as the model reads it.
DOCUMENTS: list[dict[str, Any]] = [
    {"actions": ["delete"], "decision": "deny", "when": "arguments.id > 5"},
    {"actions": ["delete", "update"], "decision": "ask", "quorum": 2},
    {"actions": ["*"], "decision": "ask", "four_eyes": True, "when": "arguments.id == 3"},
    {"actions": ["delete"], "decision": "allow", "when": "arguments.id < 3"},
    {"actions": ["update"], "decision": "deny"},
]


def policy_says(version: int, action: str, number: int) -> Said | None:
    match version:
        case 1 if action == "delete" and number > 5:
            return Said("deny")
        case 2 if action in {"delete", "update"}:
            return Said("ask", quorum=2)
        case 3 if number == 3:
            return Said("ask", four_eyes=True)
        case 4 if action == "delete" and number < 3:
            return Said("allow")
        case 5 if action == "update":
            return Said("deny")
    return None


@dataclass(slots=True)
class Known:
    """An agent as the model knows it."""

    row: Agent
    level: str
    status: str = "active"


@dataclass(slots=True)
class Asked:
    """An approval as the model knows it."""

    id: UUID
    agent: Known
    action: str
    number: int
    by_atom: bool
    by: str
    expires_at: datetime
    quorum: int
    four_eyes: bool
    status: str = "pending"
    revision: int = 1
    edited_by: str = ""
    voters: set[str] = field(default_factory=set)
    tampered: bool = False


numbers = st.integers(1, 8)
places = st.integers(0, 40)
# Mostly what people are asked about.
wanted = st.sampled_from(["delete", "delete", "update", "update", "suggest", "read"])
deciders = st.sampled_from(["alice", "bob"])


class Governance(RuleBasedStateMachine):
    """Each walk is one transaction, rolled back at its end."""

    cast: ClassVar[dict[str, Principal]]
    policy: ClassVar[Policy]
    tool: ClassVar[Tool]

    def __init__(self) -> None:
        super().__init__()
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.clock = time_machine.travel(START, tick=False)
        self.now = self.clock.start()
        self.workspace_id = self.cast["alice"].workspace_id
        self.agents: list[Known] = []
        self.asked: list[Asked] = []
        self.grants: dict[UUID, tuple[Known, str, int, datetime]] = {}
        self.budgets: dict[UUID, Decimal] = {}
        self.in_force = 0
        self.ever_in_force: set[int] = set()
        self.ran: list[UUID] = []
        self.tool.calls.clear()

    def teardown(self) -> None:
        try:
            self.compare_rows()
            assert audit.verify(self.workspace_id) is None
        finally:
            self.clock.stop()
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)
            forget_all(self.workspace_id)

    # --- The model ------------------------------------------------------------------------------------------
    def says(self, agent: Known, action: str, number: int) -> Said:
        """What must be said of an action now, before grants."""
        if agent.status != "active":
            return Said("deny")
        of_policy = policy_says(self.in_force, action, number)
        return of_policy or Said(MATRIX[agent.level][ACTIONS.index(action)])

    def is_granted(self, agent: Known, action: str, number: int) -> bool:
        now = datetime.now(UTC)
        return any(
            until > now and (whose.row.pk, what, which) == (agent.row.pk, action, number)
            for whose, what, which, until in self.grants.values()
        )

    def may_approve(self, asked: Asked, by: str, revision: int) -> bool:
        now = self.says(asked.agent, asked.action, asked.number)
        eyes = asked.four_eyes or now.four_eyes
        return (
            self.is_open(asked, revision)
            and now.decision != "deny"
            and by not in asked.voters
            and not (eyes and by in {asked.by, asked.edited_by})
        )

    def is_open(self, asked: Asked, revision: int) -> bool:
        return asked.status == "pending" and asked.revision == revision and asked.expires_at > datetime.now(UTC)

    def may_run(self, asked: Asked) -> bool:
        """Approved by people for exactly this, not run yet, and not forbidden by level or policy of this moment."""
        is_forbidden = self.says(asked.agent, asked.action, asked.number).decision == "deny"
        return asked.status == "approved" and not asked.tampered and not is_forbidden

    # --- Agents -----------------------------------------------------------------------------------------------
    @initialize()
    def people_have_agents(self) -> None:
        for level in ("intern", "autonomous"):
            self.register(level)

    @precondition(lambda self: len(self.agents) < 5)
    @rule(level=st.sampled_from(Maturity.values))
    def register(self, level: str) -> None:
        tools = [
            {"name": f"{action}_record", "action": action, "kind": "http", "url": self.tool.url, "method": "POST"}
            for action in ACTIONS
        ]
        row = create_agent(
            workspace_id=self.workspace_id,
            name="A",
            slug=f"agent-{len(self.agents)}",
            maturity=level,
            tools=tools,
            by="alice",
        )
        self.agents.append(Known(row, level))

    @rule(place=places, level=st.sampled_from(Maturity.values))
    def promote_or_demote(self, place: int, level: str) -> None:
        agent = self.agents[place % len(self.agents)]
        levels.set_level(locked(agent.row.pk), level, reason="", by="alice", evidence={})
        agent.level = level

    @rule(place=places, status=st.sampled_from(["paused", "active", "active", "retired"]))
    def pause_resume_or_retire(self, place: int, status: str) -> None:
        agent = self.agents[place % len(self.agents)]
        if went(lambda: set_status(agent=agent.row, status=status, reason="", by="alice"), agent.status != "retired"):
            agent.status = status

    # --- Policies, grants, budgets, restarts, time ------------------------------------------------------------
    @rule(version=st.integers(-1, len(DOCUMENTS)))
    def govern(self, version: int) -> None:
        """Activate a version; roll back (0) or take the policy out of force (-1)."""
        given: dict[str, Any] = {"policy": self.policy, "principal": self.cast["alice"]}
        before = [one for one in self.ever_in_force if one < self.in_force]
        if version == 0 and went(lambda: policies.roll_back(**given), bool(before)):
            self.in_force = max(before)
        elif version == -1 and went(lambda: policies.deactivate(**given), bool(self.in_force)):
            self.in_force = 0
        elif version > 0:
            policies.activate(**given, number=version)
            self.in_force = version
            self.ever_in_force.add(version)

    @rule(place=places, action=st.sampled_from(ACTIONS), number=numbers)
    def always_allow(self, place: int, action: str, number: int) -> None:
        agent, until = self.agents[place % len(self.agents)], datetime.now(UTC) + GRANT_LIVES
        made = grants.grant(
            principal=self.cast["bob"],
            agent=agent.row,
            action=action,
            bounds={"id": {"equals": number}},
            expires_at=until,
        )
        self.grants[made.pk] = (agent, action, number, until)

    @precondition(lambda self: self.grants)
    @rule(place=places)
    def revoke(self, place: int) -> None:
        grant_id = list(self.grants)[place % len(self.grants)]
        grants.revoke(grant=Grant.objects.get(pk=grant_id), principal=self.cast["bob"])
        del self.grants[grant_id]

    @rule(limit=st.sampled_from([Decimal(0), Decimal(1), Decimal(25)]), place=places, restarts=st.booleans())
    def set_a_budget(self, limit: Decimal, place: int, restarts: bool) -> None:
        """And perhaps forget everything that the process held, as a restart does."""
        alice = self.cast["alice"]
        known = list(self.budgets)
        budget_id = known[place % len(known)] if len(known) == 2 else None
        if budget_id is None:
            made = budgets.create_budget(principal=alice, scope="workspace", period="day", limit_usd=limit)
            self.budgets[made.pk] = limit
        elif place % 3:
            budgets.change_budget(budget=Budget.objects.get(pk=budget_id), principal=alice, limit_usd=limit)
            self.budgets[budget_id] = limit
        else:
            budgets.delete_budget(budget=Budget.objects.get(pk=budget_id), principal=alice)
            del self.budgets[budget_id]
        if restarts:
            forget_all(self.workspace_id)
        # What the next call of a model would be held to.
        found = sorted((limit.budget_id, limit.limit_usd) for limit in LIMITS.get(self.workspace_id))
        assert found == sorted(self.budgets.items())

    @rule(hours=st.sampled_from([0.1, 1.0, 13.0, 25.0]), sweeps=st.booleans())
    def time_passes(self, hours: float, sweeps: bool) -> None:
        self.now.shift(timedelta(hours=hours))
        if sweeps:
            execution.close_overdue()
            for asked in self.asked:
                if asked.status == "pending" and asked.expires_at <= datetime.now(UTC):
                    asked.status = "expired"

    # --- Actions and approvals --------------------------------------------------------------------------------
    # Rules are drawn alike, and what matters most should be drawn more often: these steps go by two names.
    @rule(place=places, action=wanted, number=numbers, by_atom=st.booleans(), by=deciders)
    def act(self, place: int, action: str, number: int, by_atom: bool, by: str) -> None:
        self.do(place, action, number, by_atom, by)

    @rule(
        place=places,
        action=wanted,
        number=numbers,
        by_atom=st.booleans(),
        by=deciders,
        level=st.none() | st.sampled_from(Maturity.values),
        voters=st.lists(deciders, max_size=2),
        wants_two=st.booleans(),
    )
    def act_and_decide(
        self,
        place: int,
        action: str,
        number: int,
        by_atom: bool,
        by: str,
        level: str | None,
        voters: list[str],
        wants_two: bool,
    ) -> None:
        """An action whose question people answer soon, perhaps after the agent's level has moved."""
        before = len(self.asked)
        if wants_two:
            self.govern(2)
        self.do(place, action, number, by_atom, by)
        if level is not None:
            self.promote_or_demote(place, level)
        for asked in self.asked[before:]:
            for voter in voters:
                self.vote_on(asked, voter, stale=0)

    def do(self, place: int, action: str, number: int, by_atom: bool, by: str) -> None:
        agent = self.agents[place % len(self.agents)]
        given: dict[str, Any] = {"tool": f"{action}_record", "is_run_by_atom": True} if by_atom else {}
        verdict = judge_action(
            action_of(agent.row, action, arguments={"id": number}, user_id=self.cast[by].user_id, **given)
        )
        said = self.says(agent, action, number)
        is_granted = self.is_granted(agent, action, number) and said.quorum == 1 and not said.four_eyes
        expected = "allow" if said.decision == "ask" and is_granted else said.decision
        assert (verdict.decision, verdict.is_error) == (expected, False)
        if verdict.approval_id:
            expires_at = datetime.now(UTC) + LIVES
            found = Asked(
                verdict.approval_id, agent, action, number, by_atom, by, expires_at, said.quorum, said.four_eyes
            )
            self.asked.append(found)

    def one(self, place: int, likely: str) -> Asked:
        """Mostly one in this state, else any of the newest."""
        fitting = [asked for asked in self.asked if asked.status == likely]
        among = fitting if fitting and place % 4 else self.asked[-6:]
        return among[place % len(among)]

    @precondition(lambda self: self.asked)
    @rule(place=places, by=deciders, stale=st.sampled_from([0, 0, 0, 1]))
    def approve(self, place: int, by: str, stale: int) -> None:
        self.vote(place, by, stale)

    @precondition(lambda self: self.asked)
    @rule(place=places, by=deciders)
    def approve_again(self, place: int, by: str) -> None:
        self.vote(place, by, stale=0)

    def vote(self, place: int, by: str, stale: int) -> None:
        self.vote_on(self.one(place, "pending"), by, stale)

    def vote_on(self, asked: Asked, by: str, stale: int) -> None:
        row, revision = Approval.objects.get(pk=asked.id), asked.revision + stale
        may = self.may_approve(asked, by, revision)
        quorum = max(asked.quorum, self.says(asked.agent, asked.action, asked.number).quorum)
        if went(lambda: people.approve(approval=row, principal=self.cast[by], revision=revision), may):
            asked.voters.add(by)
            if len(asked.voters) >= quorum:
                asked.status = "approved"

    @precondition(lambda self: self.asked)
    @rule(place=places, verb=st.sampled_from(["reject", "cancel"]), stale=st.sampled_from([0, 1]))
    def refuse(self, place: int, verb: str, stale: int) -> None:
        asked = self.one(place, "pending")
        row, revision = Approval.objects.get(pk=asked.id), asked.revision + stale
        decide = {"reject": people.reject, "cancel": people.cancel}[verb]
        may = self.is_open(asked, revision)
        if went(lambda: decide(approval=row, principal=self.cast["bob"], revision=revision), may):
            asked.status = "refused"

    @precondition(lambda self: self.asked)
    @rule(place=places, by=deciders, number=numbers)
    def edit(self, place: int, by: str, number: int) -> None:
        asked = self.one(place, "pending")
        row, now = Approval.objects.get(pk=asked.id), self.says(asked.agent, asked.action, number)
        may = self.is_open(asked, asked.revision) and now.decision != "deny"
        given: dict[str, Any] = {"principal": self.cast[by], "revision": asked.revision, "arguments": {"id": number}}
        if went(lambda: editing.edit(approval=row, **given), may):
            asked.number, asked.edited_by, asked.voters = number, by, set()
            asked.tampered = False
            asked.revision += 1
            asked.quorum, asked.four_eyes = max(asked.quorum, now.quorum), asked.four_eyes or now.four_eyes

    @precondition(lambda self: any(one.status == "approved" for one in self.asked))
    @rule(place=places)
    def tamper(self, place: int) -> None:
        """Somebody with the database writes other arguments under a yes that was given."""
        approved = [one for one in self.asked if one.status == "approved"]
        asked = approved[place % len(approved)]
        Approval.objects.filter(pk=asked.id).update(arguments={"id": asked.number, "force": True})
        asked.tampered = True
        if asked.by_atom:
            self.work_on(asked)
        else:
            self.hand_out(asked)

    # --- Running ----------------------------------------------------------------------------------------------
    @precondition(lambda self: self.asked)
    @rule(place=places)
    def execute(self, place: int) -> None:
        """A worker gets this approval, whatever state it is in."""
        self.work_on(self.one(place, "approved"))

    def work_on(self, asked: Asked) -> None:
        before, may = len(self.tool.calls), self.may_run(asked)
        is_due = asked.by_atom and asked.status == "approved" and asked.agent.status != "paused"
        assert execution.execute(asked.id) == is_due
        calls = self.tool.calls[before:]
        assert calls == ([(str(asked.id), {"id": asked.number})] if is_due and may else [])
        self.has_run(asked, len(calls), is_over=is_due)

    @precondition(lambda self: self.asked)
    @rule(place=places)
    def take(self, place: int) -> None:
        """The client that waits asks for its answer, whatever state it is in."""
        self.hand_out(self.one(place, "approved"))

    def hand_out(self, asked: Asked) -> None:
        may = self.may_run(asked) and not asked.by_atom
        answer = people.take(asked.id)
        assert (answer.status == "approved", answer.arguments) == (may, {"id": asked.number} if may else {})
        self.has_run(asked, int(may), is_over=may)

    def has_run(self, asked: Asked, times: int, *, is_over: bool) -> None:
        self.ran.extend([asked.id] * times)
        if is_over:
            asked.status = "done"
            ends = AuditEntry.objects.filter(event__in=["approval.executed", "approval.failed"])
            assert ends.filter(entry__contains=str(asked.id)).count() == 1

    # --- Always -----------------------------------------------------------------------------------------------
    @invariant()
    def nothing_ran_twice(self) -> None:
        assert len(self.ran) == len(set(self.ran))
        assert [UUID(key) for key, _ in self.tool.calls] == [one for one in self.ran if one in self.by_atom()]

    def by_atom(self) -> set[UUID]:
        return {asked.id for asked in self.asked if asked.by_atom}

    def compare_rows(self) -> None:
        waiting = Approval.objects.filter(workspace_id=self.workspace_id, status=ApprovalStatus.PENDING)
        assert set(waiting.values_list("pk", flat=True)) == {one.id for one in self.asked if one.status == "pending"}
        ended = Approval.objects.filter(workspace_id=self.workspace_id, status=ApprovalStatus.EXECUTED)
        assert set(ended.values_list("pk", flat=True)) == set(self.ran)


def went(step: Any, may: bool) -> bool:
    """Take the step in a savepoint; it must go exactly if it may."""
    problem = ""
    try:
        with transaction.atomic():
            step()
    except AtomError as exc:
        problem = exc.message
    assert (not problem) == may, problem or "it went, and should have been refused"
    return may


def forget_all(workspace_id: UUID) -> None:
    """What a restart does to a process's memory."""
    for kind in _KINDS.values():
        kind.forget(workspace_id)


@pytest.fixture
def governance(alice: Principal, bob: Principal, tool: Tool, store: redis.Redis) -> Iterator[type[Governance]]:
    for place, document in enumerate(DOCUMENTS, start=1):
        whole = {"version": 1, "rules": [{"name": f"rule-{place}", **document}]}
        version = policies.save_policy(principal=alice, name="house", document=whole)
    Governance.cast, Governance.policy, Governance.tool = {"alice": alice, "bob": bob}, version.policy, tool
    yield Governance
    forget_all(alice.workspace_id)


def walk(machine: type[Governance], walks: int, steps: int, **more: Any) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    given: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": checks, **more}
    run_state_machine_as_test(machine, settings=settings(max_examples=walks, stateful_step_count=steps, **given))


def test_some_random_walks_run_nothing_that_was_not_allowed_or_approved(governance: type[Governance]) -> None:
    walk(governance, walks=40, steps=50, derandomize=True)


# In two parts, so that both of a machine's cores have one.
@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("half", [1, 2])
def test_two_thousand_random_walks_of_fifty_steps_do_not_either(governance: type[Governance], half: int) -> None:
    walk(governance, walks=1000, steps=50)

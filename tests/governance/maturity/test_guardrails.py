import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Agent, AgentStatus, Attempt, Maturity
from agents.services import ensure_direct_agent
from atom.ground.errors import BadRequest, Forbidden
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance import presence
from governance.judging import judge_action
from governance.maturity.runs import settle_run
from governance.models import Approval, Decision, LevelChange, TrainingTask
from governance.oversight import change_oversight
from tests.governance.conftest import action_of
from tests.governance.maturity.conftest import confidence, ended_run, midnight


def level_of(agent: Agent) -> str:
    return Agent.objects.get(pk=agent.pk).maturity


def spend(agent: Agent, usd: str, at: Any = None) -> None:
    now = timezone.now()
    Attempt.objects.create(
        workspace_id=agent.workspace_id,
        request_id=uuid.uuid4(),
        place=0,
        agent=agent,
        provider="openai",
        model="m",
        outcome="succeeded",
        started_at=at or now,
        cost_usd=Decimal(usd),
    )


# --- rate --------------------------------------------------------------------------------------------------


def test_the_61st_action_of_an_hour_asks_and_costs_the_level(captain: Agent) -> None:
    for _ in range(60):
        assert judge_action(action_of(captain, "update")).decision == "allow"
    assert (level_of(captain), confidence(captain)) == ("autonomous", 0.5)
    crossing = judge_action(action_of(captain, "update"))
    assert (crossing.decision, crossing.rule) == ("ask", "guardrail:rate")
    assert Approval.objects.get(decision=crossing.decision_id).status == "pending"
    assert (level_of(captain), confidence(captain)) == ("supervised", 0.3)
    change = LevelChange.objects.get()
    assert (change.before, change.after, change.by) == ("autonomous", "supervised", "atom")
    assert AuditEntry.objects.filter(event="agent.demoted").count() == 1
    # What comes after is asked too, and costs nothing more.
    assert judge_action(action_of(captain, "draft")).rule == "guardrail:rate"
    assert (level_of(captain), confidence(captain)) == ("supervised", 0.3)


def test_an_hour_later_the_count_is_free_again(captain: Agent, alice: Principal) -> None:
    change_oversight(principal=alice, actions_per_hour=1)
    now = timezone.now()
    with time_machine.travel(now, tick=False) as clock:
        judge_action(action_of(captain, "draft"))
        clock.shift(timedelta(minutes=59))
        assert judge_action(action_of(captain, "draft")).decision == "ask"
        clock.shift(timedelta(minutes=61))
        assert judge_action(action_of(captain, "draft")).decision == "allow"


def test_conversation_and_reading_do_not_count(captain: Agent, alice: Principal) -> None:
    change_oversight(principal=alice, actions_per_hour=1)
    for name in ("chat", "read", "search") * 3:
        assert judge_action(action_of(captain, name)).decision == "allow"
    assert judge_action(action_of(captain, "draft")).decision == "allow"


def test_each_agent_has_its_own_count(captain: Agent, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    change_oversight(principal=alice, actions_per_hour=1)
    judge_action(action_of(captain, "draft"))
    assert judge_action(action_of(make_agent("other"), "draft")).decision == "allow"


def test_direct_is_asked_but_keeps_its_level(captain: Agent, alice: Principal) -> None:
    direct = ensure_direct_agent(workspace_id=captain.workspace_id)
    change_oversight(principal=alice, actions_per_hour=0)
    assert judge_action(action_of(direct, "update")).rule == "guardrail:rate"
    assert level_of(direct) == "autonomous"


# --- spend -------------------------------------------------------------------------------------------------


def test_ten_dollars_a_day_ask_and_cost_the_level(captain: Agent) -> None:
    spend(captain, "9.99")
    assert judge_action(action_of(captain, "update")).decision == "allow"
    spend(captain, "0.01")
    crossing = judge_action(action_of(captain, "update"))
    assert (crossing.decision, crossing.rule) == ("ask", "guardrail:spend")
    assert crossing.reason == "captain has spent the 10 USD that it may a day: a person decides."
    assert (level_of(captain), confidence(captain)) == ("supervised", 0.3)


def test_yesterdays_spending_is_forgotten_at_midnight(captain: Agent) -> None:
    spend(captain, "99", at=midnight() - timedelta(seconds=1))
    assert judge_action(action_of(captain, "update")).decision == "allow"


def test_a_run_that_spends_too_much_costs_the_level_at_its_end(captain: Agent) -> None:
    spend(captain, "10")
    settle_run(ended_run(captain).pk)
    assert level_of(captain) == "supervised"
    assert confidence(captain) == 0.31


# --- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "decision"),
    [
        ({"amount": 500}, "allow"),
        ({"amount": "500.00"}, "allow"),
        ({"amount": 500.01}, "ask"),
        ({"amount": "501"}, "ask"),
        ({"amount": -501}, "ask"),
        ({"amount": "NaN"}, "ask"),
        ({"amount": "1e9"}, "ask"),
        ({"amount": "a million"}, "ask"),
        ({"amount": True}, "ask"),
        ({"amount": None}, "ask"),
        ({"Amount": 501}, "ask"),
        ({"amount": 1, "more": [{"amount": 501}]}, "ask"),
        ({"to": "bob"}, "allow"),
    ],
)
def test_a_transfer_of_more_than_500_asks(captain: Agent, arguments: dict[str, Any], decision: str) -> None:
    verdict = judge_action(action_of(captain, "transfer", arguments=arguments))
    assert verdict.decision == decision
    assert (verdict.rule == "guardrail:transfer") == (decision == "ask")
    # No more than a question: nothing was overrun.
    assert level_of(captain) == "autonomous"


@pytest.mark.parametrize(
    ("name", "ids", "decision"),
    [
        ("delete", list(range(10)), "allow"),
        ("delete", list(range(11)), "ask"),
        ("bulk_delete", list(range(11)), "ask"),
        ("purgeUsers", list(range(11)), "ask"),
        ("delete", ",".join("abcdefghijk"), "ask"),
        ("delete", 7, "allow"),
        ("update", list(range(11)), "allow"),
    ],
)
def test_deleting_more_than_10_asks(captain: Agent, name: str, ids: Any, decision: str) -> None:
    assert judge_action(action_of(captain, name, arguments={"ids": ids})).decision == decision


def test_the_bounds_are_the_workspaces_own(captain: Agent, alice: Principal, mallory: Principal) -> None:
    change_oversight(principal=mallory, transfer_most=Decimal(10_000))
    assert judge_action(action_of(captain, "transfer", arguments={"amount": 600})).decision == "ask"
    change_oversight(principal=alice, transfer_most=Decimal(600))
    assert judge_action(action_of(captain, "transfer", arguments={"amount": 600})).decision == "allow"


def test_what_a_rule_allows_is_as_large_as_the_rule_says_but_not_as_often(
    captain: Agent, alice: Principal, api: Callable[..., APIClient], store: object
) -> None:
    rule = {"name": "large", "actions": ["transfer"], "decision": "allow", "when": "arguments.amount <= 9000"}
    document = {"version": 1, "rules": [rule]}
    made = api(alice).post("/api/policies/", {"name": "p", "document": document}, format="json").json()
    assert api(alice).post(f"/api/policies/{made['id']}/activate/").status_code == 200
    large = action_of(captain, "transfer", arguments={"amount": 9000})
    assert judge_action(large).rule == "large"
    assert judge_action(action_of(captain, "transfer", arguments={"amount": 9001})).rule == "guardrail:transfer"
    change_oversight(principal=alice, actions_per_hour=2)
    crossing = judge_action(large)
    assert (crossing.rule, crossing.policy_version) == ("guardrail:rate", "default-1")


def test_a_grant_does_not_speak_for_whoever_delegates(
    intern: Agent, student: Agent, bob: Principal, api: Callable[..., APIClient], store: object
) -> None:
    grant = {"agent": "intern", "action": "draft", "bounds": {"id": {"any": True}}}
    until = (timezone.now() + timedelta(days=1)).isoformat()
    assert api(bob).post("/api/grants/", {**grant, "expires_at": until}, format="json").status_code == 201
    assert delegated(intern, action="draft").decision == "allow"
    assert delegated(intern, "student", action="draft").decision == "ask"


def test_only_an_owner_moves_the_bounds(bob: Principal) -> None:
    with pytest.raises(Forbidden):
        change_oversight(principal=bob, transfer_most=Decimal(10_000))


def test_a_denial_stays_a_denial(student: Agent, alice: Principal) -> None:
    change_oversight(principal=alice, actions_per_hour=0)
    assert judge_action(action_of(student, "delete")).decision == "deny"


# --- delegation --------------------------------------------------------------------------------------------


def delegated(agent: Agent, *slugs: str, action: str = "delete") -> Any:
    return judge_action(action_of(agent, action, context={"delegation": list(slugs)}))


def test_an_agent_acts_at_the_lowest_level_of_its_chain(captain: Agent, student: Agent, intern: Agent) -> None:
    assert delegated(captain).decision == "allow"
    assert delegated(captain, "intern").decision == "ask"
    assert delegated(captain, "student", "intern").decision == "deny"
    assert delegated(student, "captain").decision == "deny"
    assert delegated(captain, "captain").decision == "allow"


def test_six_delegations_are_too_many(captain: Agent) -> None:
    assert delegated(captain, *["captain"] * 5).decision == "allow"
    deep = delegated(captain, *["captain"] * 6)
    assert (deep.decision, deep.rule) == ("deny", "delegation:depth")


def test_a_stranger_in_the_chain_is_refused(captain: Agent, mallory: Principal) -> None:
    assert delegated(captain, "nobody").rule == "delegation:unknown"
    foreign = Agent.objects.create(workspace_id=mallory.workspace_id, slug="foreign", name="F", maturity="autonomous")
    assert delegated(captain, foreign.slug).decision == "deny"


def test_a_paused_agent_delegates_nothing(captain: Agent, intern: Agent) -> None:
    intern.status = AgentStatus.PAUSED
    intern.save()
    assert delegated(captain, "intern", action="read").rule == "delegation:status"


@pytest.mark.parametrize("wrong", ["captain", [1], {"a": 1}, None])
def test_a_chain_is_a_list_of_slugs(captain: Agent, wrong: Any) -> None:
    with pytest.raises(BadRequest):
        judge_action(action_of(captain, context={"delegation": wrong}))
    assert not Decision.objects.exists()


def test_what_is_taught_is_the_students_own_doing(captain: Agent, student: Agent) -> None:
    delegated(captain, "student")
    assert not TrainingTask.objects.filter(agent=captain).exists()


# --- supervision required ----------------------------------------------------------------------------------


@pytest.fixture
def supervised(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("supervised", maturity=Maturity.SUPERVISED)


def test_watch_becomes_ask_while_nobody_is_watching(
    supervised: Agent, alice: Principal, bob: Principal, store: object
) -> None:
    assert judge_action(action_of(supervised, "update")).decision == "watch"
    change_oversight(principal=alice, supervision_required=True)
    asked = judge_action(action_of(supervised, "update"))
    assert (asked.decision, asked.rule) == ("ask", "supervision-required")
    presence.touch(bob.workspace_id, session="s1", user_id=bob.user_id)
    assert judge_action(action_of(supervised, "update")).decision == "watch"
    presence.leave(bob.workspace_id, session="s1")
    assert judge_action(action_of(supervised, "update")).decision == "ask"
    change_oversight(principal=alice, supervision_required=False)
    assert judge_action(action_of(supervised, "update")).decision == "watch"


def test_only_what_is_watched_is_concerned(supervised: Agent, alice: Principal, store: object) -> None:
    change_oversight(principal=alice, supervision_required=True)
    assert judge_action(action_of(supervised, "draft")).decision == "allow"


def test_a_session_that_died_watches_no_longer(bob: Principal, store: object) -> None:
    now = timezone.now()
    with time_machine.travel(now, tick=False) as clock:
        presence.touch(bob.workspace_id, session="s1", user_id=bob.user_id)
        clock.shift(29)
        assert presence.is_watched(bob.workspace_id)
        clock.shift(2)
        assert not presence.is_watched(bob.workspace_id)
        assert presence.is_operator_present(bob.workspace_id)
        clock.shift(270)
        assert not presence.is_operator_present(bob.workspace_id)


def test_one_of_two_sessions_may_leave(bob: Principal, store: object) -> None:
    for session in ("s1", "s2"):
        presence.touch(bob.workspace_id, session=session, user_id=bob.user_id)
    presence.leave(bob.workspace_id, session="s1")
    assert presence.is_watched(bob.workspace_id)


def test_who_watches_another_workspace_does_not_watch_this(
    supervised: Agent, alice: Principal, mallory: Principal, store: object
) -> None:
    change_oversight(principal=alice, supervision_required=True)
    presence.touch(mallory.workspace_id, session="s1", user_id=mallory.user_id)
    assert judge_action(action_of(supervised, "update")).decision == "ask"


def test_without_the_store_nobody_watches(supervised: Agent, alice: Principal) -> None:
    change_oversight(principal=alice, supervision_required=True)
    assert judge_action(action_of(supervised, "update")).decision == "ask"

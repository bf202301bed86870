"""A draft tried on what happened: the flips, what people said to them, the approvals it would add."""

import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Agent, Maturity
from atom.ground.principal import Principal
from governance import services as approvals
from governance.judging import judge_action
from governance.models import Approval, Decision, PolicyReplay, PolicyVersion
from governance.policies import replay, services
from tests.governance.conftest import action_of
from tests.governance.test_policies import document

API = Callable[[Principal | None], APIClient]
URL = "/api/policies/"


@pytest.fixture
def save(alice: Principal) -> Callable[..., PolicyVersion]:
    def make(*rules: dict[str, Any]) -> PolicyVersion:
        return services.save_policy(principal=alice, name="draft", document=document(*rules))

    return make


def tried(version: PolicyVersion, alice: Principal) -> PolicyReplay:
    started = services.start_replay(policy=version.policy, principal=alice)
    assert replay.run_replay(started.pk)
    started.refresh_from_db()
    return started


def test_a_replay_tells_flips_and_what_people_had_said(
    save: Callable[..., PolicyVersion], alice: Principal, bob: Principal, make_agent: Callable[..., Agent]
) -> None:
    intern = make_agent("intern", maturity=Maturity.INTERN)
    for say in (approvals.approve, approvals.approve, approvals.reject):
        asked = judge_action(action_of(intern, "delete"))
        say(approval=Approval.objects.get(decision=asked.decision_id), principal=bob, revision=1)
    for amount in (5, 900):
        judge_action(action_of(intern, "draft", arguments={"amount": amount}))
    version = save(
        {"actions": ["delete"], "decision": "allow"},
        {"actions": ["draft"], "decision": "ask", "when": "arguments.amount > 500"},
    )
    done = tried(version, alice)
    assert (done.status, done.rows_done, done.rows_total) == ("done", 5, 5)
    flips = [{**flip, "example": ""} for flip in done.result["flips"]]
    common = {"agent": "intern", "example": ""}
    assert flips == [
        {
            **common,
            "action": "delete",
            "was": "ask",
            "would_be": "allow",
            "count": 3,
            "approved_by_people": 2,
            "rejected_by_people": 1,
        },
        {
            **common,
            "action": "draft",
            "was": "allow",
            "would_be": "ask",
            "count": 1,
            "approved_by_people": 0,
            "rejected_by_people": 0,
        },
    ]
    assert (done.result["asks_before"], done.result["asks_after"], done.result["approvals_added_a_day"]) == (3, 1, -2)
    assert done.result["rules"] == {"rule-0": 3, "rule-1": 1}
    assert done.result["errors"] == 0


def test_approvals_a_day_count_the_days_that_there_are_decisions_of(
    save: Callable[..., PolicyVersion], alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    agent = make_agent()
    for _ in range(8):
        judge_action(action_of(agent, "delete"))
    Decision.objects.update(created_at=timezone.now() - timedelta(days=4))
    done = tried(save({"actions": ["delete"], "decision": "ask"}), alice)
    assert done.result["approvals_added_a_day"] == pytest.approx(2, abs=0.01)


def test_errors_are_told_as_errors_and_a_paused_agent_stays_paused(
    save: Callable[..., PolicyVersion], alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    agent = make_agent()
    judge_action(action_of(agent, "pay", arguments={"amount": "900"}))
    Agent.objects.update(status="paused")
    judge_action(action_of(agent, "pay", arguments={"amount": 900}))
    done = tried(save({"actions": ["pay"], "decision": "allow", "when": "arguments.amount > 5"}), alice)
    assert [(flip["was"], flip["would_be"], flip["count"]) for flip in done.result["flips"]] == [("allow", "error", 1)]
    assert done.result["errors"] == 1


def test_what_could_not_be_judged_before_was_no_denial(
    save: Callable[..., PolicyVersion], alice: Principal, make_agent: Callable[..., Agent], store: redis.Redis
) -> None:
    version = save({"actions": ["pay"], "decision": "deny", "when": "arguments.amount > 5"})
    services.activate(policy=version.policy, principal=alice)
    judge_action(action_of(make_agent(), "pay", arguments={"amount": "900"}))
    assert tried(version, alice).result["flips"] == []
    stricter = save({"actions": ["pay"], "decision": "deny"})
    flips = tried(stricter, alice).result["flips"]
    assert [(flip["was"], flip["would_be"]) for flip in flips] == [("error", "deny")]


def test_a_replay_of_many_decisions_keeps_only_the_tally(
    save: Callable[..., PolicyVersion],
    alice: Principal,
    make_agent: Callable[..., Agent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = make_agent()
    judge_action(action_of(agent, "delete", arguments={"text": "x" * 2_000}))
    row = Decision.objects.get()
    copies = []
    for _ in range(6_000):
        row.pk = PolicyReplay().pk
        copies.append(Decision(**{field.attname: getattr(row, field.attname) for field in Decision._meta.fields}))
    Decision.objects.bulk_create(copies, batch_size=500)
    copies.clear()
    monkeypatch.setattr(replay, "MAX_FLIPS", 1)
    version = save({"actions": ["delete"], "decision": "ask"})
    started = services.start_replay(policy=version.policy, principal=alice)
    tracemalloc.start()
    replay.run_replay(started.pk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    started.refresh_from_db()
    assert started.result["flips"][0]["count"] == 6_001
    # All rows at once hold some 30 MB; one batch of 500 about 3.
    assert peak < 15_000_000


def test_a_replay_goes_through_the_queue_and_the_door(
    transactional_db: None,
    alice: Principal,
    api: API,
    save: Callable[..., PolicyVersion],
    queued: Callable[[], list[tuple[str, str]]],
) -> None:
    url = f"{URL}{save({'actions': ['pay'], 'decision': 'deny'}).policy_id}/replay/"
    client = api(alice)
    assert client.get(url).status_code == 404
    started = client.post(url, {"days": 7}, format="json")
    assert (started.status_code, started.json()["status"]) == (202, "queued")
    assert queued() == [("governance.tasks.replay_policy", started.json()["id"])]
    assert replay.run_replay(started.json()["id"])
    assert not replay.run_replay(started.json()["id"])
    assert client.get(url).json()["status"] == "done"
    assert client.post(url, {"days": 0}, format="json").status_code == 400
    assert client.post(url, {"version": 9}, format="json").status_code == 404


def test_without_the_queue_a_replay_says_so(
    transactional_db: None, alice: Principal, save: Callable[..., PolicyVersion]
) -> None:
    version = save({"actions": ["pay"], "decision": "deny"})
    started = services.start_replay(policy=version.policy, principal=alice)
    started.refresh_from_db()
    assert (started.status, started.error) == ("failed", "The queue is away; try again.")


def test_a_replay_whose_worker_is_gone_is_stalled(alice: Principal, save: Callable[..., PolicyVersion]) -> None:
    version = save({"actions": ["pay"], "decision": "deny"})
    started = services.start_replay(policy=version.policy, principal=alice)
    PolicyReplay.objects.update(status="running", updated_at=timezone.now() - timedelta(minutes=6))
    started.refresh_from_db()
    assert started.current_status == "stalled"


def test_the_workspace_of_others_is_not_read(
    alice: Principal, mallory: Principal, make_agent: Callable[..., Agent], store: redis.Redis
) -> None:
    judge_action(action_of(make_agent(), "delete"))
    theirs = services.save_policy(
        principal=mallory, name="draft", document=document({"actions": ["*"], "decision": "deny"})
    )
    assert tried(theirs, mallory).rows_total == 0

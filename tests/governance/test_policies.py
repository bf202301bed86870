"""Policies in force: through the REST door, at the gate, in the shadow, and in every process."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.db import connection
from rest_framework.test import APIClient

from agents.models import Agent, Maturity
from atom.ground import snapshots
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from atom.ground.snapshots import CHECK_EVERY_S, Snapshots
from governance.judging import judge_action
from governance.models import Decision, Policy, PolicyInForce, PolicyVersion
from governance.policies import services
from governance.policies.active import POLICIES, _load
from tests.governance.conftest import action_of

API = Callable[[Principal | None], APIClient]
URL = "/api/policies/"


def document(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "rules": [{"name": f"rule-{place}", **rule} for place, rule in enumerate(rules)]}


DENY_LARGE = {"name": "no-large", "actions": ["transfer"], "decision": "deny", "when": "arguments.amount > 500"}


@pytest.fixture
def helper(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("helper", maturity=Maturity.AUTONOMOUS)


@pytest.fixture
def put(alice: Principal, store: redis.Redis) -> Callable[..., PolicyVersion]:
    """Save rules and put them into force."""

    def make(*rules: dict[str, Any], name: str = "house") -> PolicyVersion:
        version = services.save_policy(principal=alice, name=name, document=document(*rules))
        return services.activate(policy=version.policy, principal=alice)

    return make


def events() -> list[str]:
    return list(AuditEntry.objects.filter(event__startswith="policy.").order_by("seq").values_list("event", flat=True))


# --- The door ---------------------------------------------------------------------------------------------
def test_a_policy_is_saved_put_into_force_and_rolled_back(
    alice: Principal, api: API, helper: Agent, store: redis.Redis
) -> None:
    client = api(alice)
    first = client.post(URL, {"name": "house", "document": document(DENY_LARGE)}, format="json")
    assert first.status_code == 201
    assert (first.json()["status"], first.json()["version"]) == ("draft", 1)
    # The default guardrail of transfers.
    assert judge_action(action_of(helper, "transfer", arguments={"amount": 900})).rule == "guardrail:transfer"
    one = f"{URL}{first.json()['id']}/"
    assert client.post(f"{one}activate/").json()["active_version"] == 1
    verdict = judge_action(action_of(helper, "transfer", arguments={"amount": 900}))
    assert (verdict.decision, verdict.rule, verdict.policy_version) == ("deny", "no-large", "house@1")
    assert verdict.reason == "The rule 'no-large' of house@1 does not allow to transfer."
    second = client.post(
        URL,
        {"name": "house", "document": "version: 1\nrules:\n- {name: x, actions: [transfer], decision: allow}"},
        format="json",
    )
    assert (second.status_code, second.json()["id"], second.json()["version"]) == (201, first.json()["id"], 2)
    assert client.post(f"{one}activate/").json()["active_version"] == 2
    assert judge_action(action_of(helper, "transfer", arguments={"amount": 900})).decision == "allow"
    assert client.post(f"{one}rollback/").json()["active_version"] == 1
    assert judge_action(action_of(helper, "transfer", arguments={"amount": 900})).decision == "deny"
    assert client.post(f"{one}rollback/").status_code == 409
    assert client.post(f"{one}deactivate/").json()["status"] == "draft"
    assert judge_action(action_of(helper, "transfer", arguments={"amount": 900})).rule == "guardrail:transfer"
    assert [row["version"] for row in client.get(f"{one}versions/").json()["results"]] == [2, 1]
    assert events() == [
        "policy.saved",
        "policy.activated",
        "policy.saved",
        "policy.activated",
        "policy.rolled_back",
        "policy.deactivated",
    ]


def test_a_wrong_document_is_400_with_every_place(alice: Principal, api: API) -> None:
    text = "version: 1\nrules:\n- name: a\n  actions: [x]\n  decision: deny\n  when: hour > 3 and\n    amount > 5"
    answer = api(alice).post(URL, {"name": "house", "document": text}, format="json")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_policy", "document")
    assert error["message"].startswith("Line 7, column 5: There is no field 'amount'.")
    assert [(row["line"], row["column"], row["path"]) for row in error["details"]] == [(7, 5, "rules[0].when")]
    assert not Policy.objects.exists()


@pytest.mark.parametrize(
    "body", [{}, {"name": "house"}, {"name": "house", "document": 3}, {"name": "a@b", "document": document(DENY_LARGE)}]
)
def test_a_policy_needs_a_name_and_a_document(alice: Principal, api: API, body: dict[str, Any]) -> None:
    assert api(alice).post(URL, body, format="json").status_code == 400


DOORS = ["activate/", "deactivate/", "rollback/", "shadow/", "replay/", "versions/"]


def test_only_an_owner_writes_policies_and_approvers_read_them(
    put: Callable[..., PolicyVersion], bob: Principal, carol: Principal, api: API
) -> None:
    policy = put(DENY_LARGE).policy
    assert api(bob).get(f"{URL}{policy.pk}/").status_code == 200
    assert api(carol).get(URL).status_code == 403
    body = {"name": "house", "document": document(DENY_LARGE)}
    assert api(bob).post(URL, body, format="json").status_code == 403
    assert [api(bob).post(f"{URL}{policy.pk}/{door}", body, format="json").status_code for door in DOORS] == [403] * 6


def test_mallory_finds_no_policy(
    put: Callable[..., PolicyVersion], mallory: Principal, api: API, helper: Agent
) -> None:
    policy = put(DENY_LARGE).policy
    client, body = api(mallory), {"name": "house", "document": document(DENY_LARGE)}
    assert client.get(URL).json()["results"] == []
    assert client.get(f"{URL}{policy.pk}/").status_code == 404
    assert [client.post(f"{URL}{policy.pk}/{door}", body, format="json").status_code for door in DOORS] == [404] * 6
    assert client.get(f"{URL}{policy.pk}/replay/").status_code == 404
    # A policy of hers with the same name is her own.
    assert client.post(URL, body, format="json").json()["id"] != str(policy.pk)
    named = {"name": "theirs", "document": document({**DENY_LARGE, "agents": ["helper"]})}
    assert "no agent 'helper'" in client.post(URL, named, format="json").json()["error"]["message"]


def test_examples_must_hold_when_it_is_activated_too(
    alice: Principal, api: API, helper: Agent, store: redis.Redis
) -> None:
    client = api(alice)
    rule = {**DENY_LARGE, "agents": ["helper"]}
    saved = client.post(URL, {"name": "house", "document": document(rule)}, format="json").json()
    Agent.objects.filter(pk=helper.pk).update(slug="renamed")
    answer = client.post(f"{URL}{saved['id']}/activate/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_policy")
    assert not PolicyInForce.objects.exclude(active=None).exists()


# --- At the gate ------------------------------------------------------------------------------------------
def test_rules_come_before_the_matrix(put: Callable[..., PolicyVersion], make_agent: Callable[..., Agent]) -> None:
    student = make_agent("student", maturity=Maturity.STUDENT)
    put({"actions": ["delete"], "decision": "allow"}, {"actions": ["read"], "decision": "deny"})
    assert [judge_action(action_of(student, name)).decision for name in ("delete", "read", "drop")] == [
        "allow",
        "deny",
        "deny",
    ]
    assert judge_action(action_of(student, "drop")).policy_version == "default-1"


@pytest.mark.parametrize("name", ["bulk_delete", "bulkDelete", "Bulk-Delete", "BULK DELETE"])
def test_a_rule_is_about_an_action_however_it_is_spelt(
    put: Callable[..., PolicyVersion], helper: Agent, name: str
) -> None:
    put({"actions": ["bulk_delete"], "decision": "deny"})
    assert judge_action(action_of(helper, name)).decision == "deny"


def test_the_strictest_of_equals_wins_and_a_lower_priority_comes_first(
    put: Callable[..., PolicyVersion], helper: Agent
) -> None:
    put(
        {"actions": ["pay"], "decision": "allow", "when": "arguments.a > 1"},
        {"actions": ["pay"], "decision": "ask", "when": "arguments.a > 2"},
        {"actions": ["pay"], "decision": "deny", "when": "arguments.a > 3"},
        {"actions": ["pay"], "decision": "allow", "when": "arguments.a > 4", "priority": -1},
    )
    verdicts = [judge_action(action_of(helper, "pay", arguments={"a": a})) for a in (2, 3, 4, 5)]
    assert [verdict.decision for verdict in verdicts] == ["allow", "ask", "deny", "allow"]
    assert verdicts[3].rule == "rule-3"


def test_a_paused_agent_is_denied_whatever_a_rule_allows(put: Callable[..., PolicyVersion], helper: Agent) -> None:
    put({"actions": ["*"], "decision": "allow"})
    helper.status = "paused"
    helper.save()
    assert judge_action(action_of(helper, "read")).rule == "agent-paused"


def test_what_cannot_be_judged_is_denied_and_counted_apart(put: Callable[..., PolicyVersion], helper: Agent) -> None:
    put(DENY_LARGE)
    verdict = judge_action(action_of(helper, "transfer", arguments={"amount": "900"}))
    assert (verdict.decision, verdict.is_error, verdict.rule) == ("deny", True, "no-large")
    assert verdict.reason == (
        "This could not be judged, so it does not happen. The rule 'no-large' could not be asked:"
        " arguments.amount is a text, and is compared with a number."
    )
    assert Decision.objects.get().is_error
    assert AuditEntry.objects.filter(event="action.not_judged").count() == 1
    assert not AuditEntry.objects.filter(event="action.denied").exists()


def test_a_policy_that_can_no_longer_be_read_denies_everything(
    put: Callable[..., PolicyVersion], helper: Agent
) -> None:
    version = put(DENY_LARGE)
    PolicyVersion.objects.filter(pk=version.pk).update(source="version: 7")
    POLICIES.forget(helper.workspace_id)
    verdict = judge_action(action_of(helper, "read"))
    assert (verdict.decision, verdict.is_error, verdict.rule) == ("deny", True, "unreadable-policy")


def test_cedar_decides_behind_the_same_verdict(alice: Principal, helper: Agent, store: redis.Redis) -> None:
    cedar = """
        @id("large") @decision("ask") @quorum("2")
        permit(principal, action == Action::"transfer", resource) when { context.arguments.amount > 500 };
        @id("never")
        forbid(principal == Agent::"helper", action == Action::"delete", resource);
        """
    given = {"version": 1, "language": "cedar", "policy": cedar}
    version = services.save_policy(principal=alice, name="advanced", document=given)
    services.activate(policy=version.policy, principal=alice)
    asked = judge_action(action_of(helper, "transfer", arguments={"amount": 501, "ratio": 0.5, "note": None}))
    assert (asked.decision, asked.rule, asked.policy_version) == ("ask", "large", "advanced@1")
    assert judge_action(action_of(helper, "delete")).decision == "deny"
    assert judge_action(action_of(helper, "update")).rule == "matrix:autonomous:3"
    failed = judge_action(action_of(helper, "transfer", arguments={"amount": "501"}))
    assert (failed.decision, failed.is_error, failed.rule) == ("deny", True, "large")


def test_a_shadow_judges_and_changes_nothing(
    put: Callable[..., PolicyVersion], alice: Principal, helper: Agent
) -> None:
    put({"actions": ["delete"], "decision": "watch"})
    draft = services.save_policy(
        principal=alice, name="draft", document=document(DENY_LARGE, {"actions": ["delete"], "decision": "deny"})
    )
    services.shadow(policy=draft.policy, principal=alice, on=True)
    assert judge_action(action_of(helper, "delete")).decision == "watch"
    stored = Decision.objects.get()
    assert (stored.decision, stored.policy_version) == ("watch", "house@1")
    assert (stored.shadow_decision, stored.shadow_rule, stored.shadow_policy_version) == ("deny", "rule-1", "draft@1")
    judge_action(action_of(helper, "transfer", arguments={"amount": "x"}))
    assert Decision.objects.latest("created_at").shadow_rule == "error: no-large"
    services.shadow(policy=draft.policy, principal=alice, on=False)
    judge_action(action_of(helper, "delete"))
    assert Decision.objects.latest("created_at").shadow_decision == ""


def test_a_decision_keeps_what_the_rules_may_ask_about(put: Callable[..., PolicyVersion], helper: Agent) -> None:
    put({"actions": ["pay"], "decision": "deny", "when": "session == 's-1' and cost > 2"})
    verdict = judge_action(action_of(helper, "pay", context={"session": "s-1", "cost": 2.5}))
    assert verdict.decision == "deny"
    stored = Decision.objects.get()
    assert (stored.session, stored.cost_usd) == ("s-1", 2.5)


# --- Snapshots --------------------------------------------------------------------------------------------
@pytest.fixture
def elsewhere(store: redis.Redis) -> Iterator[Snapshots[Any]]:
    """What another process holds: snapshots with the same store and database, and a memory of their own."""
    other = Snapshots("policies", _load)
    yield other
    snapshots._KINDS["policies"] = POLICIES


def rule_names(held: Any) -> str | None:
    return held.active.name if held.active else None


def test_a_change_is_in_force_here_at_once_and_elsewhere_within_a_second(
    transactional_db: None, put: Callable[..., PolicyVersion], elsewhere: Snapshots[Any], alice: Principal
) -> None:
    workspace_id = alice.workspace_id
    assert rule_names(elsewhere.get(workspace_id)) is None
    put(DENY_LARGE)
    assert rule_names(POLICIES.get(workspace_id)) == "house@1"
    time.sleep(CHECK_EVERY_S)
    assert rule_names(elsewhere.get(workspace_id)) == "house@1"


def test_what_is_loaded_while_a_change_has_not_committed_is_loaded_again(
    transactional_db: None, elsewhere: Snapshots[Any], put: Callable[..., PolicyVersion], alice: Principal
) -> None:
    put(DENY_LARGE)
    second = services.save_policy(
        principal=alice, name="house", document=document({"actions": ["*"], "decision": "deny"})
    )
    POLICIES.changing(alice.workspace_id)
    assert rule_names(elsewhere.get(alice.workspace_id)) == "house@1"
    # The change commits, and the process dies before it can tell anybody.
    PolicyInForce.objects.update(active=second)
    time.sleep(CHECK_EVERY_S)
    assert rule_names(elsewhere.get(alice.workspace_id)) == "house@2"


def test_a_change_is_seen_by_whoever_looks_long_after(
    transactional_db: None,
    store: redis.Redis,
    elsewhere: Snapshots[Any],
    put: Callable[..., PolicyVersion],
    alice: Principal,
) -> None:
    elsewhere.get(alice.workspace_id)
    put(DENY_LARGE)
    # The mark of the change is gone by the time anybody asks again.
    store.delete(f"atom:snapshot:policies:{alice.workspace_id}:mark")
    time.sleep(CHECK_EVERY_S)
    assert rule_names(elsewhere.get(alice.workspace_id)) == "house@1"


def test_an_unchanged_policy_is_not_read_again(
    transactional_db: None, elsewhere: Snapshots[Any], store: redis.Redis, alice: Principal
) -> None:
    elsewhere.get(alice.workspace_id)
    time.sleep(CHECK_EVERY_S)
    before = elsewhere.figures()
    elsewhere.get(alice.workspace_id)
    elsewhere.get(alice.workspace_id)
    after = elsewhere.figures()
    assert (after.loads - before.loads, after.hits - before.hits) == (0, 2)
    assert after.size == 1
    assert 0 < after.hit_rate < 1
    assert snapshots.figures()["policies"].size == 1


def test_without_the_store_the_database_is_asked(transactional_db: None, settings: Any, alice: Principal) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    lonely = Snapshots("policies", _load)
    snapshots._KINDS["policies"] = POLICIES
    assert rule_names(lonely.get(alice.workspace_id)) is None
    version = services.save_policy(principal=alice, name="house", document=document(DENY_LARGE))
    PolicyInForce.objects.update_or_create(workspace_id=alice.workspace_id, defaults={"active": version})
    time.sleep(CHECK_EVERY_S)
    assert rule_names(lonely.get(alice.workspace_id)) == "house@1"


def test_a_load_that_began_before_a_change_is_not_kept_after_it(store: redis.Redis, alice: Principal) -> None:
    begun, go_on = threading.Event(), threading.Event()
    values = iter(["old", "new"])

    def load(workspace_id: object) -> str:
        value = next(values)
        if value == "old":
            begun.set()
            go_on.wait(10)
        return value

    slow = Snapshots("slow", load)
    snapshots._KINDS.pop("slow")
    reader = threading.Thread(target=slow.get, args=(alice.workspace_id,))
    reader.start()
    begun.wait(10)
    slow.forget(alice.workspace_id)
    go_on.set()
    reader.join()
    assert slow.get(alice.workspace_id) == "new"


@pytest.mark.postgres
def test_two_activations_at_once_leave_one_in_force(
    transactional_db: None, put: Callable[..., PolicyVersion], alice: Principal
) -> None:
    versions = [put(DENY_LARGE, name=f"house {number}") for number in range(4)]

    def work(version: PolicyVersion) -> None:
        services.activate(policy=version.policy, principal=alice)
        connection.close()

    threads = [threading.Thread(target=work, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert PolicyInForce.objects.get().active in versions
    assert events().count("policy.activated") == 8

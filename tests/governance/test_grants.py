"""*Always allow*: narrow, for a while, taken back at will."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from agents.gate import Decision
from agents.models import Agent, Maturity
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.approvals.grants import is_within
from governance.judging import judge_action
from governance.models import Approval, Grant
from tests.governance.conftest import action_of

Ask = Callable[..., Approval]
Api = Callable[[Principal | None], APIClient]
pytestmark = pytest.mark.usefixtures("store")


def granted(client: APIClient, **given: Any) -> Any:
    body = {"expires_at": (timezone.now() + timedelta(days=7)).isoformat(), **given}
    answer = client.post("/api/grants/", body, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()


def decision_on(agent: Agent, **arguments: Any) -> Decision:
    return judge_action(action_of(agent, arguments=arguments)).decision


def test_a_grant_from_an_approval_allows_exactly_its_arguments(
    intern: Agent, ask: Ask, api: Api, bob: Principal
) -> None:
    made = granted(api(bob), approval=str(ask().pk))
    assert (made["agent"], made["action"], made["bounds"]) == ("intern", "delete", {"id": {"equals": 7}})
    verdict = judge_action(action_of(intern))
    assert (verdict.decision, verdict.rule) == (Decision.ALLOW, f"grant:{made['id']}")
    assert decision_on(intern, id=8) == Decision.ASK
    assert decision_on(intern, id=7, force=True) == Decision.ASK
    assert Grant.objects.get().uses == 1


def test_a_grant_is_for_one_agent_and_one_action(
    intern: Agent, make_agent: Callable[..., Agent], api: Api, bob: Principal
) -> None:
    other = make_agent("other", maturity=Maturity.INTERN)
    granted(api(bob), agent="intern", action="delete", bounds={"id": {"any": True}})
    assert decision_on(intern, id="any") == Decision.ALLOW
    assert decision_on(other, id="any") == Decision.ASK
    assert judge_action(action_of(intern, "drop", arguments={"id": 1})).decision == Decision.ASK


def test_a_grant_never_lifts_a_deny(intern: Agent, make_agent: Callable[..., Agent], api: Api, bob: Principal) -> None:
    student = make_agent("novice", maturity=Maturity.STUDENT)
    granted(api(bob), agent="novice", action="delete", bounds={"id": {"any": True}})
    assert decision_on(student, id=7) == Decision.DENY


def test_a_grant_does_not_stand_for_a_quorum(intern: Agent, api: Api, alice: Principal) -> None:
    owner = api(alice)
    rule = {"name": "two", "actions": ["delete"], "decision": "ask", "quorum": 2}
    made = owner.post("/api/policies/", {"name": "p", "document": {"version": 1, "rules": [rule]}}, "json").json()
    owner.post(f"/api/policies/{made['id']}/activate/", {}, "json")
    granted(owner, agent="intern", action="delete", bounds={"id": {"any": True}})
    assert decision_on(intern, id=7) == Decision.ASK


def test_a_grant_ends_by_itself_and_when_it_is_revoked(intern: Agent, api: Api, bob: Principal) -> None:
    made = granted(api(bob), agent="intern", action="delete", bounds={"id": {"any": True}})
    with time_machine.travel(timezone.now() + timedelta(days=8)):
        assert decision_on(intern, id=7) == Decision.ASK
    assert api(bob).post(f"/api/grants/{made['id']}/revoke/").json()["in_force"] is False
    assert decision_on(intern, id=7) == Decision.ASK
    events = AuditEntry.objects.filter(event__startswith="grant.").order_by("seq").values_list("event", flat=True)
    assert list(events) == ["grant.created", "grant.revoked"]


@pytest.mark.parametrize(
    ("value", "bound", "may"),
    [
        (5, {"max": 5}, True),
        (5.1, {"max": 5}, False),
        (True, {"max": 5}, False),
        ("5", {"max": 5}, False),
        (1, {"equals": True}, False),
        (True, {"equals": True}, True),
        ("a", {"one_of": ["a", "b"]}, True),
        ("c", {"one_of": ["a", "b"]}, False),
        (3, {"min": 2, "max": 4}, True),
        (1, {"min": 2, "max": 4}, False),
        ({"x": 1}, {"equals": {"x": 1}}, True),
    ],
)
def test_a_bound_says_what_an_argument_may_be(value: Any, bound: dict[str, Any], may: bool) -> None:
    assert is_within(value, bound) is may


@pytest.mark.parametrize(
    "given",
    [
        {"bounds": {"id": 7}},
        {"bounds": {"id": {"like": "a"}}},
        {"bounds": {"id": {"max": "5"}}},
        {"bounds": {"id": {"equals": 1, "any": True}}},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00Z"},
        {"agent": None},
    ],
    ids=["plain", "word", "text", "two", "past", "forever", "nobody"],
)
def test_a_grant_that_is_not_narrow_is_a_400(intern: Agent, api: Api, bob: Principal, given: dict[str, Any]) -> None:
    body = {
        "agent": "intern",
        "action": "delete",
        "bounds": {"id": {"any": True}},
        "expires_at": (timezone.now() + timedelta(days=7)).isoformat(),
        **given,
    }
    assert api(bob).post("/api/grants/", body, "json").status_code == 400
    assert not Grant.objects.exists()


def test_members_grant_nothing_and_mallory_finds_nothing(
    intern: Agent, api: Api, bob: Principal, carol: Principal, mallory: Principal
) -> None:
    made = granted(api(bob), agent="intern", action="delete", bounds={"id": {"any": True}})
    assert api(carol).get("/api/grants/").status_code == 403
    hers = api(mallory)
    assert hers.get("/api/grants/").json()["results"] == []
    assert hers.delete(f"/api/grants/{made['id']}/").status_code == 404
    body = {"agent": "intern", "action": "delete", "bounds": {}, "expires_at": made["expires_at"]}
    assert hers.post("/api/grants/", body, "json").status_code == 404
    assert [row["id"] for row in api(bob).get("/api/grants/?agent=intern").json()["results"]] == [made["id"]]

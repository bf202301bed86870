"""The addresses of maturity and of oversight: who may, what they answer, and that Mallory finds nothing."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from agents.models import Agent, Maturity
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.judging import judge_action
from governance.maturity import proposals, runs
from governance.models import Oversight, Proposal, Review, TrainingTask
from governance.oversight import change_oversight
from tests.governance.conftest import action_of
from tests.governance.maturity.conftest import ended_run, reviewed_actions, runs_that_went_well

Api = Callable[..., APIClient]
KINDS = ("draft", "suggest", "plan", "propose", "generate")


@pytest.fixture
def ready(student: Agent, bob: Principal) -> Agent:
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *KINDS * 6)
    return student


def posted(client: APIClient, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(f"/api/{path}", body, format="json")
    return answer.status_code, answer.json()


def got(client: APIClient, path: str) -> Any:
    answer = client.get(f"/api/{path}")
    assert answer.status_code == 200, answer.content
    return answer.json()


# --- levels ------------------------------------------------------------------------------------------------


def test_the_evidence_is_told_criterion_by_criterion(api: Api, carol: Principal, student: Agent) -> None:
    told = got(api(carol), "agents/student/evidence/")
    assert (told["maturity"], told["to"], told["holds"]) == ("student", "intern", False)
    assert [found["name"] for found in told["criteria"]] == [
        "runs",
        "intervention_rate",
        "compliance",
        "readiness",
        "confidence",
    ]
    compliance = told["criteria"][2]
    assert {"value", "count", "low", "high", "needed", "holds", "direction"} < set(compliance)
    assert compliance["sentence"] == "9 more reviewed level-2 actions."
    assert len(told["parts"]) == 7


def test_a_promotion_without_evidence_or_over_a_level_is_409(api: Api, alice: Principal, student: Agent) -> None:
    client = api(alice)
    for to in ("intern", "supervised", "autonomous", "student"):
        status, answer = posted(client, "agents/student/promote/", to=to, reason="x")
        assert (status, answer["error"]["code"]) == (409, "conflict")
    assert posted(client, "agents/student/promote/", to="boss", reason="x")[0] == 400
    assert posted(client, "agents/student/promote/", to="intern")[0] == 400


def test_a_promotion_with_evidence_is_200(api: Api, bob: Principal, carol: Principal, ready: Agent) -> None:
    assert posted(api(carol), "agents/student/promote/", to="intern", reason="x")[0] == 403
    status, agent = posted(api(bob), "agents/student/promote/", to="intern", reason="earned")
    assert (status, agent["maturity"]) == (200, "intern")
    verdict = posted(api(carol), "actions/", agent="student", action="draft")[1]
    assert verdict["decision"] == "allow"


def test_a_demotion_is_200_at_once(api: Api, bob: Principal, carol: Principal, captain: Agent) -> None:
    assert posted(api(carol), "agents/captain/demote/", to="intern", reason="x")[0] == 403
    status, agent = posted(api(bob), "agents/captain/demote/", to="intern", reason="x")
    assert (status, agent["maturity"]) == (200, "intern")
    assert posted(api(carol), "actions/", agent="captain", action="update")[1]["decision"] == "ask"
    assert posted(api(bob), "agents/captain/demote/", to="autonomous", reason="x")[0] == 409


def test_a_proposal_is_confirmed_or_declined(api: Api, bob: Principal, carol: Principal, ready: Agent) -> None:
    proposals.consider(ready.pk)
    (proposal,) = got(api(carol), "proposals/?status=open&agent=student")["results"]
    assert (proposal["to"], proposal["evidence"]["holds"]) == ("intern", True)
    path = f"proposals/{proposal['id']}"
    assert posted(api(carol), f"{path}/confirm/")[0] == 403
    assert posted(api(bob), f"{path}/decline/", reason="not yet")[1]["status"] == "declined"
    assert posted(api(bob), f"{path}/confirm/")[0] == 409
    assert got(api(carol), f"{path}/")["decided_by"] == "bob"
    assert api(bob).get("/api/proposals/?status=maybe").status_code == 400


def test_confidence_is_told_with_its_reasons(api: Api, carol: Principal, captain: Agent) -> None:
    runs.settle_run(ended_run(captain).pk)
    (change,) = got(api(carol), "agents/captain/confidence/")["results"]
    assert (change["delta"], change["confidence"], change["reason"]) == (
        0.01,
        0.51,
        "A run of complexity 1 succeeded.",
    )


def test_capabilities_say_what_and_why(api: Api, carol: Principal, intern: Agent) -> None:
    rows = {row["action"]: row for row in got(api(carol), "agents/intern/capabilities/")["results"]}
    assert (rows["read"]["decision"], rows["update"]["decision"], rows["delete"]["decision"]) == ("allow", "ask", "ask")
    assert rows["delete"]["reason"] == "An intern may delete only after a person has approved it."
    assert rows["delete"]["is_tool"]
    assert not rows["read"]["is_tool"]
    Agent.objects.update(status="paused")
    rows = got(api(carol), "agents/intern/capabilities/")["results"]
    assert {row["decision"] for row in rows} == {"deny"}


def test_capabilities_are_what_the_gate_would_say(api: Api, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    # Wider than the catalogue is long, so that the guardrail of rate does not speak.
    change_oversight(principal=alice, actions_per_hour=1000)
    for level in Maturity:
        agent = make_agent(f"a-{level}", maturity=level)
        for row in got(api(alice), f"agents/a-{level}/capabilities/")["results"]:
            verdict = judge_action(action_of(agent, row["action"]))
            assert (verdict.decision, verdict.reason) == (row["decision"], row["reason"])


# --- reviews, training, ratings ----------------------------------------------------------------------------


def test_the_queue_of_reviews(api: Api, alice: Principal, bob: Principal, carol: Principal, captain: Agent) -> None:
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    judge_action(action_of(captain, "update"))
    assert api(carol).get("/api/reviews/").status_code == 403
    (review,) = got(api(bob), "reviews/?status=pending&agent=captain")["results"]
    assert (review["action"], review["arguments"]) == ("update", {"id": 7})
    path = f"reviews/{review['id']}/"
    assert posted(api(bob), path, is_right="perhaps")[0] == 400
    assert posted(api(bob), path, is_right=False, note="no")[1]["status"] == "wrong"
    assert posted(api(bob), path, is_right=True)[0] == 409
    assert got(api(bob), path)["reviewed_by"] == "bob"
    assert api(bob).get("/api/reviews/?status=maybe").status_code == 400


def test_training_tasks_are_listed_and_completed(api: Api, bob: Principal, carol: Principal, student: Agent) -> None:
    posted(api(carol), "actions/", agent="student", action="delete", arguments={"id": 7})
    (task,) = got(api(carol), "training/?agent=student&status=open")["results"]
    assert (task["action"], task["arguments"], task["agent"]) == ("delete", {"id": 7}, "student")
    path = f"training/{task['id']}/complete/"
    assert posted(api(carol), path, rating=5)[0] == 403
    for wrong in ({}, {"rating": 0}, {"rating": 6}, {"performance": 2}, {"rating": 5, "performance": 1}):
        assert posted(api(bob), path, **wrong)[0] == 400
    assert posted(api(bob), path, rating=5, note="good")[1]["performance"] == 1.0
    assert posted(api(bob), path, rating=5)[0] == 409
    assert got(api(carol), f"training/{task['id']}/")["completed_by"] == "bob"
    assert got(api(carol), "agents/student/")["confidence"] == 0.7
    assert api(bob).get("/api/training/?status=maybe").status_code == 400


def test_a_supervised_run_is_rated(api: Api, bob: Principal, carol: Principal, captain: Agent) -> None:
    run = ended_run(captain)
    assert posted(api(carol), f"runs/{run.pk}/rating/", rating=5)[0] == 403
    assert posted(api(bob), f"runs/{run.pk}/rating/", rating=7)[0] == 400
    assert posted(api(bob), f"runs/{run.pk}/rating/", rating=5)[1]["rating"] == 5
    assert posted(api(bob), f"runs/{run.pk}/rating/", rating=5)[0] == 409


# --- the workspace -----------------------------------------------------------------------------------------


def test_the_workspaces_rules_are_changed_by_its_owner(api: Api, alice: Principal, bob: Principal) -> None:
    answer = api(alice).patch("/api/workspace/", {"supervision_required": True}, format="json")
    assert (answer.status_code, answer.json()["supervision_required"]) == (200, True)
    answer = api(alice).patch("/api/workspace/", {"usd_per_day": "2.50", "batch_most": 3}, format="json")
    assert answer.json()["usd_per_day"] == "2.50"
    told = got(api(bob), "workspace/")
    assert (told["name"], told["supervision_required"], told["batch_most"]) == ("Alice's", True, 3)
    assert api(bob).patch("/api/workspace/", {"supervision_required": False}, format="json").status_code == 403
    assert AuditEntry.objects.filter(event="workspace.oversight_changed").count() == 2


@pytest.mark.parametrize(
    "wrong",
    [{"supervision_required": "perhaps"}, {"usd_per_day": -1}, {"spot_check_share": 2}, {"actions_per_hour": "NaN"}],
)
def test_nonsense_is_no_rule(api: Api, alice: Principal, wrong: dict[str, Any]) -> None:
    assert api(alice).patch("/api/workspace/", wrong, format="json").status_code == 400
    assert not Oversight.objects.exists()


# --- Mallory -----------------------------------------------------------------------------------------------


def test_mallory_finds_nothing(api: Api, alice: Principal, mallory: Principal, ready: Agent, captain: Agent) -> None:
    proposals.consider(ready.pk)
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    judge_action(action_of(captain, "update"))
    judge_action(action_of(ready, "delete"))
    run = ended_run(captain)
    client = api(mallory)
    for path in ("evidence", "confidence", "capabilities", "triggers"):
        assert client.get(f"/api/agents/student/{path}/").status_code == 404
        assert client.get(f"/api/agents/{ready.pk}/{path}/").status_code == 404
    level = {"to": "intern", "reason": "mine"}
    for path, body in (
        ("agents/student/promote", level),
        ("agents/captain/demote", level),
        ("agents/captain/kill", {"reason": "mine"}),
        ("agents/captain/trigger", {"trigger": "event", "message": "go"}),
        (f"proposals/{Proposal.objects.get().pk}/confirm", {}),
        (f"proposals/{Proposal.objects.get().pk}/decline", {}),
        (f"reviews/{Review.objects.latest('created_at').pk}", {"is_right": True}),
        (f"training/{TrainingTask.objects.get().pk}/complete", {"rating": 5}),
        (f"runs/{run.pk}/rating", {"rating": 5}),
        (f"proposals/{uuid4()}/confirm", {}),
    ):
        assert posted(client, f"{path}/", **body)[0] == 404, path
    for path in ("proposals", "reviews", "training"):
        assert got(client, f"{path}/")["results"] == []
        assert client.get(f"/api/{path}/?agent=student").status_code == 404
    assert got(client, "workspace/")["name"] == "Mallory's"
    assert Agent.objects.get(slug="captain").maturity == "autonomous"


def test_nobody_comes_in_without_a_token(api: Api, captain: Agent) -> None:
    for path in ("agents/captain/evidence/", "training/", "reviews/", "proposals/", "workspace/", "kill-switch/"):
        assert api().get(f"/api/{path}").status_code == 401
    assert api().post("/api/kill-switch/", {"on": True, "reason": ""}, format="json").status_code == 401

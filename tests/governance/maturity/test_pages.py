"""The admin's pages of maturity and oversight."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Agent
from atom.ground.principal import Principal
from governance.judging import judge_action
from governance.maturity import proposals
from governance.models import Oversight, Proposal, Review, TrainingTask
from governance.oversight import change_oversight
from tests.governance.conftest import action_of
from tests.governance.maturity.conftest import reviewed_actions, runs_that_went_well
from tests.governance.test_admin import page, signed_in

OVERSIGHT = "/admin/oversight/"
LISTS = ("proposal", "review", "trainingtask", "confidencechange", "triggeredrun")


@pytest.fixture
def ready(student: Agent, bob: Principal) -> Agent:
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *("draft", "suggest", "plan", "propose", "generate") * 6)
    return student


def agent_page(agent: Agent) -> str:
    return reverse("admin:agents_agent_change", args=[agent.pk])


def told(client: Client, path: str, **body: object) -> str:
    answer = client.post(path, body, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


# --- an agent's page ---------------------------------------------------------------------------------------


def test_an_agents_page_shows_evidence_and_capabilities(student: Agent, bob: Principal) -> None:
    html = page(signed_in(bob), agent_page(student))
    assert "Ready to be intern?" in html
    assert "9 more reviewed level-2 actions." in html
    assert "A student may not delete; this needs an autonomous agent." in html
    assert reverse("agent-kill", args=[student.pk]) in html
    # There is no evidence, and nothing below a student.
    assert reverse("agent-promote", args=[student.pk]) not in html
    assert reverse("agent-demote", args=[student.pk]) not in html


def test_a_member_sees_no_buttons(captain: Agent, carol: Principal) -> None:
    html = page(signed_in(carol), agent_page(captain))
    assert "What may it do?" in html
    for verb in ("promote", "demote", "kill"):
        assert reverse(f"agent-{verb}", args=[captain.pk]) not in html
        assert signed_in(carol).get(reverse(f"agent-{verb}", args=[captain.pk])).status_code == 403


def test_a_proposal_stands_on_the_agents_page_and_in_the_inbox(ready: Agent, bob: Principal) -> None:
    proposals.consider(ready.pk)
    path = reverse("admin:governance_proposal_change", args=[Proposal.objects.get().pk])
    assert path in page(signed_in(bob), agent_page(ready))
    assert path in page(signed_in(bob), "/admin/governance/approval/")


def test_an_approver_confirms_a_proposal(ready: Agent, bob: Principal, carol: Principal) -> None:
    proposals.consider(ready.pk)
    confirm = reverse("admin:governance_proposal_confirm_level", args=[Proposal.objects.get().pk])
    assert "10 are needed" in page(signed_in(bob), confirm.replace("confirm", "change"))
    assert "Confirm: Student: student → intern" in page(signed_in(bob), confirm)
    assert signed_in(carol).post(confirm).status_code == 403
    told(signed_in(bob), confirm, reason="well done")
    ready.refresh_from_db()
    assert (ready.maturity, Proposal.objects.get().reason) == ("intern", "well done")


def test_an_approver_declines_a_proposal(ready: Agent, bob: Principal) -> None:
    proposals.consider(ready.pk)
    decline = reverse("admin:governance_proposal_decline_level", args=[Proposal.objects.get().pk])
    told(signed_in(bob), decline, reason="not yet")
    assert Proposal.objects.get().status == "declined"


def test_an_approver_promotes_and_demotes(ready: Agent, bob: Principal) -> None:
    client = signed_in(bob)
    promote = reverse("agent-promote", args=[ready.pk])
    assert "From student to intern" in page(client, promote)
    told(client, promote, reason="earned")
    ready.refresh_from_db()
    assert ready.maturity == "intern"
    assert "The evidence is missing" in told(client, promote, reason="once more")
    demote = reverse("agent-demote", args=[ready.pk])
    assert '<option value="student">' in page(client, demote)
    told(client, demote, to="student", reason="broke it")
    ready.refresh_from_db()
    assert ready.maturity == "student"
    assert "There is no such level." in told(client, demote, to="boss", reason="?")


def test_an_approver_stops_an_agent(captain: Agent, bob: Principal, store: object) -> None:
    kill = reverse("agent-kill", args=[captain.pk])
    assert "Stop Captain?" in page(signed_in(bob), kill)
    told(signed_in(bob), kill, reason="runaway")
    captain.refresh_from_db()
    assert captain.status == "paused"


# --- oversight ---------------------------------------------------------------------------------------------


def test_the_kill_switch_says_its_state(alice: Principal, bob: Principal, carol: Principal, store: object) -> None:
    assert signed_in(carol).get(OVERSIGHT).status_code == 403
    assert "Agents are working" in page(signed_in(bob), OVERSIGHT)
    html = told(signed_in(bob), OVERSIGHT, form="switch", on="1", reason="runaway")
    assert "All agents are stopped" in html
    assert "runaway" in html
    assert "All agents are stopped by bob: runaway" in page(signed_in(carol), "/admin/")
    # An approver stops; only an owner frees.
    assert "Let them work again" not in page(signed_in(bob), OVERSIGHT)
    told(signed_in(bob), OVERSIGHT, form="switch", on="", reason="fine")
    assert Oversight.objects.get().is_stopped
    assert "Agents are working" in told(signed_in(alice), OVERSIGHT, form="switch", on="", reason="fine")


def test_an_owner_changes_the_rules(alice: Principal, bob: Principal) -> None:
    rules = {
        "form": "rules",
        "supervision_required": "on",
        "spot_check_share": "0.1",
        "actions_per_hour": "30",
        "usd_per_day": "5",
        "transfer_most": "100",
        "batch_most": "3",
    }
    told(signed_in(bob), OVERSIGHT, **rules)
    assert not Oversight.objects.exists()
    told(signed_in(alice), OVERSIGHT, **rules)
    found = Oversight.objects.get()
    assert (found.supervision_required, found.actions_per_hour, found.usd_per_day) == (True, 30, Decimal(5))
    assert "less than or equal to 1" in told(signed_in(alice), OVERSIGHT, **{**rules, "spot_check_share": "2"})


# --- the queues --------------------------------------------------------------------------------------------


def test_a_spot_check_is_reviewed(captain: Agent, alice: Principal, bob: Principal, carol: Principal) -> None:
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    judge_action(action_of(captain, "update"))
    judge_action(action_of(captain, "draft"))
    assert signed_in(carol).get("/admin/governance/review/").status_code == 403
    assert "update" in page(signed_in(bob), "/admin/governance/review/")
    right, wrong = Review.objects.order_by("created_at")
    told(signed_in(bob), reverse("admin:governance_review_was_right", args=[right.pk]), reason="")
    told(signed_in(bob), reverse("admin:governance_review_was_wrong", args=[wrong.pk]), reason="no")
    assert list(Review.objects.order_by("created_at").values_list("status", "note")) == [("right", ""), ("wrong", "no")]
    again = signed_in(bob).post(reverse("admin:governance_review_was_wrong", args=[right.pk]), {"reason": ""})
    assert again.status_code == 403


def test_a_training_task_is_completed(student: Agent, bob: Principal, carol: Principal) -> None:
    judge_action(action_of(student))
    path = reverse("admin:governance_trainingtask_complete", args=[TrainingTask.objects.get().pk])
    assert signed_in(carol).post(path, {"_form_submitted": "True", "rating": "5"}).status_code == 403
    assert "How well did it go?" in page(signed_in(bob), path)
    told(signed_in(bob), path, _form_submitted="True", rating="3", note="fine")
    task = TrainingTask.objects.get()
    assert (task.status, task.performance, task.note) == ("completed", 0.5, "fine")


def test_mallory_finds_nothing(
    ready: Agent, captain: Agent, alice: Principal, mallory: Principal, store: object
) -> None:
    proposals.consider(ready.pk)
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    judge_action(action_of(captain, "update"))
    judge_action(action_of(ready, "delete"))
    client = signed_in(mallory)
    for name in LISTS:
        html = page(client, f"/admin/governance/{name}/")
        assert "Student" not in html
        assert "Captain" not in html
    for agent in (ready, captain):
        for verb in ("promote", "demote", "kill"):
            path = reverse(f"agent-{verb}", args=[agent.pk])
            assert client.get(path).status_code == 404
            assert client.post(path, {"to": "student", "reason": "mine"}).status_code == 404
    for name, row, verb in (
        ("proposal", Proposal.objects.get(), "confirm_level"),
        ("proposal", Proposal.objects.get(), "decline_level"),
        ("review", Review.objects.filter(agent=captain).get(), "was_right"),
        ("trainingtask", TrainingTask.objects.get(), "complete"),
    ):
        path = reverse(f"admin:governance_{name}_{verb}", args=[row.pk])
        assert client.post(path, {"reason": "", "_form_submitted": "True", "rating": "5"}).status_code in {403, 404}
    told(client, OVERSIGHT, form="switch", on="1", reason="mine")
    assert not Oversight.objects.get(workspace_id=alice.workspace_id).is_stopped
    captain.refresh_from_db()
    assert (captain.maturity, captain.status) == ("autonomous", "active")


def test_the_lists_open(ready: Agent, captain: Agent, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    for name in LISTS:
        page(signed_in(alice), f"/admin/governance/{name}/")

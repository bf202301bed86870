from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
import time_machine
from django.test import TestCase
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Agent, AgentStatus, Maturity, Run
from atom.ground.principal import Principal
from governance import presence, services
from governance.maturity import tasks, triggers
from governance.models import Approval, TrainingTask, TriggeredRun
from tests.simulators.openai import OpenAISimulator

Api = Callable[..., APIClient]
Queued = Callable[[], list[tuple[str, str]]]
START = "governance.maturity.tasks.start_triggered_run"


def triggered(client: APIClient, slug: str, kind: str = "schedule", message: str = "tidy up") -> dict[str, Any]:
    with TestCase.captureOnCommitCallbacks(execute=True):
        answer = client.post(f"/api/agents/{slug}/trigger/", {"trigger": kind, "message": message}, format="json")
    assert answer.status_code == 202, answer.content
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
def supervised(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("supervised", maturity=Maturity.SUPERVISED)


@pytest.mark.parametrize("kind", ["manual", "schedule", "event", "agent"])
def test_a_students_run_becomes_a_training_task(api: Api, carol: Principal, student: Agent, kind: str) -> None:
    wish = triggered(api(carol), "student", kind)
    task = TrainingTask.objects.get()
    assert (wish["status"], wish["training_id"]) == ("training", str(task.pk))
    assert task.arguments == {"trigger": kind, "message": "tidy up"}
    assert not Run.objects.exists()


def test_an_interns_run_asks_and_starts_when_it_is_approved(
    api: Api, carol: Principal, bob: Principal, intern: Agent, queued: Queued
) -> None:
    wish = triggered(api(carol), "intern")
    approval = Approval.objects.get()
    assert (wish["status"], wish["approval_id"]) == ("waiting_approval", str(approval.pk))
    assert approval.arguments == {"trigger": "schedule", "message": "tidy up"}
    tasks.settle_approval(str(approval.pk))
    assert (START, wish["id"]) not in queued()
    services.approve(approval=approval, principal=bob, revision=1)
    for _ in range(2):
        with TestCase.captureOnCommitCallbacks(execute=True):
            tasks.settle_approval(str(approval.pk))
    assert queued().count((START, wish["id"])) == 1
    approval.refresh_from_db()
    assert (approval.status, TriggeredRun.objects.get().status) == ("executed", "queued")


def test_an_interns_run_that_is_rejected_does_not_start(
    api: Api, carol: Principal, bob: Principal, intern: Agent
) -> None:
    triggered(api(carol), "intern")
    services.reject(approval=Approval.objects.get(), principal=bob, revision=1)
    tasks.settle_approval(str(Approval.objects.get().pk))
    assert TriggeredRun.objects.get().status == "refused"


def test_an_interns_run_that_nobody_decides_expires(api: Api, carol: Principal, intern: Agent, store: object) -> None:
    triggered(api(carol), "intern")
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        assert triggers.due_ids() == []
    assert TriggeredRun.objects.get().status == "expired"


def test_a_supervised_agents_run_waits_for_an_operator(
    api: Api, carol: Principal, bob: Principal, supervised: Agent, queued: Queued
) -> None:
    wish = triggered(api(carol), "supervised")
    assert wish["status"] == "waiting_operator"
    assert tasks.start_due_runs() == 0
    presence.touch(bob.workspace_id, session="s", user_id=bob.user_id)
    assert tasks.start_due_runs() == 1
    assert (START, wish["id"]) in queued()


def test_a_supervised_agents_run_starts_while_an_operator_is_present(
    api: Api, carol: Principal, bob: Principal, supervised: Agent, queued: Queued
) -> None:
    presence.touch(bob.workspace_id, session="s", user_id=bob.user_id)
    wish = triggered(api(carol), "supervised")
    assert wish["status"] == "queued"
    assert (START, wish["id"]) in queued()


def test_after_a_day_without_an_operator_it_is_given_up(
    api: Api, carol: Principal, bob: Principal, supervised: Agent, store: redis.Redis
) -> None:
    triggered(api(carol), "supervised")
    with time_machine.travel(timezone.now() + timedelta(hours=23, minutes=59)):
        triggers.due_ids()
        assert TriggeredRun.objects.get().status == "waiting_operator"
    with time_machine.travel(timezone.now() + timedelta(hours=24, seconds=1)):
        presence.touch(bob.workspace_id, session="s", user_id=bob.user_id)
        assert triggers.due_ids() == []
        assert TriggeredRun.objects.get().status == "expired"


@pytest.mark.parametrize(
    ("level", "status"), [("student", "refused"), ("intern", "refused"), ("supervised", "waiting_operator")]
)
def test_the_level_at_the_start_counts(
    api: Api, carol: Principal, captain: Agent, queued: Queued, level: str, status: str
) -> None:
    wish = triggered(api(carol), "captain")
    captain.maturity = level
    captain.save()
    assert not triggers.start(TriggeredRun.objects.get().pk)
    assert TriggeredRun.objects.get(pk=wish["id"]).status == status
    assert not Run.objects.exists()


def test_an_agent_that_is_not_active_is_409(api: Api, carol: Principal, captain: Agent) -> None:
    Agent.objects.update(status=AgentStatus.PAUSED)
    body = {"trigger": "event", "message": "go"}
    assert api(carol).post("/api/agents/captain/trigger/", body, format="json").status_code == 409


@pytest.mark.parametrize("wrong", [{"trigger": "whim"}, {"message": ""}, {"message": None}])
def test_nonsense_is_a_400(api: Api, carol: Principal, captain: Agent, wrong: dict[str, Any]) -> None:
    body = {"trigger": "event", "message": "go", **wrong}
    assert api(carol).post("/api/agents/captain/trigger/", body, format="json").status_code == 400


def test_an_autonomous_agents_run_runs_once(
    server: str, api: Api, carol: Principal, captain: Agent, openai_simulator: OpenAISimulator, queued: Queued
) -> None:
    openai_simulator.will_say("tidied")
    wish = triggered(api(carol), "captain", "event")
    assert triggers.start(TriggeredRun.objects.get().pk)
    assert not triggers.start(TriggeredRun.objects.get().pk)
    run = Run.objects.get()
    assert (run.status, run.door, run.user_id) == ("succeeded", "trigger-event", carol.user_id)
    (listed,) = api(carol).get("/api/agents/captain/triggers/").json()["results"]
    assert (listed["id"], listed["status"], listed["run_id"]) == (wish["id"], "started", str(run.pk))
    assert [message.text for message in run.messages.order_by("created_at")] == ["tidy up", "tidied"]


def test_a_start_that_fails_is_tried_three_times(
    server: str, api: Api, carol: Principal, captain: Agent, queued: Queued
) -> None:
    wish = triggered(api(carol), "captain")
    # Somebody left: whose run would it be?
    TriggeredRun.objects.update(requested_by=None)
    now = timezone.now()
    with time_machine.travel(now) as clock:
        for tries in (1, 2, 3):
            assert not triggers.start(TriggeredRun.objects.get().pk)
            found = TriggeredRun.objects.get(pk=wish["id"])
            assert found.tries == tries
            assert not triggers.start(found.pk)
            clock.shift(61)
    assert (found.status, found.reason) == ("failed", "Who asked for this run is gone.")
    assert triggers.due_ids() == []

"""Runs that wait for an approval have no process: what operators want of them is done by whoever goes on with them."""

from collections.abc import Callable

import pytest
import redis
from rest_framework.test import APIClient

from agents.models import Run, RunStatus
from agents.runs.live import STOP_WORDS
from agents.tasks import continue_run
from atom.ground.principal import Principal
from governance.models import Approval, Intervention
from governance.services import approve
from governance.tasks import execute_approved
from tests.governance.conftest import Tool
from tests.simulators.openai import OpenAISimulator

Queued = Callable[[], list[tuple[str, str]]]
Api = Callable[[Principal], APIClient]
pytestmark = pytest.mark.django_db(transaction=True)


def approve_and_execute(approval: Approval, bob: Principal) -> None:
    approve(approval=approval, principal=bob, revision=approval.revision)
    execute_approved(str(approval.pk))


def step(client: APIClient, run: Run, verb: str, **body: str) -> int:
    return client.post(f"/api/runs/{run.pk}/{verb}/", body, format="json").status_code


def test_a_run_paused_while_it_waits_goes_on_when_it_is_resumed_and_not_before(
    api: Api, bob: Principal, run_approval: Approval, waiting_run: Run, queued: Queued, tool: Tool
) -> None:
    client = api(bob)
    assert step(client, waiting_run, "pause") == 200
    approve_and_execute(run_approval, bob)
    assert len(tool.calls) == 1
    assert ("agents.tasks.continue_run", str(waiting_run.pk)) not in queued()
    waiting_run.refresh_from_db()
    assert waiting_run.status == RunStatus.WAITING_APPROVAL
    assert step(client, waiting_run, "resume") == 200
    assert ("agents.tasks.continue_run", str(waiting_run.pk)) in queued()
    waiting_run.refresh_from_db()
    assert waiting_run.status == RunStatus.RUNNING


def test_a_run_resumed_before_the_decision_goes_on_with_the_decision(
    api: Api, bob: Principal, run_approval: Approval, waiting_run: Run, queued: Queued, tool: Tool
) -> None:
    client = api(bob)
    assert [step(client, waiting_run, verb) for verb in ("pause", "resume")] == [200, 200]
    assert ("agents.tasks.continue_run", str(waiting_run.pk)) not in queued()
    approve_and_execute(run_approval, bob)
    assert ("agents.tasks.continue_run", str(waiting_run.pk)) in queued()


def test_a_correction_of_a_waiting_run_is_the_first_that_its_model_hears(
    api: Api,
    bob: Principal,
    run_approval: Approval,
    waiting_run: Run,
    queued: Queued,
    tool: Tool,
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated-openai-key")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    assert step(api(bob), waiting_run, "correct", text="And tell Carol.") == 202
    approve_and_execute(run_approval, bob)
    Run.objects.filter(pk=waiting_run.pk).update(parked={**(waiting_run.parked or {}), "model": "openai/gpt-4o-mini"})
    continue_run(str(waiting_run.pk))
    waiting_run.refresh_from_db()
    assert waiting_run.status == RunStatus.SUCCEEDED
    [asked] = openai_simulator.requests
    assert [message["role"] for message in asked.json["messages"]] == ["user", "assistant", "tool", "user"]
    assert asked.json["messages"][-1]["content"] == "And tell Carol."
    assert waiting_run.events.filter(type="corrected").exists()


def test_a_waiting_run_is_terminated_at_once(api: Api, bob: Principal, waiting_run: Run, store: redis.Redis) -> None:
    assert step(api(bob), waiting_run, "terminate", reason="No longer wanted") == 202
    waiting_run.refresh_from_db()
    assert (waiting_run.status, waiting_run.error_code) == (STOP_WORDS["terminate"], "terminated")
    assert [row.text for row in Intervention.objects.filter(run=waiting_run)] == ["No longer wanted"]


def test_with_the_store_away_a_step_is_refused_and_leaves_no_trace(
    api: Api, bob: Principal, waiting_run: Run, settings: object
) -> None:
    client = api(bob)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # type: ignore[attr-defined]  # a dead store
    assert step(client, waiting_run, "pause") == 503
    assert step(client, waiting_run, "correct", text="x") == 503
    waiting_run.refresh_from_db()
    assert not waiting_run.is_paused
    assert not waiting_run.corrections.exists()
    assert not Intervention.objects.exists()

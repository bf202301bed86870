"""`/api/agents/`, `/api/sessions/`, `/api/runs/`: who may, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from agents.models import Agent, Run
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal

API = Callable[..., APIClient]
NEW: dict[str, Any] = {"name": "Clerk", "slug": "clerk", "system_prompt": "Be exact.", "models": ["openai/gpt-4o-mini"]}


def test_an_owner_registers_an_agent_at_any_maturity(api: API, alice: Principal) -> None:
    alices = api(alice)
    made = alices.post("/api/agents/", {**NEW, "maturity": "supervised"}, format="json")
    assert made.status_code == 201
    body = made.json()
    assert (body["slug"], body["maturity"], body["confidence"], body["status"]) == (
        "clerk",
        "supervised",
        0.5,
        "active",
    )
    assert alices.get(f"/api/agents/{body['id']}/").json() == body
    assert alices.get("/api/agents/clerk/").json() == body
    assert alices.post("/api/agents/", {**NEW, "slug": "other"}, format="json").json()["maturity"] == "student"
    assert AuditEntry.objects.filter(event="agent.created").count() == 2


def test_a_taken_slug_is_a_409_also_for_a_second_workspace_its_own(
    api: API, alice: Principal, mallory: Principal
) -> None:
    assert api(alice).post("/api/agents/", NEW, format="json").status_code == 201
    assert api(alice).post("/api/agents/", NEW, format="json").status_code == 409
    assert api(mallory).post("/api/agents/", NEW, format="json").status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"slug": "No Spaces"},
        {"slug": ""},
        {"name": ""},
        {"maturity": "genius"},
        {"models": "openai/x"},
        {"tools": [{"name": "t"}]},
        {"tools": [{"name": "bad name", "kind": "http", "url": "https://example.com/"}]},
        {"tools": [{"name": "t", "kind": "shell", "url": "https://example.com/"}]},
        {"tools": [{"name": "t", "kind": "http", "url": "http://10.0.0.1/"}]},
    ],
)
def test_a_wrong_agent_is_a_400_and_is_not_made(api: API, alice: Principal, change: dict[str, Any]) -> None:
    assert api(alice).post("/api/agents/", {**NEW, **change}, format="json").status_code == 400
    assert not Agent.objects.filter(name="Clerk").exists()


def test_a_patch_changes_the_prompt_but_neither_maturity_nor_confidence(api: API, alice: Principal) -> None:
    alices = api(alice)
    alices.post("/api/agents/", NEW, format="json")
    changed = alices.patch("/api/agents/clerk/", {"system_prompt": "Be kind.", "models": []}, format="json")
    assert (changed.json()["system_prompt"], changed.json()["models"]) == ("Be kind.", [])
    for name, value in (("maturity", "autonomous"), ("confidence", 1)):
        refused = alices.patch("/api/agents/clerk/", {name: value}, format="json")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    bad_tool = {"tools": [{"name": "t", "kind": "http", "url": "http://169.254.169.254/"}]}
    assert alices.patch("/api/agents/clerk/", bad_tool, format="json").status_code == 400
    assert Agent.objects.get(slug="clerk").maturity == "student"


def test_members_use_agents_but_do_not_change_them(api: API, alice: Principal, carol: Principal) -> None:
    api(alice).post("/api/agents/", NEW, format="json")
    carols = api(carol)
    assert carols.get("/api/agents/clerk/").status_code == 200
    for method, path in (
        ("post", "/api/agents/"),
        ("patch", "/api/agents/clerk/"),
        ("post", "/api/agents/clerk/pause/"),
        ("post", "/api/agents/clerk/retire/"),
    ):
        assert getattr(carols, method)(path, NEW, format="json").status_code == 403, path


def test_mallory_changes_nothing_of_alices(api: API, alice: Principal, mallory: Principal) -> None:
    api(alice).post("/api/agents/", NEW, format="json")
    hers = api(mallory)
    assert hers.patch("/api/agents/clerk/", {"name": "x"}, format="json").status_code == 404
    assert hers.post("/api/agents/clerk/pause/", {}, format="json").status_code == 404
    assert hers.post("/api/sessions/", {"agent": "clerk"}, format="json").status_code == 404
    assert hers.get("/api/sessions/?agent=clerk").status_code == 404
    assert hers.get("/api/runs/?agent=clerk").status_code == 404


def test_a_session_is_made_listed_and_read(api: API, alice: Principal) -> None:
    alices = api(alice)
    alices.post("/api/agents/", NEW, format="json")
    made = alices.post("/api/sessions/", {"agent": "clerk", "title": "Taxes"}, format="json")
    assert (made.status_code, made.json()["agent"], made.json()["title"]) == (201, "clerk", "Taxes")
    path = f"/api/sessions/{made.json()['id']}/"
    assert alices.get(path).json()["message_count"] == 0
    assert alices.get(f"{path}messages/").json()["results"] == []
    assert len(alices.get("/api/sessions/?agent=clerk").json()["results"]) == 1
    assert alices.post("/api/sessions/", {}, format="json").status_code == 400


def test_a_run_shows_usage_exact_cost_and_error(api: API, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    run = Run.objects.create(
        workspace_id=agent.workspace_id,
        agent=agent,
        status="failed",
        input_tokens=7,
        cost_usd="0.000001050000",
        error_code="provider_failed",
        error_message="openai failed.",
    )
    shown = api(alice).get(f"/api/runs/{run.id}/").json()
    assert shown["cost_usd"] == "0.00000105"
    assert shown["usage"]["input_tokens"] == 7
    assert shown["error"] == {"code": "provider_failed", "message": "openai failed."}
    Run.objects.update(cost_usd=None, error_code="")
    shown = api(alice).get(f"/api/runs/{run.id}/").json()
    assert (shown["cost_usd"], shown["error"]) == (None, None)


def test_a_list_is_paged_by_cursor(api: API, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    for number in range(3):
        make_agent(f"agent-{number}")
    alices = api(alice)
    first = alices.get("/api/agents/?page_size=2").json()
    assert set(first) == {"results", "next", "previous"}
    second = alices.get(first["next"]).json()
    assert len({row["id"] for row in [*first["results"], *second["results"]]}) == 3
    assert second["next"] is None
    assert alices.get("/api/agents/?cursor=nonsense").status_code == 400

"""Agents, sessions and runs in the admin, and the playground's page."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from agents.models import Agent, AgentStatus, Run, RunStatus, Session
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal

Browser = Callable[[Principal], Client]
AGENTS = "/admin/agents/agent/"
TOOL = {"name": "look", "kind": "http", "url": "http://127.0.0.1:9/look"}


def form(**given: Any) -> dict[str, Any]:
    plain = {
        "name": "Pilot",
        "slug": "pilot",
        "maturity": "intern",
        "system_prompt": "Fly.",
        "models": "openai/gpt-4o\r\n\r\n local/smollm2 ",
        "tools": json.dumps([TOOL]),
    }
    return {**plain, **given}


def test_an_owner_registers_an_agent(alice: Principal, browser: Browser) -> None:
    browser(alice).post(f"{AGENTS}add/", form())
    agent = Agent.objects.get(slug="pilot")
    assert (agent.maturity, agent.workspace_id) == ("intern", alice.workspace_id)
    assert agent.models == ["openai/gpt-4o", "local/smollm2"]
    assert agent.tools[0]["url"] == TOOL["url"]
    assert AuditEntry.objects.filter(event="agent.created", actor="alice").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"slug": "taken"}, "There is already an agent with this slug."),
        ({"tools": "[{"}, "valid JSON"),
        ({"tools": '{"name": "look"}'}, "Tools are a list"),
        ({"tools": '[{"name": "look", "kind": "http"}]'}, "url: This field is required."),
        ({"tools": json.dumps([{**TOOL, "url": "http://169.254.169.254/"}])}, "169.254.169.254"),
    ],
)
def test_a_wrong_agent_is_refused_beside_its_field(
    wrong: dict[str, str], words: str, alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    make_agent("taken")
    answer = browser(alice).post(f"{AGENTS}add/", form(**wrong))
    assert answer.status_code == 200
    assert words in answer.text
    assert not Agent.objects.filter(slug="pilot").exists()


def test_editing_changes_what_it_does_but_not_what_it_may(
    alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    agent = make_agent("pilot", maturity="student")
    given = form(name="Captain", maturity="autonomous", confidence="1", slug="other", tools="[]")
    browser(alice).post(f"{AGENTS}{agent.pk}/change/", given)
    agent.refresh_from_db()
    assert (agent.name, agent.system_prompt) == ("Captain", "Fly.")
    assert (agent.maturity, agent.slug, float(agent.confidence)) == ("student", "pilot", 0.5)


@pytest.mark.parametrize("who", ["bob", "carol"])
def test_only_an_owner_edits_or_pauses(
    who: str, request: pytest.FixtureRequest, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    agent = make_agent("pilot")
    client = browser(request.getfixturevalue(who))
    assert client.get(f"{AGENTS}{agent.pk}/change/").status_code == 200
    assert client.post(f"{AGENTS}{agent.pk}/change/", form(name="Captain")).status_code == 403
    assert client.post(f"{AGENTS}{agent.pk}/pause/").status_code == 403
    assert client.get(f"{AGENTS}add/").status_code == 403
    agent.refresh_from_db()
    assert (agent.name, agent.status) == ("Pilot", AgentStatus.ACTIVE)


def test_pausing_asks_first_and_keeps_the_reason(
    alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    agent, client = make_agent("pilot"), browser(alice)
    assert "Pause Pilot?" in client.get(f"{AGENTS}{agent.pk}/pause/").text
    agent.refresh_from_db()
    assert agent.status == AgentStatus.ACTIVE
    client.post(f"{AGENTS}{agent.pk}/pause/", {"reason": "storm"})
    agent.refresh_from_db()
    assert agent.status == AgentStatus.PAUSED
    assert "storm" in AuditEntry.objects.get(event="agent.paused").entry
    client.post(f"{AGENTS}{agent.pk}/resume/")
    agent.refresh_from_db()
    assert agent.status == AgentStatus.ACTIVE


def test_a_retired_agent_has_no_buttons_left(
    alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    agent, client = make_agent("pilot"), browser(alice)
    client.post(f"{AGENTS}{agent.pk}/retire/")
    assert client.post(f"{AGENTS}{agent.pk}/resume/").status_code == 403
    agent.refresh_from_db()
    assert agent.status == AgentStatus.RETIRED


def test_a_session_reads_as_a_thread(rows: dict[str, Any], alice: Principal, browser: Browser) -> None:
    page = browser(alice).get(f"/admin/agents/session/{rows['agents.session'].pk}/change/")
    [question, answer] = page.context["thread"]
    assert question.message.text == "zebra?"
    assert (answer.calls[0].name, answer.calls[0].result) == ("zebra_tool", {"ok": True})
    assert "stripes" in page.text


def test_a_question_that_failed_says_why(rows: dict[str, Any], alice: Principal, browser: Browser) -> None:
    rows["agents.run"].messages.exclude(role="user").delete()
    page = browser(alice).get(f"/admin/playground/?session={rows['agents.session'].pk}")
    assert "The zebra ran away." in page.text


def test_a_run_tells_what_happened(rows: dict[str, Any], alice: Principal, browser: Browser) -> None:
    page = browser(alice).get(f"/admin/agents/run/{rows['agents.run'].pk}/change/")
    assert "The zebra ran away." in page.text
    assert "Tool judged" in page.text


def test_the_front_page_has_the_figures_of_the_day(rows: dict[str, Any], alice: Principal, browser: Browser) -> None:
    Run.objects.create(
        workspace_id=alice.workspace_id,
        agent=rows["agents.agent"],
        status=RunStatus.SUCCEEDED,
        input_tokens=1200,
        output_tokens=34,
    )
    page = browser(alice).get("/admin/")
    day = page.context["day"]
    assert (day.runs, day.tokens, day.error_rate) == (2, 1234, "50%")
    assert "1,234" in page.text


def test_the_playground_offers_agents_that_are_awake(
    alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    make_agent("helper", models=["local/smollm2"])
    Agent.objects.filter(pk=make_agent("gone").pk).update(status=AgentStatus.RETIRED)
    Agent.objects.filter(pk=make_agent("asleep").pk).update(status=AgentStatus.PAUSED)
    page = browser(alice).get("/admin/playground/?agent=asleep")
    assert [(agent.slug, is_demo) for agent, is_demo in page.context["agents"]] == [
        ("asleep", False),
        ("helper", True),
    ]
    assert page.context["chosen"] == "helper"


def test_the_playground_goes_on_with_a_session(rows: dict[str, Any], alice: Principal, browser: Browser) -> None:
    page = browser(alice).get(f"/admin/playground/?session={rows['agents.session'].pk}")
    assert page.context["chosen"] == "zebra"
    assert "zebra?" in page.text


def test_the_playground_follows_a_run_that_is_still_open(
    rows: dict[str, Any], alice: Principal, browser: Browser
) -> None:
    run = rows["agents.run"]
    Run.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING)
    page = browser(alice).get(f"/admin/playground/?session={run.session_id}")
    assert f'data-open-run="{run.pk}"' in page.text
    assert [turn.message.role for turn in page.context["thread"]] == ["user"]


@pytest.mark.parametrize("reference", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_a_session_that_is_not_there_is_404(reference: str, alice: Principal, browser: Browser) -> None:
    assert browser(alice).get(f"/admin/playground/?session={reference}").status_code == 404


def test_a_foreign_session_is_404_in_the_playground(rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    session: Session = rows["agents.session"]
    assert browser(mallory).get(f"/admin/playground/?session={session.pk}").status_code == 404


def test_the_playground_needs_a_sign_in(db: None) -> None:
    answer = Client().get("/admin/playground/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/playground/")

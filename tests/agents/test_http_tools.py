"""HTTP tools: checked when they are declared, called with their secret and within their limits."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Agent, ToolSecret
from agents.tools.declared import tools_of
from agents.tools.own import REMOVED
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.models import Decision
from tests.agents.test_tools import chat, tool
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Script

MakeAgent = Callable[..., Agent]
API = Callable[[Principal | None], APIClient]
SECRET = "tool-secret-canary-4711"


def declared(**given: Any) -> dict[str, Any]:
    return {"name": "fetch_record", "action": "fetch", "kind": "http", "url": "http://127.0.0.1:9/x", **given}


def result_of(http: httpx.Client, simulator: OpenAISimulator, arguments: dict[str, Any] | str) -> dict[str, Any]:
    """How the one call of `fetch_record` by the agent `worker` ended."""
    simulator.will_call("fetch_record", arguments)
    simulator.will_say("Done")
    [ended] = [event for event in chat(http, "worker", "go") if event["type"] == "tool_ended"]
    return ended


# --- Arguments ---------------------------------------------------------------------------------------------
def test_a_get_carries_its_arguments_in_the_query_beside_the_addresss_own(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    url = f"{openai_simulator.tool_url('fetch_record')}?v=2"
    make_agent("worker", tools=[declared(url=url, method="GET", parameters={"type": "object"})])
    assert result_of(http, openai_simulator, {"q": "a b&c", "deep": [1], "yes": True})["ok"]
    [call] = openai_simulator.tool_calls
    assert (call.method, call.query) == ("GET", {"v": "2", "q": "a b&c", "deep": "[1]", "yes": "true"})


def test_arguments_that_do_not_fit_are_told_to_the_model_and_nothing_is_judged_or_called(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[tool(openai_simulator, "fetch_record", "fetch")])
    ended = result_of(http, openai_simulator, {"id": "seven"})
    assert not ended["ok"]
    assert ended["result"] == (
        "The arguments do not fit the tool fetch_record: at id: 'seven' is not of type 'integer'"
    )
    assert openai_simulator.requests[-1].json["messages"][-1]["content"] == ended["result"]
    assert openai_simulator.tool_calls == []
    assert not Decision.objects.filter(tool="fetch_record").exists()


@pytest.mark.parametrize("text", ["[1]", "nonsense", '"x"'])
def test_arguments_that_are_no_object_are_told_to_the_model(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, text: str
) -> None:
    make_agent("worker", tools=[tool(openai_simulator, "fetch_record", "fetch")])
    assert "not a JSON object" in result_of(http, openai_simulator, text)["result"]


def test_a_pattern_that_would_keep_other_engines_busy_for_years_is_searched_at_once(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    parameters = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^(a+)+$"}}}
    make_agent("worker", tools=[{**tool(openai_simulator, "fetch_record", "fetch"), "parameters": parameters}])
    assert "does not match" in result_of(http, openai_simulator, {"id": "a" * 5000 + "!"})["result"]


# --- Declarations ------------------------------------------------------------------------------------------
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"parameters": {"type": "object", "properties": {"id": {"type": "number?"}}}}, "properties.id.type"),
    "no object": ({"parameters": {"type": "string"}}, "parameters.type"),
    "a pattern": ({"parameters": {"properties": {"id": {"pattern": "(?<=a)b"}}}}, "properties.id.pattern"),
    "a reference": ({"parameters": {"properties": {"a": {"$ref": "http://127.0.0.1/x"}}}}, "properties.a.$ref"),
    "its header": ({"headers": {"Host": "other"}}, "headers.Host"),
    "a smuggled header": ({"headers": {"X-A": "b\r\nX-C: d"}}, "headers.X-A"),
    "a private address": ({"url": "http://10.0.0.1/x"}, "url"),
    "metadata": ({"url": "http://169.254.169.254/latest/"}, "url"),
    "a long time": ({"timeout_s": 3600}, "timeout_s"),
    "a large answer": ({"max_bytes": 10**9}, "max_bytes"),
    "a kind": ({"kind": "shell"}, "kind"),
    "a method": ({"method": "TRACE"}, "method"),
    "a server": ({"kind": "mcp", "server": "nowhere"}, "server"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_declaration_is_refused_with_its_place(api: API, alice: Principal, name: str) -> None:
    wrong, place = BAD[name]
    body = {"name": "A", "slug": "a", "tools": [declared(name="good"), declared(**wrong)]}
    answer = api(alice).post("/api/agents/", body, format="json")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"].startswith("tools.1.")
    assert error["param"].endswith(place)


def test_two_tools_of_one_name_are_refused(api: API, alice: Principal) -> None:
    body = {"name": "A", "slug": "a", "tools": [declared(), declared()]}
    assert api(alice).post("/api/agents/", body, format="json").json()["error"]["param"] == "tools.1.name"


# --- Secrets -----------------------------------------------------------------------------------------------
def test_a_secret_goes_to_the_tool_as_a_bearer_token_and_nowhere_else(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = {
        "name": "W",
        "slug": "worker",
        "maturity": "autonomous",
        "models": ["openai/gpt-4o-mini"],
        "tools": [declared(url=openai_simulator.tool_url("fetch_record"), secret=SECRET)],
    }
    openai_simulator.tool_result = {"you sent": f"Bearer {SECRET}"}
    made = http.post("/api/agents/", json=body)
    assert made.status_code == 201
    assert made.json()["tools"][0]["has_secret"] is True
    ended = result_of(http, openai_simulator, {})
    assert openai_simulator.tool_calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert REMOVED in ended["result"]
    seen = [made.text, http.get("/api/agents/worker/").text, caplog.text, *capfd.readouterr()]
    seen += [json.dumps(request.json) for request in openai_simulator.requests]
    seen += [entry.entry for entry in AuditEntry.objects.all()]
    seen += [str(ended), str(Agent.objects.values()), str([bytes(row.sealed) for row in ToolSecret.objects.all()])]
    assert not [text for text in seen if SECRET in text]


def test_a_header_says_where_the_secret_goes(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    url = openai_simulator.tool_url("fetch_record")
    make_agent("worker", tools=[declared(url=url, headers={"X-Key": "k={secret}", "X-Who": "atom"}, secret=SECRET)])
    result_of(http, openai_simulator, {})
    headers = openai_simulator.tool_calls[0].headers
    assert (headers["x-key"], headers["x-who"]) == (f"k={SECRET}", "atom")
    assert "authorization" not in headers


def opened(slug: str = "worker") -> list[str]:
    agent = Agent.objects.get(slug=slug)
    return [tool.secret.opened() for tool in tools_of(agent).values() if tool.secret]  # type: ignore[attr-defined]


def test_a_secret_stays_when_the_tool_is_changed_without_one(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    client = api(alice)
    shown = client.get("/api/agents/worker/").json()["tools"]
    shown[0]["url"] = "http://127.0.0.1:9/elsewhere"
    changed = client.patch("/api/agents/worker/", {"tools": shown}, format="json")
    assert changed.status_code == 200
    assert opened() == [SECRET]


def test_a_secret_is_not_sent_to_another_address_than_it_was_given_for(
    api: API, alice: Principal, make_agent: MakeAgent
) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    moved = {"tools": [declared(url="http://127.0.0.1:10/x")]}
    answer = api(alice).patch("/api/agents/worker/", moved, format="json")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools.0.secret")
    assert opened() == [SECRET]


@pytest.mark.parametrize("tools", [[declared(secret="")], [declared(name="other")], []])
def test_a_secret_goes_with_its_tool_or_when_it_is_emptied(
    api: API, alice: Principal, make_agent: MakeAgent, tools: list[dict[str, Any]]
) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    assert api(alice).patch("/api/agents/worker/", {"tools": tools}, format="json").status_code == 200
    assert not ToolSecret.objects.exists()


def test_a_secret_moved_to_another_agent_does_not_open(make_agent: MakeAgent) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    other = make_agent("other", tools=[declared(secret="another-secret")])
    blob = ToolSecret.objects.get(agent__slug="worker").sealed
    ToolSecret.objects.filter(agent=other).update(sealed=blob)
    with pytest.raises(Exception, match="altered, or belongs to another"):
        opened("other")


def test_rotating_keys_reseals_the_secrets_of_tools(make_agent: MakeAgent, settings: Settings) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    old = settings.ATOM_ENCRYPTION_KEYS
    new = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU="
    settings.ATOM_ENCRYPTION_KEYS = [new, *old]
    call_command("rotate_keys")
    settings.ATOM_ENCRYPTION_KEYS = [new]
    assert opened() == [SECRET]


# --- Limits ------------------------------------------------------------------------------------------------
def test_an_answer_beyond_max_bytes_says_what_can_be_raised(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[declared(url=openai_simulator.tool_url("fetch_record"), max_bytes=100)])
    openai_simulator.tool_result = {"long": "x" * 200}
    ended = result_of(http, openai_simulator, {})
    assert not ended["ok"]
    assert "more than 100 bytes; its max_bytes can be raised" in ended["result"]


def test_a_tool_that_takes_too_long_says_what_can_be_raised(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    slow = openai_simulator.base_url + "/chat/completions"
    make_agent("worker", tools=[declared(url=slow, timeout_s=0.3)])
    openai_simulator.will_call("fetch_record", {})
    openai_simulator.will_hang()
    openai_simulator.will_say("Done")
    [ended] = [event for event in chat(http, "worker", "go") if event["type"] == "tool_ended"]
    assert "within 0.3 s; its timeout_s can be raised" in ended["result"]


def test_a_redirect_is_not_followed(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[declared(url=openai_simulator.base_url + "/chat/completions", secret=SECRET)])
    openai_simulator.will_call("fetch_record", {})
    target = {"Location": openai_simulator.tool_url("stolen")}
    openai_simulator.will(Script(status=307, headers=target, body="{}"))
    openai_simulator.will_say("Done")
    [ended] = [event for event in chat(http, "worker", "go") if event["type"] == "tool_ended"]
    assert "redirect, which is not followed" in ended["result"]
    assert openai_simulator.tool_calls == []


def test_a_nul_in_an_answer_does_not_end_the_run(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[declared(url=openai_simulator.base_url + "/chat/completions")])
    openai_simulator.will_call("fetch_record", {})
    openai_simulator.will_send(b"a\x00b\xff", content_type="text/plain")
    openai_simulator.will_say("Done")
    events = chat(http, "worker", "go")
    [ended] = [event for event in events if event["type"] == "tool_ended"]
    assert (ended["ok"], ended["result"]) == (True, "a\ufffdb\ufffd")
    assert events[-1]["status"] == "succeeded"


def test_mallory_sees_no_tool_of_alices(api: API, mallory: Principal, make_agent: MakeAgent) -> None:
    make_agent("worker", tools=[declared(secret=SECRET)])
    client = api(mallory)
    assert client.get("/api/agents/worker/").status_code == 404
    assert client.patch("/api/agents/worker/", {"tools": []}, format="json").status_code == 404

"""The description at `/api/schema/`: it is valid, lists every route, is served offline, and is true."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from agents.models import Agent
from atom.ground.principal import Principal
from tests.events import bearer
from tests.openapi import check_answer, check_asked, description, misfit, operation_of
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"
SURFACES = ("/api/", "/v1/")
SAID = [{"role": "user", "content": "hi"}]


def routes(patterns: list[Any], at: str = "/") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for one in patterns:
        if isinstance(one, URLResolver):
            found += routes(one.url_patterns, at + str(one.pattern))
        elif isinstance(one, URLPattern):
            found.append((at + str(one.pattern), one.callback))
    return found


def all_routes() -> list[tuple[str, Any]]:
    return routes(get_resolver().url_patterns)


def test_the_description_is_valid_and_was_made_without_a_doubt() -> None:
    GENERATOR_STATS.reset()
    validate_schema(SchemaGenerator().get_schema(request=None, public=True))  # type: ignore[no-untyped-call]
    assert not GENERATOR_STATS


def test_it_lists_every_route() -> None:
    ours = {path for path, _ in all_routes() if path.startswith(SURFACES)} - {"/api/schema/", "/api/docs/"}
    assert {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for path in ours} == set(description()["paths"])
    assert len(ours) > 90


def test_every_operation_says_what_it_takes_and_gives_under_a_name_of_its_own() -> None:
    operations = [one for methods in description()["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for one in operations:
        good = [status for status in one["responses"] if status.startswith(("1", "2", "4"))]
        assert good, one["operationId"]
        for status in set(good) - {"204", "426"}:
            for content in one["responses"][status]["content"].values():
                assert content["schema"], one["operationId"]


@pytest.fixture
def ask(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Callable[..., Any]:
    """A real call; request and answer are held against the description."""
    headers = bearer(token_of(alice))

    def call(method: str, path: str, **given: Any) -> Any:
        own = {**headers, **given.pop("headers", {})}
        answer = httpx.request(method, f"{server}{path}", headers=own, timeout=30, trust_env=False, **given)
        operation = operation_of(method, answer.request.url.path)
        assert operation is not None, path
        check_answer(operation, answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        if answer.status_code < 400:
            check_asked(operation, list(answer.request.url.params), given.get("json"))
        return answer

    return call


def test_the_openai_wire_answers_as_described(ask: Callable[..., Any], openai_simulator: OpenAISimulator) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    for more in ({}, {"tools": [tool]}, {"stream": True}, {"temperature": 9}):
        if "tools" in more:
            openai_simulator.will_call("look", {"at": 1})
        status = ask("POST", "/v1/chat/completions", json={"model": MODEL, "messages": SAID, **more}).status_code
        assert status == (400 if "temperature" in more else 200)
    assert ask("GET", "/v1/models").status_code == 200
    assert ask("GET", f"/v1/models/{MODEL}").status_code == 200
    assert ask("GET", "/v1/models", headers={"anthropic-version": "2023-06-01"}).status_code == 200
    assert ask("GET", "/v1/models/none").status_code == 404
    assert ask("GET", "/v1/metrics/providers?window=60").json()
    assert (
        ask("POST", "/v1/embeddings", json={"model": "openai/text-embedding-3-small", "input": "a"}).status_code == 200
    )


def test_the_responses_wire_answers_as_described(ask: Callable[..., Any], openai_simulator: OpenAISimulator) -> None:
    made = ask("POST", "/v1/responses", json={"model": MODEL, "input": "hi", "metadata": {"a": "b"}})
    one = f"/v1/responses/{made.json()['id']}"
    assert ask("GET", one).json() == made.json()
    assert ask("GET", f"{one}?stream=true&starting_after=1").status_code == 200
    assert ask("GET", f"{one}/input_items?limit=1&order=asc").json()["data"]
    assert ask("POST", f"{one}/cancel").status_code == 200
    assert ask("DELETE", one).json()["deleted"]
    assert ask("GET", one).status_code == 404
    assert ask("GET", "/v1/responses").status_code == 426
    openai_simulator.will_call("look", {"at": 1})
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    found = ask("POST", "/v1/responses", json={"model": MODEL, "input": "hi", "tools": [tool]}).json()
    assert found["output"][0]["type"] == "function_call"
    background = {"model": MODEL, "input": "hi", "background": True}
    assert ask("POST", "/v1/responses", json=background).json()["status"] == "in_progress"


def test_the_anthropic_wire_answers_as_described(ask: Callable[..., Any], openai_simulator: OpenAISimulator) -> None:
    body = {"model": MODEL, "messages": SAID, "max_tokens": 9}
    assert ask("POST", "/v1/messages", json=body).status_code == 200
    openai_simulator.will_call("look", {"at": 1})
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    assert ask("POST", "/v1/messages", json={**body, "tools": tools}).json()["content"][-1]["type"] == "tool_use"
    assert ask("POST", "/v1/messages", json={**body, "stream": True}).status_code == 200
    assert ask("POST", "/v1/messages", json={**body, "max_tokens": 0}).status_code == 400
    assert ask("POST", "/v1/messages/count_tokens", json={"model": MODEL, "messages": SAID}).status_code == 200


def test_chat_and_its_run_answer_as_described(
    ask: Callable[..., Any], make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    make_agent()
    said = ask("POST", "/api/agents/helper/chat/", json={"message": "hi"}).json()
    assert ask("POST", "/api/agents/helper/chat/", json={"message": "hi", "stream": True}).status_code == 200
    assert ask("POST", "/api/agents/helper/chat/", json={"message": ""}).status_code == 400
    for path in ("", "events/"):
        assert ask("GET", f"/api/runs/{said['run_id']}/{path}").status_code == 200
    assert ask("GET", f"/api/sessions/{said['session_id']}/messages/").json()["results"]
    assert ask("GET", f"/api/trace/{said['run_id']}/").status_code == 200
    for by in ("day", "agent", "user", "token", "provider", "model"):
        assert "by" in ask("GET", f"/api/usage/?by={by}").json()
    assert ask("GET", "/api/audit/export/").status_code == 200


def every_operation() -> list[tuple[str, str]]:
    """Each with ids that nothing has."""
    found = [(method, path) for path, methods in description()["paths"].items() for method in methods]
    nothing = "00000000-0000-4000-8000-000000000000"
    return [(method.upper(), re.sub(r"{\w+}", nothing, path)) for method, path in found]


def test_start_up_smoke_of_every_route(ask: Callable[..., Any], server: str) -> None:
    for method, path in every_operation():
        refused = httpx.request(method, f"{server}{path}", json={}, trust_env=False)
        assert refused.status_code == 401, (method, path)
        given: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": {}}
        assert ask(method, path, **given).status_code < 500, (method, path)


def test_what_does_not_fit_is_seen() -> None:
    completion = {"$ref": "#/components/schemas/CompletionOut"}
    assert misfit(completion, json.loads('{"id": 7}')) is not None

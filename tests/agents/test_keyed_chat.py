"""Idempotency-Key on the doors that talk to models: one run, its answer again, streams too."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis
from pytest_django import Settings

from agents.models import Agent, Run
from agents.runs.streams import events_key
from atom.ground.models import IdempotencyKey
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve, reject
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
COMPLETIONS, CHAT, MESSAGES, RESPONSES = (
    "/v1/chat/completions", "/api/agents/helper/chat/", "/v1/messages", "/v1/responses",
)  # fmt: skip
DOORS = (COMPLETIONS, CHAT, MESSAGES, RESPONSES)
SAY: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
# What a stream of each door says at its end.
LAST_WORDS = {COMPLETIONS: "[DONE]", CHAT: "run_ended", MESSAGES: "message_stop", RESPONSES: "response.completed"}
TOOL: Any = {"type": "function", "function": {"name": "delete", "parameters": {"type": "object", "properties": {}}}}
ASKED: Any = [{"role": "user", "content": "delete 7"}]
ASK: Any = {"model": "agent/intern", "messages": ASKED, "tools": [TOOL]}
ASKS: dict[str, Any] = {
    COMPLETIONS: ASK,
    MESSAGES: {
        "model": "agent/intern",
        "max_tokens": 100,
        "messages": ASKED,
        "tools": [{"name": "delete", "input_schema": {"type": "object", "properties": {}}}],
    },
    RESPONSES: {
        "model": "agent/intern",
        "input": "delete 7",
        "tools": [{"type": "function", **TOOL["function"]}],
    },
}


def post(http: httpx.Client, body: Any = SAY, key: str = "k1", path: str = COMPLETIONS, **headers: str) -> Any:
    return http.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def frames(answer: httpx.Response) -> list[str]:
    return [line for line in answer.text.split("\n\n") if not line.startswith(":")]


@pytest.fixture
def doors(make_agent: MakeAgent) -> dict[str, Any]:
    make_agent("helper", models=["openai/gpt-4o-mini"])
    return {
        COMPLETIONS: SAY,
        CHAT: {"message": "Hello"},
        MESSAGES: {**SAY, "max_tokens": 100},
        RESPONSES: {"model": SAY["model"], "input": "Hello"},
    }


@pytest.mark.parametrize("path", DOORS)
def test_a_repeated_question_is_answered_once(
    http: httpx.Client, doors: dict[str, Any], path: str, openai_simulator: OpenAISimulator
) -> None:
    first, second = (post(http, doors[path], path=path) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert second.headers["x-atom-run"] == first.headers["x-atom-run"]
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")
    assert (Run.objects.count(), len(openai_simulator.requests)) == (1, 1)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("is_forgotten", [False, True], ids=["events", "stored"])
def test_a_finished_stream_is_streamed_again(
    http: httpx.Client, doors: dict[str, Any], path: str, is_forgotten: bool, store: redis.Redis
) -> None:
    body = {**doors[path], "stream": True}
    first = post(http, body, path=path)
    run = Run.objects.get()
    if is_forgotten:
        store.delete(events_key(run.pk))
    second = post(http, body, path=path)
    assert second.headers["content-type"] == "text/event-stream"
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Run.objects.count() == 1
    if is_forgotten:
        assert run.messages.get(role="assistant").text in second.text
        assert LAST_WORDS[path] in second.text
    else:
        assert frames(second) == frames(first)


@pytest.mark.parametrize("path", DOORS)
def test_the_answer_of_a_run_whose_request_died_is_the_runs(
    http: httpx.Client, doors: dict[str, Any], path: str
) -> None:
    """The process died between the end of the run and the keeping of its answer."""
    first = post(http, doors[path], path=path)
    IdempotencyKey.objects.update(status=None, body=None)
    assert post(http, doors[path], path=path).content == first.content
    assert Run.objects.count() == 1


@pytest.mark.parametrize("path", DOORS)
def test_a_running_stream_is_409_or_joined(
    http: httpx.Client, doors: dict[str, Any], path: str, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five", delay_s=0.3)
    body = {**doors[path], "stream": True}
    with http.stream("POST", path, json=body, headers={"Idempotency-Key": "k1"}) as first:
        lines = first.iter_lines()
        said = [next(lines)]
        refused = post(http, body, path=path)
        joined = post(http, body, path=path, **{"Idempotency-Join": "true"})
        said += list(lines)
    assert (refused.status_code, int(refused.headers["Retry-After"]) >= 1) == (409, True)
    served = ("x-atom-run", "x-atom-provider", "x-atom-model", "x-atom-attempts")
    assert [joined.headers[name] for name in served] == [first.headers[name] for name in served]
    assert [one for one in joined.text.split("\n") if one] == [one for one in said if one]
    assert Run.objects.count() == 1


@pytest.mark.parametrize("path", DOORS)
def test_a_whole_answer_in_the_making_is_joined(
    http: httpx.Client, doors: dict[str, Any], path: str, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("slow and steady", first_delay_s=1.0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(post, http, doors[path], path=path, **{"Idempotency-Join": "true"}) for _ in range(4)]
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    told = ("x-atom-run", "x-atom-provider", "x-atom-model", "x-atom-attempts")
    assert len({tuple(answer.headers[name] for name in told) for answer in answers}) == 1
    assert Run.objects.count() == 1


def test_another_body_is_refused_while_the_first_runs(http: httpx.Client) -> None:
    post(http)
    assert post(http, {**SAY, "stream": True}).status_code == 422


def test_a_failure_after_asking_the_model_is_remembered(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    for _ in range(8):
        openai_simulator.will_fail(500)
    first = post(http)
    asked = len(openai_simulator.requests)
    assert first.status_code == 502
    assert post(http).content == first.content
    IdempotencyKey.objects.update(status=None, body=None)
    told = post(http)
    assert (told.status_code, told.json()) == (502, first.json())
    assert len(openai_simulator.requests) == asked


def test_a_refusal_of_the_provider_is_not_remembered(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_fail(400)
    assert post(http).status_code == 400
    assert post(http).status_code == 200


@pytest.mark.parametrize("status", ["interrupted", "cancelled", "terminated"])
def test_the_key_of_a_run_that_was_stopped_is_free(http: httpx.Client, status: str) -> None:
    post(http)
    IdempotencyKey.objects.update(status=None, body=None)
    Run.objects.update(status=status)
    assert post(http).status_code == 200
    assert Run.objects.count() == 2


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, RESPONSES])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_mallory_has_keys_of_her_own(
    http: httpx.Client, doors: dict[str, Any], server: str, mallory: Principal, token_of: Callable[[Principal], str],
    path: str, stream: bool,
) -> None:  # fmt: skip
    body = {**doors[path], "stream": stream}
    first = post(http, body, path=path)
    with httpx.Client(base_url=server, headers=bearer(token_of(mallory)), timeout=30) as hers:
        assert post(hers, body, path=path).headers["x-atom-run"] != first.headers["x-atom-run"]
    assert Run.objects.count() == 2


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_asking_again_with_the_key_goes_on_after_the_approval(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal, settings: Settings,
    stream: bool, path: str,
) -> None:  # fmt: skip
    settings.ATOM_APPROVAL_HOLD = 0.3
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    body = {**ASKS[path], "stream": stream}
    assert "approval_pending" in post(http, body, path=path).text
    assert "approval_pending" in post(http, body, path=path).text
    approve(approval=Approval.objects.get(), principal=bob, revision=1)
    third = post(http, body, path=path)
    assert ("approval_pending" in third.text, len(openai_simulator.requests)) == (False, 1)
    assert '"name":"delete"' in third.text.replace(": ", ":")
    assert frames(post(http, body, path=path)) == frames(third)


def test_a_rejected_call_is_refused_for_good(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal, settings: Settings
) -> None:
    settings.ATOM_APPROVAL_HOLD = 0.3
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    post(http, ASK)
    reject(approval=Approval.objects.get(), principal=bob, revision=1, note="Too dangerous.")
    second = post(http, ASK)
    assert "was refused" in second.json()["choices"][0]["message"]["content"]
    assert post(http, ASK).content == second.content


@pytest.mark.parametrize(
    ("keys", "times"), [(10, 8), pytest.param(200, 20, marks=pytest.mark.chaos)], ids=["few", "many"]
)
def test_keys_asked_for_at_once_have_one_run_each(
    http: httpx.Client, openai_simulator: OpenAISimulator, keys: int, times: int
) -> None:
    def ask(key: int) -> tuple[int, int, bytes]:
        body = {**SAY, "messages": [{"role": "user", "content": f"question {key}"}]}
        answer = post(http, body, key=f"k{key}")
        return key, answer.status_code, answer.content

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, [key for key in range(keys) for _ in range(times)]))
    assert (Run.objects.count(), len(openai_simulator.requests)) == (keys, keys)
    assert {status for _, status, _ in answers} <= {200, 409}
    for key in range(keys):
        assert len({content for one, status, content in answers if one == key and status == 200}) == 1


@pytest.mark.parametrize("path", DOORS)
def test_a_client_that_left_leaves_the_key_with_the_run(
    http: httpx.Client, doors: dict[str, Any], path: str, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("slow and steady", first_delay_s=1.0)
    with pytest.raises(httpx.ReadTimeout):
        http.post(path, json=doors[path], headers={"Idempotency-Key": "k1"}, timeout=0.5)
    deadline = time.monotonic() + 20
    while (answer := post(http, doors[path], path=path)).status_code == 409:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "slow and steady" in answer.text
    assert Run.objects.count() == 1

"""Idempotency-Key where a door is not like the others: in the background, vectors, other errors, an empty session."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis

from agents.models import Agent, Run, Session, StoredResponse
from agents.runs.streams import events_key
from atom.ground.models import IdempotencyKey
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
EMBEDDINGS, MESSAGES, RESPONSES = "/v1/embeddings", "/v1/messages", "/v1/responses"
VECTORS: Any = {"model": "openai/text-embedding-3-small", "input": "Hello"}
BEGIN: Any = {"model": "openai/gpt-4o-mini", "input": "Hello", "background": True}
SAY: Any = {"model": "openai/gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


def post(http: httpx.Client, path: str, body: Any, key: str = "k1", **headers: str) -> httpx.Response:
    return http.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def ended(http: httpx.Client) -> Run:
    deadline = time.monotonic() + 20
    while (run := Run.objects.get()).is_open:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run


# --- Responses ---------------------------------------------------------------------------------------------
def test_a_background_response_is_begun_once(http: httpx.Client) -> None:
    first = post(http, RESPONSES, BEGIN)
    assert (first.status_code, first.json()["status"]) == (200, "in_progress")
    assert post(http, RESPONSES, BEGIN).content == first.content
    ended(http)
    assert post(http, RESPONSES, BEGIN).content == first.content
    assert (Run.objects.count(), StoredResponse.objects.count()) == (1, 1)


def test_a_background_response_at_work_whose_answer_was_lost_is_told(
    http: httpx.Client, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("slow and steady", first_delay_s=1.0)
    first = post(http, RESPONSES, BEGIN)
    IdempotencyKey.objects.update(status=None, body=None)
    assert post(http, RESPONSES, BEGIN).content == first.content
    assert ended(http).status == "succeeded"


def test_a_background_stream_is_streamed_again(http: httpx.Client) -> None:
    body = {**BEGIN, "stream": True}
    first = post(http, RESPONSES, body)
    assert post(http, RESPONSES, body).text == first.text
    assert Run.objects.count() == 1


def test_a_response_that_is_not_stored_is_streamed_again_as_it_was(http: httpx.Client) -> None:
    body = {"model": "openai/gpt-4o-mini", "input": "Hello", "store": False, "stream": True}
    first = post(http, RESPONSES, body)
    long_ago = Run.objects.get().created_at.replace(year=2020)
    Run.objects.update(created_at=long_ago)
    told = post(http, RESPONSES, body).text
    assert f'"created_at":{int(long_ago.timestamp())}' in told
    assert told.count("event:") == first.text.count("event:")


def test_a_turn_is_given_again_when_the_one_before_it_was_deleted(http: httpx.Client) -> None:
    before = http.post(RESPONSES, json={"model": "openai/gpt-4o-mini", "input": "Hello"}).json()["id"]
    body = {"model": "openai/gpt-4o-mini", "input": "And?", "previous_response_id": before, "stream": True}
    first = post(http, RESPONSES, body)
    assert http.delete(f"{RESPONSES}/{before}").status_code == 200
    assert post(http, RESPONSES, body).text == first.text


def test_a_cancellation_is_answered_again(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three four five", delay_s=0.5)
    path = f"{RESPONSES}/{http.post(RESPONSES, json=BEGIN).json()['id']}/cancel"
    first = post(http, path, {})
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert post(http, path, {}).content == first.content


# --- Vectors -----------------------------------------------------------------------------------------------
def test_vectors_are_made_once(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    first = post(http, EMBEDDINGS, VECTORS)
    assert first.status_code == 200
    assert post(http, EMBEDDINGS, VECTORS).content == first.content
    assert (Run.objects.count(), len(openai_simulator.requests)) == (1, 1)


def test_vectors_whose_answer_was_lost_are_made_again(http: httpx.Client) -> None:
    first = post(http, EMBEDDINGS, VECTORS)
    IdempotencyKey.objects.update(status=None, body=None)
    again = post(http, EMBEDDINGS, VECTORS)
    assert again.json() == first.json()
    assert Run.objects.count() == 2


def test_vectors_whose_answer_was_lost_are_made_again_once(http: httpx.Client) -> None:
    post(http, EMBEDDINGS, VECTORS)
    IdempotencyKey.objects.update(status=None, body=None)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(http, EMBEDDINGS, VECTORS), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert Run.objects.count() == 2


def test_vectors_in_the_making_are_409(http: httpx.Client) -> None:
    post(http, EMBEDDINGS, VECTORS)
    IdempotencyKey.objects.update(status=None, body=None)
    Run.objects.update(status="running")
    for join in ("false", "true"):
        refused = post(http, EMBEDDINGS, VECTORS, **{"Idempotency-Join": join})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_in_flight")


def test_failed_vectors_are_remembered(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    for _ in range(8):
        openai_simulator.will_fail(500)
    first = post(http, EMBEDDINGS, VECTORS)
    assert first.status_code == 502
    assert post(http, EMBEDDINGS, VECTORS).content == first.content


# --- The Anthropic wire ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("k1", {**SAY, "max_tokens": 7}, 422),
        ("k" * 256, SAY, 400),
        ("k2", {**SAY, "max_tokens": "many"}, 400),
        ("k3", {**SAY, "model": "agent/nobody"}, 404),
    ],
    ids=["reused", "long", "invalid", "unknown"],
)
def test_refusals_have_the_wires_own_shape(http: httpx.Client, key: str, body: Any, status: int) -> None:
    post(http, MESSAGES, SAY)
    refused = post(http, MESSAGES, body, key)
    assert (refused.status_code, refused.json()["type"]) == (status, "error")


def test_a_failure_is_remembered_in_the_wires_own_shape(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    for _ in range(8):
        openai_simulator.will_fail(500)
    first = post(http, MESSAGES, SAY)
    assert (first.status_code, first.json()["type"]) == (502, "error")
    again = post(http, MESSAGES, SAY)
    assert again.content == first.content
    assert again.headers["request-id"] == first.headers["request-id"]


# --- The control plane -------------------------------------------------------------------------------------
@pytest.mark.parametrize("prompt", ["", "Hello"], ids=["idle", "prompt"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["kept", "lost"])
def test_an_agent_is_started_once(http: httpx.Client, make_agent: MakeAgent, prompt: str, is_lost: bool) -> None:
    make_agent("helper", models=["openai/gpt-4o-mini"])
    body = {"agent": "helper", "prompt": prompt}
    first = post(http, "/agent/start", body)
    assert first.status_code == 202
    if is_lost:
        IdempotencyKey.objects.update(status=None, body=None)
    assert post(http, "/agent/start", body).json()["session_id"] == first.json()["session_id"]
    assert (Session.objects.count(), Run.objects.count()) == (1, len(prompt) and 1)


# --- What was kept of a run --------------------------------------------------------------------------------
def test_what_an_operator_said_is_where_it_was_when_the_store_has_forgotten_it(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    """A reader of the whole forgets what was said before a correction; the replay must not forget the answer too."""
    make_agent("helper", models=["openai/gpt-4o-mini"])
    openai_simulator.will_say("one two three four five six seven eight", delay_s=0.2)
    openai_simulator.will_say("Better")
    body = {"message": "Count"}
    with http.stream("POST", "/api/agents/helper/chat/", json={**body, "stream": True}) as first:
        lines = first.iter_lines()
        next(line for line in lines if "text_delta" in line)
        run = Run.objects.get()
        assert http.post(f"/api/runs/{run.pk}/correct/", json={"text": "Say it better"}).status_code < 300
        list(lines)
    assert Run.objects.get().status == "succeeded"
    post(http, "/api/agents/helper/chat/", {"message": "Other"})
    key = IdempotencyKey.objects.get()
    other = Run.objects.exclude(pk=run.pk).get()
    Run.objects.filter(pk=other.pk).delete()
    IdempotencyKey.objects.filter(pk=key.pk).update(bound_to=run.pk, status=None, body=None)
    store.delete(events_key(run.pk))
    told = post(http, "/api/agents/helper/chat/", {"message": "Other"})
    assert told.json()["message"]["content"] == "Better"

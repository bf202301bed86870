"""Chat as a whole: the gate inside a stream, time that runs out, failures that are logged, words that do not wait."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from pytest_django import Settings

from agents.models import Agent, Message, Run
from governance.models import Approval
from tests.events import sse_events, text_of
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending, Script, Seen

MakeAgent = Callable[..., Agent]
WAIT_S = 20.0
WORDS = "one two three four"


def tool(simulator: OpenAISimulator, action: str) -> dict[str, Any]:
    return {
        "name": f"{action}_record",
        "description": "A tool",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "action": action,
        "kind": "http",
        "url": simulator.tool_url(f"{action}_record"),
        "method": "POST",
    }


def chat(http: httpx.Client, message: str = "go") -> list[dict[str, Any]]:
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": message, "stream": True}) as answer:
        return list(sse_events(answer))


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """What our own log says under this name, field by field."""
    entries = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [entry for entry in entries if entry["event"] == event]


# --- Governance -------------------------------------------------------------------------------------------
def test_streaming_chat_with_agent_governance_judges_each_call_by_itself(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    tools = [tool(openai_simulator, "fetch"), tool(openai_simulator, "delete")]
    make_agent("helper", maturity="student", tools=tools)
    openai_simulator.will_call_all([("fetch_record", {"id": 7}), ("delete_record", {"id": 7})], say="Let me see.")
    openai_simulator.will_say("Read, not deleted.")
    events = chat(http)
    assert {event["name"]: event["decision"] for event in events if event["type"] == "tool_judged"} == {
        "fetch_record": "allow",
        "delete_record": "deny",
    }
    assert [call.path for call in openai_simulator.tool_calls] == ["/tools/fetch_record"]
    assert text_of(events) == "Let me see.Read, not deleted."
    assert events[-1]["status"] == "succeeded"


def test_an_autonomous_agent_has_full_access(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper", maturity="autonomous", tools=[tool(openai_simulator, "delete")])
    openai_simulator.will_call("delete_record", {"id": 7})
    openai_simulator.will_say("Deleted")
    events = chat(http)
    assert [event["decision"] for event in events if event["type"] == "tool_judged"] == ["allow"]
    assert [call.json for call in openai_simulator.tool_calls] == [{"id": 7}]
    assert not Approval.objects.exists()


# --- Time that runs out -----------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_chat_timeout_before_the_first_word_is_a_504(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT = 0.3
    make_agent("helper")
    for _ in ("as a stream", "once more without"):
        openai_simulator.will_hang()
    with caplog.at_level(logging.WARNING):
        answer = http.post("/api/agents/helper/chat/", json={"message": "hi", "stream": stream})
    assert answer.status_code == 504
    assert "openai" in answer.json()["error"]["message"]
    assert len(openai_simulator.requests) == 2
    first, second = logged(caplog, "model_call_failed")
    assert (first["provider"], first["model"], first["streamed"]) == ("openai", "gpt-4o-mini", True)
    assert (second["streamed"], second["attempts"]) == (False, 2)
    assert second["seconds_left"] <= first["seconds_left"] <= settings.ATOM_TOTAL_TIMEOUT


def test_streaming_chat_timeout_closes_gracefully_and_keeps_what_was_said(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_CHUNK_TIMEOUT = 0.3
    make_agent("helper")
    openai_simulator.will_say(WORDS, cut_after=2, ending=Ending.HANG)
    events = chat(http)
    assert text_of(events) == "one two"
    assert (events[-1]["type"], events[-1]["status"]) == ("run_ended", "failed")
    assert Message.objects.get(role="assistant").text == "one two"


# --- Failures that are logged -----------------------------------------------------------------------------
def test_a_partial_failure_is_logged_with_its_run(
    http: httpx.Client, openai_simulator: OpenAISimulator, caplog: pytest.LogCaptureFixture
) -> None:
    openai_simulator.will_say(WORDS, cut_after=2)
    body = {"model": "openai/gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with caplog.at_level(logging.WARNING):
        answer = http.post("/v1/chat/completions", json=body)
    [entry] = logged(caplog, "stream_incomplete")
    assert entry["run_id"] == answer.headers["x-atom-run"]
    assert entry["code"] == Run.objects.get().error_code


# --- Words that do not wait -------------------------------------------------------------------------------
class OneByOne(OpenAISimulator):
    """Sends a chunk only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_send = threading.Semaphore(0)

    async def _write_chunks(self, response: web.StreamResponse, asked: Seen, script: Script) -> None:
        for text in [*self.chunks(asked, script), *self.farewell()]:
            if not await asyncio.to_thread(self.may_send.acquire, timeout=WAIT_S):
                raise ConnectionError("the chunk before has not arrived")
            await response.write(text.encode())


@pytest.fixture
def one_by_one(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneByOne]:
    with OneByOne() as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        yield simulator
        # Whoever still waits, goes.
        simulator.may_send.release(100)


DOORS = [
    pytest.param("/api/agents/helper/chat/", {"message": "hi"}, id="api"),
    pytest.param(
        "/v1/chat/completions",
        {"model": "agent/helper", "messages": [{"role": "user", "content": "hi"}]},
        id="openai",
    ),
]


def said(event: dict[str, Any]) -> str:
    """The words of an event of either door."""
    if event.get("type") == "text_delta":
        return str(event["text"])
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


@pytest.mark.parametrize(("path", "body"), DOORS)
def test_no_buffering_each_chunk_arrives_before_the_next_is_sent(
    http: httpx.Client, make_agent: MakeAgent, one_by_one: OneByOne, path: str, body: dict[str, Any]
) -> None:
    make_agent("helper")
    one_by_one.will_say(WORDS)
    heard = []
    # The chunk that names the role, and the first word.
    one_by_one.may_send.release(2)
    with http.stream("POST", path, json={**body, "stream": True}, timeout=WAIT_S) as answer:
        for event in sse_events(answer):
            if word := said(event):
                heard.append(word.strip())
                # The next word, and after the last one the finish, the usage and the farewell.
                one_by_one.may_send.release(1 if len(heard) < 4 else 3)
    assert heard == WORDS.split()


@pytest.mark.parametrize(("path", "body"), DOORS)
def test_no_buffering_total_time_is_about_the_sum_of_the_delays(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, path: str, body: dict[str, Any]
) -> None:
    make_agent("helper")
    openai_simulator.will_say(" ".join("x" * 20), delay_s=0.05)
    delays_s = 19 * 0.05
    with http.stream("POST", path, json={**body, "stream": True}) as answer:
        at = [time.monotonic() for event in sse_events(answer) if said(event)]
    # Wide on purpose: buffered, all would come at once; a busy machine may take a while over each.
    assert len(at) == 20
    assert delays_s / 2 < at[-1] - at[0] < delays_s + WAIT_S

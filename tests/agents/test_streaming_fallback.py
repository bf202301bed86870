"""Fallback, failover and time that runs out, as a client of `/v1` meets them behind a real server."""

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from agents.models import Agent, Message, Run
from tests.events import sse_events
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending

MakeAgent = Callable[..., Agent]
BOTH = ["openai/gpt-4o-mini", "deepseek/deepseek-chat"]


@pytest.fixture
def second(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", simulator.base_url)
        yield simulator


def ask(http: httpx.Client, model: str = "agent/helper", *, stream: bool = True) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return http.post("/v1/chat/completions", json=body)


def said(event: dict[str, Any]) -> str:
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def content_of(answer: httpx.Response) -> str:
    return "".join(said(event) for event in sse_events(answer))


def streamed(simulator: OpenAISimulator) -> list[bool]:
    """Of each request that it saw, whether a stream was asked for."""
    return [seen.json.get("stream", False) for seen in simulator.requests]


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    entries = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [entry for entry in entries if entry["event"] == event]


# --- Success ----------------------------------------------------------------------------------------------
def test_chunks_50_ms_apart_arrive_50_ms_apart(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say(" ".join("x" * 30), delay_s=0.05)
    body = {"model": "agent/helper", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        at = [time.monotonic() for event in sse_events(answer) if said(event)]
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert len(gaps) == 29
    # The middle gap: a busy machine may take its time over a few. Buffered chunks come without any gap.
    assert 0.03 < statistics.median(gaps) < 0.15


def test_each_candidate_is_streamed_once_in_order_and_only_the_first_is_repeated(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(500)
    second.will_say("never heard", cut_after=0)
    openai_simulator.will_say("the whole answer")
    answer = ask(http)
    assert content_of(answer) == "the whole answer"
    assert answer.headers["x-atom-attempts"] == "3"
    assert answer.headers["x-atom-provider"] == "openai"
    assert (streamed(openai_simulator), streamed(second)) == ([True, False], [True])


# --- Fallback disabled --------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
def test_fallback_disabled_is_an_immediate_error_with_its_reason(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    second: OpenAISimulator,
    settings: Settings,
    stream: bool,
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(503)
    answer = ask(http, stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (502, "provider_error")
    assert "openai" in error["message"]
    assert answer.headers["x-atom-attempts"] == "1"
    assert (len(openai_simulator.requests), len(second.requests)) == (1, 0)
    run = Run.objects.get(pk=answer.headers["x-atom-run"])
    assert (run.status, run.error_message) == ("failed", error["message"])


# --- Partial failure ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("ending", [Ending.EOF, Ending.RST], ids=["eof", "rst"])
def test_a_stream_cut_after_its_first_words_is_a_failed_run_with_its_text_and_no_second_try(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    second: OpenAISimulator,
    ending: Ending,
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_say("one two three", cut_after=2, ending=ending, delay_s=0.05)
    answer = ask(http)
    events = list(sse_events(answer))
    assert answer.status_code == 200
    assert "".join(map(said, events)) == "one two"
    assert set(events[-1]) == {"error"}
    assert not any(event.get("choices", [{}])[0].get("finish_reason") for event in events)
    assert "[DONE]" not in answer.text
    run = Run.objects.get(pk=answer.headers["x-atom-run"])
    assert (run.status, run.attempts) == ("failed", 1)
    kept = Message.objects.get(role="assistant")
    assert (kept.text, kept.is_complete) == ("one two", False)
    assert (streamed(openai_simulator), second.requests) == ([True], [])


# --- Time that runs out -------------------------------------------------------------------------------------
def test_after_a_timeout_the_next_candidate_answers_within_what_is_left_and_it_is_logged(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    second: OpenAISimulator,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT, settings.ATOM_TOTAL_TIMEOUT = 0.4, 20
    make_agent("helper", models=BOTH)
    openai_simulator.will_hang()
    second.will_say("in time")
    with caplog.at_level(logging.WARNING):
        answer = ask(http)
    assert content_of(answer) == "in time"
    assert answer.headers["x-atom-provider"] == "deepseek"
    [entry] = logged(caplog, "model_call_failed")
    assert (entry["provider"], entry["model"], entry["streamed"]) == ("openai", "gpt-4o-mini", True)
    assert entry["seconds_left"] <= 19.6


def test_the_deadline_is_for_the_whole_and_who_has_no_time_left_is_not_asked(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    second: OpenAISimulator,
    settings: Settings,
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT, settings.ATOM_TOTAL_TIMEOUT = 60, 0.5
    make_agent("helper", models=BOTH)
    openai_simulator.will_hang()
    answer = ask(http)
    assert answer.status_code == 504
    assert (len(openai_simulator.requests), len(second.requests)) == (1, 0)
    assert Run.objects.get().status == "failed"


# --- One repetition at most ---------------------------------------------------------------------------------
def test_both_attempts_are_logged_and_the_final_error_reaches_the_client(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_agent("helper")
    openai_simulator.will_fail(500)
    openai_simulator.will_send(b"<html>busy</html>", content_type="text/html")
    with caplog.at_level(logging.WARNING):
        answer = ask(http)
    assert answer.status_code == 502
    assert [(row["streamed"], row["code"]) for row in answer.json()["error"]["details"]] == [
        (entry["streamed"], entry["code"]) for entry in logged(caplog, "model_call_failed")
    ]
    assert streamed(openai_simulator) == [True, False]
    assert "busy" not in answer.text


# --- Whom an agent may fall back to -------------------------------------------------------------------------
def test_a_secondary_has_no_fallback_of_its_own(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(500)
    openai_simulator.will_fail(500)
    second.will_fail(500)
    second.will_say("nobody asks for this")
    answer = ask(http)
    assert answer.status_code == 502
    for name in BOTH:
        assert name in answer.json()["error"]["message"]
    assert streamed(second) == [True]


def test_an_agent_whose_list_ends_with_its_first_model_falls_back_to_nobody_else(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH[:1])
    openai_simulator.will_fail(500)
    openai_simulator.will_fail(500)
    answer = ask(http)
    assert (answer.status_code, answer.headers["x-atom-attempts"]) == (502, "2")
    assert second.requests == []


def test_model_specific_routing_fails_over_between_models_of_one_provider_and_breaks_one_alone(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    make_agent("helper", models=["openai/gpt-4o", "openai/gpt-4o-mini"])
    make_agent("small", models=["openai/gpt-4o-mini"])
    settings.AGENT_FALLBACK_ENABLED = False
    for _ in range(5):
        openai_simulator.will_fail(500)
        assert ask(http).status_code == 502
    settings.AGENT_FALLBACK_ENABLED = True
    openai_simulator.requests.clear()
    openai_simulator.will_say("from the small one")
    answer = ask(http)
    assert content_of(answer) == "from the small one"
    assert (answer.headers["x-atom-model"], answer.headers["x-atom-attempts"]) == ("gpt-4o-mini", "1")
    assert ask(http, "agent/small").status_code == 200
    assert {seen.json["model"] for seen in openai_simulator.requests} == {"gpt-4o-mini"}

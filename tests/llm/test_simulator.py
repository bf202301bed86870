"""The simulated OpenAI is accepted by the official client: what the wire learns from it holds outside."""

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending
from tests.simulators.server import words

USER: list[openai.types.chat.ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def official(openai_simulator: OpenAISimulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=openai_simulator.base_url, api_key="sk-x", max_retries=0, timeout=10) as client:
        yield client


def test_the_official_client_accepts_a_stream(official: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two", pings=True, newline="\r\n")
    chunks = list(
        official.chat.completions.create(model="m", messages=USER, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_the_official_client_accepts_a_whole_answer_with_a_call(
    official: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("look", {"at": "you"})
    choice = official.chat.completions.create(model="m", messages=USER).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"at": "you"}


def test_the_official_client_puts_a_streamed_call_together(
    official: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("look", {"at": "you"})
    with official.chat.completions.stream(model="m", messages=USER) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments) == {"at": "you"}


def test_the_official_client_raises_on_a_scripted_failure(
    official: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(429, retry_after=3)
    with pytest.raises(openai.RateLimitError) as caught:
        official.chat.completions.create(model="m", messages=USER)
    assert caught.value.response.headers["retry-after"] == "3"


def test_it_echoes_without_a_script_and_lists_models(official: openai.OpenAI) -> None:
    answer = official.chat.completions.create(model="m", messages=USER)
    assert answer.choices[0].message.content == "You said: hi"
    assert [model.id for model in official.models.list()] == ["gpt-4o-mini"]


def test_a_cut_stream_is_an_error_for_its_reader(openai_simulator: OpenAISimulator) -> None:
    for ending in (Ending.EOF, Ending.RST):
        openai_simulator.will_say("one two three", cut_after=1, ending=ending)
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{openai_simulator.base_url}/chat/completions", json={"stream": True, "messages": []})


def test_tools_keep_a_ledger_of_their_calls(openai_simulator: OpenAISimulator) -> None:
    assert httpx.post(openai_simulator.tool_url("delete"), json={"id": 7}).json() == {"ok": True}
    httpx.get(openai_simulator.tool_url("read"), params={"id": "8"})
    assert [(seen.path, seen.json) for seen in openai_simulator.tool_calls] == [
        ("/tools/delete", {"id": 7}),
        ("/tools/read", {"id": "8"}),
    ]


def test_words_join_to_the_text_they_came_from() -> None:
    for text in ("one two", " a\n b ", "", "x", "   "):
        assert "".join(words(text)) == text


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.simulators.openai", "--delay", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            answer = httpx.post(f"{base_url}/chat/completions", json={"messages": USER})
            assert answer.json()["choices"][0]["message"]["content"] == "You said: hi"
        finally:
            process.terminate()

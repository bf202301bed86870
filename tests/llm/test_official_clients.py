"""Each simulator is accepted by its provider's official client.

What the wires learn from the simulators holds outside only if the providers' own clients read them the same way.
"""

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest
from anthropic.types import MessageParam, ToolParam
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from openai.types.chat import ChatCompletionUserMessageParam
from openai.types.responses import FunctionToolParam

from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.responses import ResponsesSimulator

SCHEMA: dict[str, object] = {"type": "object", "properties": {"at": {"type": "string"}}}


# --- OpenAI, chat -------------------------------------------------------------------------------------
def test_openais_client_streams_chat(openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_call("look", {"at": "you"}, say="one two", pings=True, newline="\r\n")
    said: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]
    with (
        openai.OpenAI(base_url=openai_simulator.base_url, api_key="sk-x", max_retries=0) as client,
        client.chat.completions.stream(model="m", messages=said) as stream,
    ):
        message = stream.get_final_completion().choices[0].message
    assert message.content == "one two"
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments) == {"at": "you"}


def test_openais_client_reads_a_whole_completion_with_a_call_and_a_failure(openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_call("look", {"at": "you"}, say="one two")
    openai_simulator.will_fail(429, retry_after=3)
    said: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=openai_simulator.base_url, api_key="sk-x", max_retries=0) as client:
        found = client.chat.completions.create(model="m", messages=said)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="m", messages=said)
    message = found.choices[0].message
    assert message.content == "one two"
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"at": "you"}
    assert found.usage is not None
    assert found.usage.completion_tokens == 3
    assert caught.value.response.headers["retry-after"] == "3"


def test_openais_client_raises_on_an_error_in_either_stream(
    openai_simulator: OpenAISimulator, responses: openai.OpenAI, responses_simulator: ResponsesSimulator
) -> None:
    openai_simulator.will_say("one two", cut_after=1, error="server_error")
    responses_simulator.will_say("one two", cut_after=1, error="server_error")
    said: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]
    with (
        openai.OpenAI(base_url=openai_simulator.base_url, api_key="sk-x", max_retries=0) as client,
        client.chat.completions.create(model="m", messages=said, stream=True) as chat,
        pytest.raises(openai.APIError),
    ):
        list(chat)
    with responses.responses.create(model="m", input="hi", stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] == "error"
    assert "response.completed" not in kinds


def test_openais_client_reads_a_sealed_thought(
    responses: openai.OpenAI, responses_simulator: ResponsesSimulator
) -> None:
    responses_simulator.will_think("let me see", "one", seal="c2VhbGVk")
    found = responses.responses.create(model="m", input="hi", include=["reasoning.encrypted_content"])
    assert found.output[0].type == "reasoning"
    assert found.output[0].encrypted_content == "c2VhbGVk"


# --- OpenAI, responses --------------------------------------------------------------------------------
@pytest.fixture
def responses_simulator() -> Iterator[ResponsesSimulator]:
    with ResponsesSimulator() as simulator:
        yield simulator


@pytest.fixture
def responses(responses_simulator: ResponsesSimulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=responses_simulator.base_url, api_key="sk-x", max_retries=0, timeout=10) as client:
        yield client


def test_openais_client_streams_responses(responses: openai.OpenAI, responses_simulator: ResponsesSimulator) -> None:
    thought = responses_simulator.will_think("let me see", "one two", pings=True, newline="\r\n")
    calls = responses_simulator.will_call("look", {"at": "you"})
    thought.calls = calls.calls
    tool: FunctionToolParam = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}
    with responses.responses.stream(model="m", input="hi", tools=[tool]) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert deltas == ["one", " two"]
    assert final.output_text == "one two"
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert final.usage is not None
    assert final.usage.output_tokens == 6


def test_openais_client_reads_a_whole_response_and_a_failure(
    responses: openai.OpenAI, responses_simulator: ResponsesSimulator
) -> None:
    responses_simulator.will_say("one two")
    responses_simulator.will_fail(429, retry_after=3)
    assert responses.responses.create(model="m", input="hi").output_text == "one two"
    with pytest.raises(openai.RateLimitError) as caught:
        responses.responses.create(model="m", input="hi")
    assert caught.value.response.headers["retry-after"] == "3"


# --- Anthropic ----------------------------------------------------------------------------------------
@pytest.fixture
def anthropic_simulator() -> Iterator[AnthropicSimulator]:
    with AnthropicSimulator() as simulator:
        yield simulator


@pytest.fixture
def claude(anthropic_simulator: AnthropicSimulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=anthropic_simulator.base_url, api_key="sk-x", max_retries=0) as client:
        yield client


ANTHROPIC_SAID: list[MessageParam] = [{"role": "user", "content": "hi"}]


def test_anthropics_client_streams(claude: anthropic.Anthropic, anthropic_simulator: AnthropicSimulator) -> None:
    thought = anthropic_simulator.will_think("let me see", "one two", pings=True, newline="\r\n")
    thought.calls = anthropic_simulator.will_call("look", {"at": "you"}).calls
    tool: ToolParam = {"name": "look", "input_schema": SCHEMA}
    with claude.messages.stream(model="m", max_tokens=9, messages=ANTHROPIC_SAID, tools=[tool]) as stream:
        assert list(stream.text_stream) == ["one", " two"]
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    assert final.content[-1].type == "tool_use"
    assert final.content[-1].input == {"at": "you"}
    assert (final.stop_reason, final.usage.output_tokens) == ("tool_use", 6)


def test_anthropics_client_reads_a_whole_answer_and_a_failure(
    claude: anthropic.Anthropic, anthropic_simulator: AnthropicSimulator
) -> None:
    anthropic_simulator.will_say("one two")
    anthropic_simulator.will_fail(429, retry_after=3)
    [block] = claude.messages.create(model="m", max_tokens=9, messages=ANTHROPIC_SAID).content
    assert block.type == "text"
    assert block.text == "one two"
    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(model="m", max_tokens=9, messages=ANTHROPIC_SAID)
    assert caught.value.response.headers["retry-after"] == "3"


def test_anthropics_client_reads_a_sealed_thought(
    claude: anthropic.Anthropic, anthropic_simulator: AnthropicSimulator
) -> None:
    for _ in range(2):
        anthropic_simulator.will_think("let me see", "one", seal="c2VhbGVk")
    with claude.messages.stream(model="m", max_tokens=9, messages=ANTHROPIC_SAID) as stream:
        streamed = stream.get_final_message()
    whole = claude.messages.create(model="m", max_tokens=9, messages=ANTHROPIC_SAID)
    for message in (streamed, whole):
        block = message.content[0]
        assert block.type == "thinking"
        assert (block.thinking, block.signature) == ("let me see", "c2VhbGVk")


def test_anthropics_client_raises_on_an_error_in_the_stream(
    claude: anthropic.Anthropic, anthropic_simulator: AnthropicSimulator
) -> None:
    anthropic_simulator.will_say("one two", cut_after=1, error="overloaded_error")
    with (
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(model="m", max_tokens=9, messages=ANTHROPIC_SAID) as stream,
    ):
        stream.get_final_message()


# --- Gemini -------------------------------------------------------------------------------------------
@pytest.fixture
def gemini_simulator() -> Iterator[GeminiSimulator]:
    with GeminiSimulator() as simulator:
        yield simulator


@pytest.fixture
def google(gemini_simulator: GeminiSimulator) -> Iterator[genai.Client]:
    with httpx.Client() as http:
        options = genai_types.HttpOptions(base_url=gemini_simulator.base_url, httpx_client=http)
        yield genai.Client(api_key="sk-x", http_options=options)


def test_googles_client_streams(google: genai.Client, gemini_simulator: GeminiSimulator) -> None:
    # No pings: this client does not know comments in an event stream.
    gemini_simulator.will_think("let me see", "one two", newline="\r\n")
    chunks = list(google.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
    parts = [part for chunk in chunks for part in (chunk.parts or [])]
    assert [part.text for part in parts if not part.thought] == ["one", " two"]
    assert "".join(part.text or "" for part in parts if part.thought) == "let me see"
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.candidates_token_count == 5


def test_googles_client_reads_a_whole_answer_with_a_call_and_a_failure(
    google: genai.Client, gemini_simulator: GeminiSimulator
) -> None:
    gemini_simulator.will_call("look", {"at": "you"})
    gemini_simulator.will_fail(400)
    answer = google.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert answer.function_calls is not None
    assert (answer.function_calls[0].name, answer.function_calls[0].args) == ("look", {"at": "you"})
    with pytest.raises(genai_errors.ClientError):
        google.models.generate_content(model="gemini-2.5-flash", contents="hi")


def test_googles_client_reads_a_sealed_thought_and_raises_on_a_failure_of_a_stream(
    google: genai.Client, gemini_simulator: GeminiSimulator
) -> None:
    gemini_simulator.will_call("look", {"at": "you"}, seal="c2VhbGVk")
    gemini_simulator.will_fail(503)
    [call, *_] = [
        part
        for chunk in google.models.generate_content_stream(model="gemini-3-pro-preview", contents="hi")
        for part in (chunk.parts or [])
    ]
    assert call.thought_signature == b"sealed"
    with pytest.raises(genai_errors.ServerError):
        list(google.models.generate_content_stream(model="gemini-3-pro-preview", contents="hi"))

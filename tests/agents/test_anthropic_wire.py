"""`/v1/messages`, judged by the official `anthropic` client."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from agents.models import Agent, Maturity, Run
from atom.ground.principal import Principal
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
MODEL = "openai/gpt-4o-mini"
USER: Any = [{"role": "user", "content": "hi"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server, api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def ask(client: anthropic.Anthropic, **given: Any) -> Message:
    found = client.messages.create(**{"model": MODEL, "max_tokens": 100, "messages": USER, **given})
    assert isinstance(found, Message)
    return found


def test_the_official_client_gets_a_message(client: anthropic.Anthropic, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("Hello there")
    answer = ask(client)
    assert answer.id.startswith("msg_")
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == ("message", "assistant", MODEL, "end_turn")
    assert answer.content == [TextBlock(type="text", text="Hello there", citations=None)]
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def test_the_official_client_streams_a_message(client: anthropic.Anthropic, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three")
    with client.messages.stream(model=MODEL, max_tokens=100, messages=USER) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert pieces == ["one", " two", " three"]
    assert [block.type for block in whole.content] == ["text"]
    assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 3)
    assert whole.usage.input_tokens > 0


def test_the_events_of_a_stream_stand_in_anthropics_order(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_think("hm", "yes")
    seen = [event.type for event in client.messages.create(model=MODEL, max_tokens=9, messages=USER, stream=True)]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert seen == ["message_start", *block, *block, "message_delta", "message_stop"]


def test_frames_are_named_and_begin_with_a_ping_after_the_start(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("a b")
    body = {"model": MODEL, "max_tokens": 9, "messages": USER, "stream": True}
    with httpx.stream("POST", f"{server}/v1/messages", json=body, headers={"x-api-key": token_of(alice)}) as answer:
        frames = answer.read().decode().strip().split("\n\n")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-atom-provider"] == "openai"
    assert Run.objects.filter(pk=answer.headers["x-atom-run"]).exists()
    assert [frame.split("\n")[0] for frame in frames[:2]] == ["event: message_start", "event: ping"]
    assert all(frame.startswith("event: ") and "\ndata: {" in frame for frame in frames)


def test_thinking_is_a_block_before_the_text(client: anthropic.Anthropic, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_think("let me see", "done")
    thought, said = ask(client, thinking={"type": "enabled", "budget_tokens": 2048}, max_tokens=9000).content
    assert isinstance(thought, ThinkingBlock)
    assert isinstance(said, TextBlock)
    assert (thought.thinking, said.text) == ("let me see", "done")


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tool_call_goes_to_the_client_and_its_result_back(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator, is_stream: bool
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"}, say="Let me look.")
    if is_stream:
        with client.messages.stream(model=MODEL, max_tokens=99, messages=USER, tools=[WEATHER]) as stream:
            answer = Message.model_validate(stream.get_final_message().model_dump())
    else:
        answer = ask(client, tools=[WEATHER], tool_choice={"type": "any"})
        assert openai_simulator.requests[-1].json["tool_choice"] == "required"
    said, call = answer.content
    assert isinstance(said, TextBlock)
    assert isinstance(call, ToolUseBlock)
    assert (said.text, call.name, call.input, answer.stop_reason) == (
        "Let me look.",
        "get_weather",
        {"city": "Paris"},
        "tool_use",
    )
    openai_simulator.will_say("Sunny")
    back: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21 °C"}]}
    turn: Any = {"role": "assistant", "content": [block.model_dump() for block in answer.content]}
    assert ask(client, messages=[*USER, turn, back], tools=[WEATHER]).stop_reason == "end_turn"
    *_, called, result = openai_simulator.requests[-1].json["messages"]
    assert called["tool_calls"][0]["id"] == call.id
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", call.id, "21 °C")


def test_a_refused_tool_call_is_text_that_names_the_tool_and_none_of_its_arguments(
    client: anthropic.Anthropic, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper", maturity=Maturity.STUDENT)
    openai_simulator.will_call("delete_record", {"id": "secret-7"})
    answer = ask(client, model="agent/helper", tools=[{**WEATHER, "name": "delete_record"}])
    (said,) = answer.content
    assert isinstance(said, TextBlock)
    assert "delete_record" in said.text
    assert "secret-7" not in said.text
    assert answer.stop_reason == "end_turn"


def test_everything_of_a_request_reaches_the_model(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    ask(
        client,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}],
        stop_sequences=["END"],
        extra_body={"temperature": 0},
        metadata={"user_id": "u-1"},
    )
    sent = openai_simulator.requests[-1].json
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert (sent["stop"], sent["temperature"], sent["user"]) == (["END"], 0, "u-1")
    assert 100 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_a_limit_that_was_reached_is_max_tokens(client: anthropic.Anthropic, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("cut off", finish="length")
    assert ask(client).stop_reason == "max_tokens"


def test_tokens_are_counted_without_calling_anybody(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    short = client.messages.count_tokens(model=MODEL, messages=USER).input_tokens
    longer = client.messages.count_tokens(model=MODEL, messages=USER, system="word " * 100, tools=[WEATHER])
    assert longer.input_tokens - short > 100
    assert openai_simulator.requests == []


# --- Errors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [*USER, {"role": "robot", "content": "x"}]}, "messages.1.role"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0.type"),
        ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "whatever"}}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"system": [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]}, "system"),
    ],
)
def test_an_invalid_request_names_the_place_in_anthropics_shape(
    client: anthropic.Anthropic, given: dict[str, Any], place: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, **given)
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert body["error"]["message"].startswith(place)


def test_a_wrong_key_is_an_authentication_error(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(client.with_options(api_key="sk-atom-wrong"))
    body: Any = caught.value.body
    assert body["error"]["type"] == "authentication_error"


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client, model="agent/nobody")
    body: Any = caught.value.body
    assert (body["error"]["type"], body["error"]["code"]) == ("not_found_error", "model_not_found")


def test_a_limited_rate_is_a_rate_limit_error_that_says_when(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(429, retry_after=7)
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-atom-run"]


def test_a_failing_provider_is_an_internal_server_error_in_our_words(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(500)
    openai_simulator.will_fail(500)
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(client)
    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["type"]) == (502, "api_error")
    assert "openai" in body["error"]["message"]


def test_nobody_to_ask_is_an_overloaded_error(client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(client)
    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["type"]) == (503, "overloaded_error")


def test_the_official_client_repeats_what_may_be_repeated(
    client: anthropic.Anthropic, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(500)
    openai_simulator.will_fail(500)
    openai_simulator.will_say("at last")
    said = ask(client.with_options(max_retries=2)).content[0]
    assert isinstance(said, TextBlock)
    assert said.text == "at last"


def test_a_stream_that_breaks_off_raises(client: anthropic.Anthropic, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three four five", cut_after=2)
    said: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model=MODEL, max_tokens=99, messages=USER) as stream,
    ):
        said.extend(stream.text_stream)
    body: Any = caught.value.body
    assert "".join(said) == "one two"
    assert body["error"]["type"] == "api_error"


def test_a_body_that_is_too_large_is_refused_in_anthropics_shape(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    answer = httpx.post(f"{server}/v1/messages", content=b"x" * 30_000_000, headers=bearer(token_of(alice)))
    assert answer.status_code == 413
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", "request_too_large")


def test_mallory_cannot_use_alices_agent(
    client: anthropic.Anthropic, mallory: Principal, make_agent: MakeAgent, token_of: Callable[[Principal], str]
) -> None:
    make_agent("helper")
    hers = client.with_options(api_key=token_of(mallory))
    for call in (lambda: ask(hers, model="agent/helper"), lambda: hers.models.retrieve("agent/helper")):
        with pytest.raises(anthropic.NotFoundError):
            call()


# --- Models ---------------------------------------------------------------------------------------------
def test_the_official_client_lists_models_and_reads_one(client: anthropic.Anthropic, make_agent: MakeAgent) -> None:
    make_agent("helper")
    page = client.models.list()
    found = [model.id for model in page.data]
    assert {"agent/helper", MODEL} <= set(found)
    assert (page.has_more, page.first_id, page.last_id) == (False, found[0], found[-1])
    assert client.models.retrieve("agent/helper").display_name == "agent/helper"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("agent/nobody")
    body: Any = caught.value.body
    assert body["error"]["type"] == "not_found_error"


def test_command_line_agents_get_models_in_anthropics_shape(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    key = {"x-api-key": token_of(alice)}
    theirs = httpx.get(f"{server}/v1/models", headers={**key, "User-Agent": "claude-cli/2.0 (external, cli)"}).json()
    others = httpx.get(f"{server}/v1/models", headers=key).json()
    assert theirs.keys() == {"data", "has_more", "first_id", "last_id"}
    assert others["object"] == "list"
    assert [row["id"] for row in theirs["data"]] == [row["id"] for row in others["data"]]

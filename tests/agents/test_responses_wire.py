"""`/v1/responses` over HTTP, judged by the official `openai` client."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest
import redis
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseOutputMessage, ResponseReasoningItem

from agents.models import Agent, Run, RunStatus, StoredResponse
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from tests.events import bearer, sse_events
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
MODEL = "openai/gpt-4o-mini"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def ended(client: openai.OpenAI, response_id: str) -> Response:
    """The response, once it is no longer in progress."""
    deadline = time.monotonic() + 20
    while (found := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def asked(simulator: OpenAISimulator) -> list[tuple[str, Any]]:
    """The newest conversation that reached the model."""
    return [(message["role"], message["content"]) for message in simulator.requests[-1].json["messages"]]


# --- One response -----------------------------------------------------------------------------------------
def test_the_official_client_gets_a_response(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("Hello there")
    answer = client.responses.create(model=MODEL, input="hi", instructions="Be brief.", metadata={"a": "b"})
    assert answer.id.startswith("resp_")
    assert (answer.object, answer.status, answer.output_text) == ("response", "completed", "Hello there")
    assert (answer.model, answer.instructions, answer.metadata) == (MODEL, "Be brief.", {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert asked(openai_simulator) == [("system", "Be brief."), ("user", "hi")]


def test_the_official_client_streams_typed_events_with_their_numbers(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_think("hm", "one two")
    events = list(client.responses.create(model=MODEL, input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    thought, said = last.response.output
    assert isinstance(thought, ResponseReasoningItem)
    assert isinstance(said, ResponseOutputMessage)
    assert (thought.summary[0].text, last.response.output_text) == ("hm", "one two")


def test_the_clients_stream_helper_puts_the_response_together(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"}, say="Let me look.")
    with client.responses.stream(model=MODEL, input="hi", tools=[WEATHER]) as stream:
        whole = stream.get_final_response()
    said, call = whole.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (whole.output_text, said.type) == ("Let me look.", "message")
    assert call.arguments == '{"city": "Paris"}'


def test_a_function_call_goes_to_the_client_and_its_output_back(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"})
    first = client.responses.create(model=MODEL, input="weather?", tools=[WEATHER], tool_choice="required")
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')
    openai_simulator.will_say("Sunny")
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "21 °C"}
    second = client.responses.create(model=MODEL, input=[output], previous_response_id=first.id, tools=[WEATHER])
    assert (second.output_text, second.previous_response_id) == ("Sunny", first.id)
    user, called, result = openai_simulator.requests[-1].json["messages"]
    assert user == {"role": "user", "content": "weather?"}
    assert called["tool_calls"][0]["id"] == call.call_id
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", call.call_id, "21 °C")


def test_everything_of_a_request_reaches_the_model(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    parts: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
    ]
    schema: Any = {"type": "object", "properties": {"a": {"type": "string"}}}
    client.responses.create(
        model=MODEL,
        input=[{"role": "user", "content": parts}],
        temperature=0,
        max_output_tokens=77,
        text={"format": {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}},
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
    )
    sent = openai_simulator.requests[-1].json
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert sent["temperature"] == 0
    assert 77 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert sent["response_format"]["json_schema"] == {"name": "thing", "schema": schema, "strict": True}
    assert sent["tool_choice"]["function"]["name"] == "get_weather"


def test_a_limit_that_was_reached_makes_the_response_incomplete_also_later(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    openai_simulator.will_say("cut off", finish="length")
    answer = client.responses.create(model=MODEL, input="hi")
    store.flushall()
    for found in (answer, client.responses.retrieve(answer.id)):
        assert found.status == "incomplete"
        assert found.incomplete_details is not None
        assert found.incomplete_details.reason == "max_output_tokens"


# --- Conversations ------------------------------------------------------------------------------------------
def test_a_conversation_goes_on_by_response_id_and_can_branch(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    for text in ("first", "second", "other"):
        openai_simulator.will_say(text)
    one = client.responses.create(model=MODEL, input="a", instructions="Only for this turn.")
    two = client.responses.create(model=MODEL, input="b", previous_response_id=one.id)
    assert asked(openai_simulator) == [("user", "a"), ("assistant", "first"), ("user", "b")]
    client.responses.create(model=MODEL, input="c", previous_response_id=one.id)
    assert asked(openai_simulator) == [("user", "a"), ("assistant", "first"), ("user", "c")]
    client.responses.create(model=MODEL, input="d", previous_response_id=two.id)
    assert [content for _, content in asked(openai_simulator)] == ["a", "first", "b", "second", "d"]


def test_a_call_that_was_never_answered_does_not_spoil_the_conversation(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"})
    one = client.responses.create(model=MODEL, input="weather?", tools=[WEATHER])
    client.responses.create(model=MODEL, input="never mind", previous_response_id=one.id)
    assert [role for role, _ in asked(openai_simulator)] == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize("given", ["resp_00000000000000000000000000000000", "nonsense", "resp_x"])
def test_an_unknown_previous_response_is_not_found(client: openai.OpenAI, given: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model=MODEL, input="hi", previous_response_id=given)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


def test_a_response_that_was_not_stored_is_not_there_later(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="hi", store=False)
    assert not StoredResponse.objects.exists()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=MODEL, input="hi", previous_response_id=answer.id)


def test_an_agent_answers_with_its_own_prompt(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper", system_prompt="You help.")
    client.responses.create(model="agent/helper", input="hi")
    assert asked(openai_simulator)[0] == ("system", "You help.")


# --- Coming back --------------------------------------------------------------------------------------------
def test_a_response_is_the_same_when_retrieved_also_after_the_stream_is_gone(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"}, say="Let me look.")
    answer = client.responses.create(model=MODEL, input="hi", tools=[WEATHER])
    assert client.responses.retrieve(answer.id) == answer
    store.flushall()
    assert client.responses.retrieve(answer.id) == answer


def test_a_stream_is_taken_up_again_at_any_event(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_think("let me see", "one two three")
    events = list(client.responses.create(model=MODEL, input="hi", stream=True))
    first = events[0]
    assert first.type == "response.created"
    for after in range(len(events)):
        later = list(client.responses.retrieve(first.response.id, stream=True, starting_after=after))
        assert later == events[after + 1 :]


def test_a_stream_whose_window_has_passed_is_told_from_the_database(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    openai_simulator.will_say("one two")
    answer = client.responses.create(model=MODEL, input="hi")
    store.flushall()
    events = list(client.responses.retrieve(answer.id, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "one two"


def test_a_broken_connection_loses_nothing(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three four five six", delay_s=0.05)
    seen = []
    with client.responses.create(model=MODEL, input="hi", stream=True) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    first = seen[0]
    assert first.type == "response.created"
    rest = list(client.responses.retrieve(first.response.id, stream=True, starting_after=seen[-1].sequence_number))
    assert [event.sequence_number for event in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "one two three four five six"


@pytest.mark.parametrize("cursor", ["-1", "x", "100000", "1.5", "٣"])
def test_a_cursor_that_is_none_is_refused(
    client: openai.OpenAI, server: str, alice: Principal, token_of: Callable[[Principal], str], cursor: str
) -> None:
    answer = client.responses.create(model=MODEL, input="hi")
    address = f"{server}/v1/responses/{answer.id}"
    query = {"stream": "true", "starting_after": cursor}
    found = httpx.get(address, params=query, headers=bearer(token_of(alice)))
    assert (found.status_code, found.json()["error"]["param"]) == (400, "starting_after")


# --- In the background ----------------------------------------------------------------------------------------
def test_a_response_in_the_background_is_answered_at_once_and_read_later(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("at last", first_delay_s=0.3)
    begun = client.responses.create(model=MODEL, input="hi", background=True)
    assert (begun.status, begun.background, begun.output) == ("in_progress", True, [])
    found = ended(client, begun.id)
    assert (found.status, found.output_text) == ("completed", "at last")


def test_a_failure_in_the_background_is_told_when_asked_for(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(400)
    found = ended(client, client.responses.create(model=MODEL, input="hi", background=True).id)
    assert found.status == "failed"
    assert found.error is not None
    assert str(found.error.code) == "provider_refused_request"


def test_a_background_response_must_be_stored(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="hi", background=True, store=False)
    assert caught.value.param == "background"


def test_a_response_can_be_cancelled_and_cancelling_again_changes_nothing(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four", first_delay_s=30)
    begun = client.responses.create(model=MODEL, input="hi", background=True)
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert Run.objects.get().status == RunStatus.CANCELLED


def test_a_response_in_progress_cannot_be_gone_on_from_or_deleted(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four", first_delay_s=30)
    begun = client.responses.create(model=MODEL, input="hi", background=True)
    with pytest.raises(openai.ConflictError):
        client.responses.create(model=MODEL, input="and?", previous_response_id=begun.id)
    with pytest.raises(openai.ConflictError):
        client.responses.delete(begun.id)
    client.responses.cancel(begun.id)


# --- Deleting and items -----------------------------------------------------------------------------------------
def test_a_deleted_response_is_gone_and_so_is_what_went_on_from_it(client: openai.OpenAI) -> None:
    one = client.responses.create(model=MODEL, input="a")
    two = client.responses.create(model=MODEL, input="b", previous_response_id=one.id)
    client.responses.delete(one.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(one.id)
    assert client.responses.retrieve(two.id).id == two.id
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model=MODEL, input="c", previous_response_id=two.id)
    assert caught.value.code == "previous_response_not_found"
    assert AuditEntry.objects.filter(event="response.deleted").count() == 1


def test_input_items_are_listed_newest_first_in_pages(client: openai.OpenAI) -> None:
    said: Any = [{"role": "user", "content": text} for text in ("a", "b", "c")]
    answer = client.responses.create(model=MODEL, input=said)
    page = client.responses.input_items.list(answer.id, limit=2)
    items: Any = list(page)
    assert [item.content[0].text for item in items] == ["c", "b", "a"]
    assert len(page.data) == 2
    oldest: Any = client.responses.input_items.list(answer.id, order="asc").data[0]
    assert (oldest.type, oldest.role, oldest.content[0].text) == ("message", "user", "a")


# --- Errors ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": []}, "messages"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input.0.content.0"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": 3}]}, "input.0.output"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
    ],
)
def test_an_invalid_request_says_which_parameter(client: openai.OpenAI, given: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/responses", cast_to=object, body={"model": MODEL, "input": "hi", **given})
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)


def test_errors_before_the_first_event_are_http_errors(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-atom-wrong").responses.create(model=MODEL, input="hi")
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="agent/nobody", input="hi", stream=stream)
        assert missing.value.code == "model_not_found"
        openai_simulator.will_fail(429, retry_after=1)
        with pytest.raises(openai.RateLimitError) as limited:
            client.responses.create(model=MODEL, input="hi", stream=stream)
        assert limited.value.response.headers["x-atom-run"]
        time.sleep(1.1)


def test_a_stream_that_breaks_off_tells_response_failed_and_raises(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five", cut_after=2)
    seen: list[object] = []
    with pytest.raises(openai.APIError):
        seen.extend(client.responses.create(model=MODEL, input="hi", stream=True))
    stored = StoredResponse.objects.get()
    found = client.responses.retrieve(f"resp_{stored.id.hex}")
    assert (found.status, found.output_text) == ("failed", "one two")


def test_a_failed_stream_ends_with_response_failed_and_then_the_error(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five", cut_after=2)
    body = {"model": MODEL, "input": "hi", "stream": True}
    with httpx.stream("POST", f"{server}/v1/responses", json=body, headers=bearer(token_of(alice))) as answer:
        *_, failed, error = sse_events(answer)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert (error["type"], error["code"]) == ("error", failed["response"]["error"]["code"])
    assert error["sequence_number"] == failed["sequence_number"] + 1


def test_a_get_without_an_upgrade_is_told_to_upgrade(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    found = httpx.get(f"{server}/v1/responses", headers=bearer(token_of(alice)))
    assert (found.status_code, found.headers["upgrade"]) == (426, "websocket")


def test_mallory_finds_none_of_alices_responses(
    client: openai.OpenAI, mallory: Principal, token_of: Callable[[Principal], str]
) -> None:
    answer = client.responses.create(model=MODEL, input="hi")
    hers = client.with_options(api_key=token_of(mallory))
    attempts: list[Callable[[], object]] = [
        lambda: hers.responses.retrieve(answer.id),
        lambda: list(hers.responses.retrieve(answer.id, stream=True)),
        lambda: hers.responses.cancel(answer.id),
        lambda: hers.responses.delete(answer.id),
        lambda: hers.responses.input_items.list(answer.id),
        lambda: hers.responses.create(model=MODEL, input="hi", previous_response_id=answer.id),
    ]
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert client.responses.retrieve(answer.id).status == "completed"


def test_a_stored_response_keeps_the_time_of_its_beginning(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="hi")
    StoredResponse.objects.update(created_at=StoredResponse.objects.get().created_at - timedelta(days=1))
    assert client.responses.retrieve(answer.id).created_at == answer.created_at - 86_400

"""The openai_chat wire over real sockets, against a simulated provider."""

import asyncio
import json
import time
from dataclasses import replace

import pytest

from atom.ground.http import GuardedClient
from llm.errors import (
    BadResponse,
    ConnectFailed,
    KeyRefused,
    LLMError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
)
from llm.events import Event, Finished, Meter, TextDelta, ThinkingDelta, ToolCallReady, Usage
from llm.messages import Endpoint, ToolCall
from llm.wires import WIRES, openai_chat
from tests.llm.conftest import SECRET, EventsOf, asking, text_of
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending, Script


def chunk(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


STOP = chunk({}, "stop")
DONE = b"data: [DONE]\n\n"


# --- Success ------------------------------------------------------------------------------------------
async def test_token_streaming_openai_comes_word_by_word_and_finishes_once(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three")
    *deltas, last = await events_of()
    assert deltas == [TextDelta("one"), TextDelta(" two"), TextDelta(" three")]
    assert isinstance(last, Finished)
    assert last.reason == "stop"
    assert last.usage.output_tokens == 3


async def test_the_wire_is_found_by_its_name() -> None:
    assert WIRES["openai_chat"] is openai_chat.stream


async def test_the_key_goes_out_as_a_bearer_token(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    await events_of()
    [seen] = openai_simulator.requests
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.path == "/v1/chat/completions"


async def test_without_a_secret_no_authorization_is_sent(
    events_of: EventsOf, endpoint: Endpoint, openai_simulator: OpenAISimulator
) -> None:
    await events_of(at=replace(endpoint, secret=""))
    assert "authorization" not in openai_simulator.requests[0].headers


async def test_chunks_are_not_buffered(
    upstream: GuardedClient, endpoint: Endpoint, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("a b c d", delay_s=0.1)
    began, at = time.monotonic(), []
    async for event in openai_chat.stream(asking(), endpoint, upstream, Meter()):
        if isinstance(event, TextDelta):
            at.append(time.monotonic() - began)
    # Four words 0.1 s apart cannot all come together.
    assert at[-1] - at[0] > 0.15


async def test_thoughts_come_as_thinking(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_think("let me see", "yes")
    events = await events_of()
    assert events[:3] == [ThinkingDelta("let"), ThinkingDelta(" me"), ThinkingDelta(" see")]
    assert text_of(events) == "yes"


async def test_reasoning_under_its_other_name_and_a_refusal(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_send(chunk({"reasoning": "hm"}), chunk({"refusal": "I cannot."}), STOP, DONE)
    assert (await events_of())[:2] == [ThinkingDelta("hm"), TextDelta("I cannot.")]


async def test_tool_calls_in_pieces_are_put_together(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_call_all([("first", {"id": 7}), ("second", '{"text": "ä ö"}')], say="Wait")
    events = await events_of()
    calls = [event.call for event in events if isinstance(event, ToolCallReady)]
    assert [(call.name, call.arguments) for call in calls] == [("first", '{"id": 7}'), ("second", '{"text": "ä ö"}')]
    assert len({call.id for call in calls}) == 2
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


async def test_calls_without_index_or_id_are_told_apart(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    one = {"id": "c1", "function": {"name": "one", "arguments": "{"}}
    more = {"function": {"arguments": "}"}}
    two = {"id": "c2", "function": {"name": "two", "arguments": {"a": 1}}}
    openai_simulator.will_send(*[chunk({"tool_calls": [piece]}) for piece in (one, more, two)], STOP, DONE)
    events = await events_of()
    assert events[:2] == [ToolCallReady(ToolCall("c1", "one", "{}")), ToolCallReady(ToolCall("c2", "two", '{"a":1}'))]
    # It said "stop", but there are calls.
    assert events[-1] == Finished("tool_calls", Usage())


async def test_a_call_without_an_id_gets_one(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_send(chunk({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}), STOP)
    [ready, _] = await events_of()
    assert isinstance(ready, ToolCallReady)
    assert ready.call.id.startswith("call_")


@pytest.mark.parametrize(
    ("said", "meant"),
    [("length", "length"), ("content_filter", "content_filter"), ("function_call", "tool_calls"), ("eos", "stop")],
)
async def test_finish_reasons(events_of: EventsOf, openai_simulator: OpenAISimulator, said: str, meant: str) -> None:
    openai_simulator.will_say("x", finish=said)
    last = (await events_of())[-1]
    assert isinstance(last, Finished)
    assert last.reason == meant


@pytest.mark.parametrize("with_finish", [True, False])
async def test_usage_accumulates_wherever_it_comes(
    events_of: EventsOf, openai_simulator: OpenAISimulator, with_finish: bool
) -> None:
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    openai_simulator.will_say("x", usage=usage, usage_with_finish=with_finish)
    assert (await events_of())[-1] == Finished("stop", Usage(11, 5, 3, 2))


async def test_usage_under_other_names(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("x", usage={"prompt_tokens": 4, "prompt_cache_hit_tokens": 2})
    openai_simulator.will_send(chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 9}}), DONE)
    assert (await events_of())[-1] == Finished("stop", Usage(4, 0, 2, 0))
    assert (await events_of())[-1] == Finished("stop", Usage(9))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": -1},
        {"prompt_tokens": "7", "completion_tokens": True},
    ],
)
async def test_usage_absent_zero_or_nonsense_is_zero(
    events_of: EventsOf, openai_simulator: OpenAISimulator, usage: dict[str, object] | None
) -> None:
    openai_simulator.will_say("x", usage=usage)
    assert (await events_of())[-1] == Finished("stop", Usage())


# --- Server-sent events as they really come -----------------------------------------------------------
async def test_crlf_and_comment_pings_survive(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two", newline="\r\n", pings=True)
    assert text_of(await events_of()) == "one two"


async def test_a_one_megabyte_line_survives(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("x" * 1_000_000)
    assert len(text_of(await events_of())) == 1_000_000


async def test_a_multibyte_character_split_over_packets_survives(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    whole = chunk({"content": "grün 🌱"}) + STOP + DONE
    openai_simulator.will_send(*[whole[place : place + 1] for place in range(len(whole))])
    assert text_of(await events_of()) == "grün 🌱"


async def test_utf8_is_read_whatever_charset_the_header_says(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    script = openai_simulator.will_send(chunk({"content": "ü"}), STOP, DONE)
    script.headers["Content-Type"] = "text/event-stream; charset=latin-1"
    assert text_of(await events_of()) == "ü"


async def test_special_characters_in_the_prompt_arrive_as_they_are(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    prompt = 'quote " backslash \\ newline \n tab \t 🌱 \u2028 </script>'
    await events_of(asking(prompt))
    assert openai_simulator.requests[0].json["messages"][0]["content"] == prompt


@pytest.mark.parametrize("tail", [[STOP], [STOP, b'data: {"choices":[],"usage":{"prompt_tokens":2}}\n\n']])
async def test_a_stream_that_ends_after_its_finish_without_done_is_whole(
    events_of: EventsOf, openai_simulator: OpenAISimulator, tail: list[bytes]
) -> None:
    openai_simulator.will_send(chunk({"content": "hi"}), *tail)
    assert text_of(await events_of()) == "hi"


async def test_a_connection_lost_after_the_finish_loses_nothing(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_send(chunk({"content": "hi"}), STOP, ending=Ending.RST, delay_s=0.05)
    assert (await events_of())[-1] == Finished("stop", Usage())


async def test_empty_events_are_skipped(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_send(
        b"event: ping\n\n", b"data:\n\n", b'data: {"choices":null}\n\n', chunk({"content": "a"}), STOP
    )
    assert text_of(await events_of()) == "a"


# --- Failures -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "kind", "ours"),
    [
        (400, RequestRefused, 400),
        (404, RequestRefused, 404),
        (413, RequestRefused, 413),
        (422, RequestRefused, 422),
        (401, KeyRefused, 502),
        (402, KeyRefused, 502),
        (403, KeyRefused, 502),
        (408, ProviderFailed, 502),
        (409, ProviderFailed, 502),
        (425, ProviderFailed, 502),
        (429, RateLimited, 429),
        (500, ProviderFailed, 502),
        (502, ProviderFailed, 502),
        (504, ProviderFailed, 502),
        (302, BadResponse, 502),
        (204, BadResponse, 502),
    ],
)
async def test_model_service_failure_is_told_by_status_in_our_words(
    events_of: EventsOf, openai_simulator: OpenAISimulator, status: int, kind: type[LLMError], ours: int
) -> None:
    openai_simulator.will_fail(status, body='{"error": {"message": "theirs, with your key {key}"}}')
    with pytest.raises(kind) as caught:
        await events_of()
    assert caught.value.status == ours
    assert "openai" in caught.value.message
    assert "theirs" not in caught.value.message
    assert SECRET not in repr(caught.value)
    assert SECRET not in str(caught.value.__cause__)


async def test_a_model_that_the_provider_does_not_know_is_model_not_found(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(404)
    with pytest.raises(RequestRefused) as caught:
        await events_of()
    assert (caught.value.code, caught.value.retryable) == ("model_not_found", False)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (7, 7),
        ("1.2", 2),
        ("-3", 0),
        ("999999999", 86_400),
        ("nan", None),
        ("soon", None),
        (None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
    ],
)
async def test_a_rate_limit_says_when_to_come_back(
    events_of: EventsOf, openai_simulator: OpenAISimulator, given: float | str | None, seconds: int | None
) -> None:
    openai_simulator.will_fail(429, retry_after=given)
    with pytest.raises(RateLimited) as caught:
        await events_of()
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([b"<html>Welcome</html>"], id="html"),
        pytest.param([], id="empty"),
        pytest.param([b"data: not json\n\n"], id="not-json"),
        pytest.param([b"data: [1]\n\n"], id="a-list"),
        pytest.param([b'data: {"choices": 7}\n\n'], id="choices-a-number"),
        pytest.param([b'data: {"choices": [7]}\n\n'], id="choice-a-number"),
        pytest.param([chunk({"content": 7})], id="content-a-number"),
        pytest.param([b'data: {"usage": 7}\n\n'], id="usage-a-number"),
        pytest.param([chunk({"tool_calls": [{"function": {"arguments": "{}"}}]}), STOP, DONE], id="nameless-call"),
        pytest.param([b"data: [DONE]\n\n"], id="only-done"),
        pytest.param([chunk({"content": "hi"}), DONE], id="no-finish"),
    ],
)
async def test_what_is_not_the_wires_language_is_a_bad_response(
    events_of: EventsOf, openai_simulator: OpenAISimulator, raw: list[bytes]
) -> None:
    openai_simulator.will_send(*raw)
    with pytest.raises(BadResponse):
        await events_of()


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_html_with_200_is_a_bad_response(
    events_of: EventsOf, openai_simulator: OpenAISimulator, kind: str
) -> None:
    openai_simulator.will(Script(body="<html>Sign in to the hotel's network</html>", content_type=kind))
    with pytest.raises(BadResponse, match="not an event stream"):
        await events_of()


@pytest.mark.parametrize("ending", [Ending.EOF, Ending.RST])
async def test_error_while_streaming_keeps_what_came_before_the_connection_closed(
    events_of: EventsOf, openai_simulator: OpenAISimulator, ending: Ending
) -> None:
    openai_simulator.will_say("one two three", cut_after=2, ending=ending, delay_s=0.05)
    seen: list[Event] = []
    with pytest.raises(BadResponse, match="broke off"):
        await events_of(seen=seen)
    assert text_of(seen) == "one two"


async def test_an_error_inside_the_stream_is_the_providers_failure(
    events_of: EventsOf, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_send(chunk({"content": "a"}), b'data: {"error": {"message": "their words"}}\n\n')
    seen: list[Event] = []
    with pytest.raises(ProviderFailed) as caught:
        await events_of(seen=seen)
    assert seen == [TextDelta("a")]
    assert "their words" not in caught.value.message


async def test_a_refused_connection_is_connect_failed(events_of: EventsOf, endpoint: Endpoint) -> None:
    with pytest.raises(ConnectFailed, match="openai could not be reached"):
        await events_of(at=replace(endpoint, base_url="http://127.0.0.1:1/v1"))


async def test_a_connection_dropped_before_the_headers_is_connect_failed(
    events_of: EventsOf, openai_simulator: OpenAISimulator, endpoint: Endpoint
) -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as dropping:
        port = dropping.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed):
            await events_of(at=replace(endpoint, base_url=f"http://127.0.0.1:{port}/v1"))


async def test_a_forbidden_address_is_connect_failed_and_says_so(events_of: EventsOf, endpoint: Endpoint) -> None:
    with pytest.raises(ConnectFailed, match="may not be called"):
        await events_of(at=replace(endpoint, base_url="http://169.254.169.254/v1"))


async def test_a_base_url_that_is_none_is_connect_failed(events_of: EventsOf, endpoint: Endpoint) -> None:
    with pytest.raises(ConnectFailed, match="not a URL"):
        await events_of(at=replace(endpoint, base_url="http://example.com:port"))

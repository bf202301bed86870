"""What every wire must do, run over all four with real sockets, each against its own simulated provider."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from atom.ground.http import GuardedClient
from llm.errors import BadResponse, ConnectFailed, KeyRefused, ProviderFailed, RateLimited, RequestRefused, TimedOut
from llm.events import Event, Finished, Meter, TextDelta, ThinkingDelta, ThoughtReady, ToolCallReady, Usage
from llm.messages import Image, Message, Request, Text, Tool, ToolCall, ToolResult
from llm.wires import WHOLE, WIRES
from tests.llm.conftest import SECRET, asking, text_of
from tests.llm.wirekit import KITS, Kit, Talk
from tests.simulators.scripts import Ending, Script, Seen

TOOL = Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
SEAL = "c2VhbGVk"
IMAGE = "data:image/png;base64,iVBORw0KGgo="
BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(params=KITS, ids=lambda kit: kit.wire)
async def talk(request: pytest.FixtureRequest, upstream: GuardedClient) -> AsyncIterator[Talk]:
    kit: Kit = request.param
    with kit.simulator() as simulator:
        yield Talk(kit, simulator, upstream)
        for seen in simulator.requests:
            kit.judge(seen.json)


def finish_of(events: list[Event]) -> Finished:
    assert [event for event in events if isinstance(event, Finished)] == [events[-1]]
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def calls_of(events: list[Event]) -> list[ToolCall]:
    return [event.call for event in events if isinstance(event, ToolCallReady)]


# --- Success ------------------------------------------------------------------------------------------
def test_each_wire_is_here_streamed_and_whole() -> None:
    # The one for models without tools is the chat wire in other words, see test_emulated_tools.
    assert set(WIRES) == set(WHOLE) == {*(kit.wire for kit in KITS), "emulated_tools"}


async def test_text_comes_word_by_word_and_finishes_once(talk: Talk) -> None:
    talk.simulator.will_say("one two three")
    *deltas, last = await talk.events()
    assert deltas == [TextDelta("one"), TextDelta(" two"), TextDelta(" three")]
    assert isinstance(last, Finished)
    assert last.reason == "stop"


async def test_a_whole_answer_has_the_same_events(talk: Talk) -> None:
    talk.simulator.will_think("let me see", "one two three")
    events = await talk.events(streamed=False)
    assert text_of(events) == "one two three"
    assert "".join(event.text for event in events if isinstance(event, ThinkingDelta)) == "let me see"
    assert finish_of(events).reason == "stop"
    assert not talk.simulator.is_streamed(talk.simulator.requests[0])


async def test_chunks_are_not_buffered(talk: Talk) -> None:
    talk.simulator.will_say("a b c d", delay_s=0.1)
    began, at = time.monotonic(), []
    async for event in WIRES[talk.kit.wire](asking(), talk.endpoint(), talk.client, Meter()):
        if isinstance(event, TextDelta):
            at.append(time.monotonic() - began)
    # Four words 0.1 s apart cannot all come together.
    assert at[-1] - at[0] > 0.15


@BOTH
async def test_thoughts_come_as_thinking_before_the_text(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_think("let me", "yes")
    events = await talk.events(streamed=streamed)
    kinds = [type(event) for event in events]
    assert kinds.index(ThinkingDelta) < kinds.index(TextDelta)
    assert text_of(events) == "yes"


@BOTH
async def test_several_tool_calls_are_put_together(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_call_all([("first", {"id": 7}), ("second", {"text": "ä ö", "in": [1]})], say="Wait")
    events = await talk.events(asking(tools=(TOOL,)), streamed=streamed)
    calls = calls_of(events)
    assert [call.name for call in calls] == ["first", "second"]
    assert [json.loads(call.arguments) for call in calls] == [{"id": 7}, {"text": "ä ö", "in": [1]}]
    assert len({call.id for call in calls}) == 2
    assert text_of(events) == "Wait"
    assert finish_of(events).reason == "tool_calls"


@BOTH
async def test_a_call_without_arguments_has_an_empty_object(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_call("now", {})
    [call] = calls_of(await talk.events(asking(tools=(TOOL,)), streamed=streamed))
    assert json.loads(call.arguments) == {}


@BOTH
async def test_an_answer_that_ran_out_of_tokens_says_length(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_say("too long", finish=talk.kit.too_long)
    assert finish_of(await talk.events(streamed=streamed)).reason == "length"


# --- Usage ----------------------------------------------------------------------------------------------
@BOTH
async def test_usage_counts_cached_and_reasoning_tokens(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_say("x", usage=talk.kit.usage(11, 5, 3, 2))
    assert finish_of(await talk.events(streamed=streamed)).usage == Usage(11, 5, 3, 2)


async def test_cumulative_usage_is_not_added_up(talk: Talk) -> None:
    talk.simulator.will_say("one two three four", usage=talk.kit.usage(11, 8, 0, 0), usage_cumulative=True)
    assert finish_of(await talk.events()).usage == Usage(11, 8)


@BOTH
@pytest.mark.parametrize("zero", [True, False], ids=["zero", "absent"])
async def test_usage_zero_or_absent_is_zero(talk: Talk, streamed: bool, zero: bool) -> None:
    talk.simulator.will_say("x", usage=talk.kit.usage(0, 0, 0, 0) if zero else None)
    assert finish_of(await talk.events(streamed=streamed)).usage == Usage()


# --- What goes out ----------------------------------------------------------------------------------------
async def test_the_key_goes_out_in_the_header_of_its_wire_only(talk: Talk) -> None:
    await talk.events()
    headers = talk.simulator.requests[0].headers
    assert headers[talk.kit.key_header] == talk.kit.key_prefix + SECRET
    assert [name for name, value in headers.items() if SECRET in value] == [talk.kit.key_header]
    assert SECRET not in str(talk.simulator.requests[0].query)


async def test_a_base_url_may_end_in_a_slash(talk: Talk) -> None:
    await talk.events(at=talk.endpoint(base_url=f"{talk.simulator.base_url}/"))
    assert "//" not in talk.simulator.requests[0].path


async def test_an_image_arrives_whole_beside_its_text(talk: Talk) -> None:
    message = Message("user", (Text("What is this?"), Image(IMAGE)))
    await talk.events(Request("m", (message,)))
    sent = json.dumps(talk.sent)
    assert "iVBORw0KGgo=" in sent
    assert "image/png" in sent
    assert "What is this?" in sent


async def test_an_image_at_an_address_is_left_to_the_provider(talk: Talk) -> None:
    await talk.events(Request("m", (Message("user", (Image("https://example.com/cat.png"),)),)))
    assert "https://example.com/cat.png" in json.dumps(talk.sent)


async def test_a_schema_for_the_answer_goes_out_as_it_is(talk: Talk) -> None:
    given = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    await talk.events(asking(response_format=given))
    assert json.dumps(SCHEMA) in json.dumps(talk.sent)


async def test_json_without_a_schema_is_asked_for(talk: Talk) -> None:
    await talk.events(asking(response_format={"type": "json_object"}))
    assert "json" in json.dumps(talk.sent).lower()


async def test_a_stop_sequence_ends_the_answer_or_reaches_the_provider(talk: Talk) -> None:
    talk.simulator.will_say("one END two")
    events = await talk.events(asking(stop=("END",)))
    if "END" not in json.dumps(talk.sent):
        assert text_of(events) == "one "
    assert finish_of(events).reason == "stop"


async def test_the_seed_goes_out_where_the_wire_has_one(talk: Talk) -> None:
    await talk.events(asking(seed=0))
    body = {**talk.sent, **talk.sent.get("generationConfig", {})}
    assert body.get("seed") == (0 if talk.kit.has_seed else None)


async def test_an_explicit_zero_stays(talk: Talk) -> None:
    await talk.events(asking(temperature=0, top_p=0))
    body = {**talk.sent, **talk.sent.get("generationConfig", {})}
    assert body["temperature"] == 0
    assert body.get("top_p", body.get("topP")) == 0


async def test_a_conversation_with_tools_goes_out_in_its_order(talk: Talk) -> None:
    messages = (
        Message("system", (Text("SYSTEM"),)),
        Message("user", (Text("FIRST"),)),
        Message("assistant", (Text("SECOND"), ToolCall("c1", "look", '{"at": "THIRD"}'))),
        Message("tool", (ToolResult("c1", "FOURTH"),)),
        Message("user", (Text("FIFTH"),)),
    )
    await talk.events(Request("m", messages, tools=(TOOL,)))
    sent = json.dumps({name: talk.sent.get(name) for name in ("messages", "input", "contents")})
    places = [sent.index(word) for word in ("FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH")]
    assert places == sorted(places)
    assert "SYSTEM" in json.dumps(talk.sent)
    assert "Looks." in json.dumps(talk.sent["tools"])


async def test_special_characters_arrive_as_they_are(talk: Talk) -> None:
    prompt = 'quote " backslash \\ newline \n tab \t 🌱 \u2028 </script>'
    assert text_of(await talk.events(asking(prompt))) == f"You said: {prompt}"


@BOTH
async def test_sealed_thoughts_go_back_with_the_calls_they_led_to(talk: Talk, streamed: bool) -> None:
    provider, model = talk.kit.thinker
    at, talk.simulator.demands_seals = replace(talk.endpoint(), provider=provider), True
    looks: list[tuple[str, dict[str, Any] | str]] = [("look", {"at": "me"}), ("look", {"at": "you"})]
    talk.simulator.will_call_all(looks, say="Wait", thinking=["let me", " see"], seal=SEAL)
    question = Message("user", (Text("Look!"),))
    events = await talk.events(Request(model, (question,), tools=(TOOL,)), at=at, streamed=streamed)
    thoughts = [event.thought for event in events if isinstance(event, ThoughtReady)]
    assert [thought.maker for thought in thoughts] == [f"{provider}/{model}"]
    calls = calls_of(events)
    results = [Message("tool", (ToolResult(call.id, "seen"),)) for call in calls]
    answered = (question, Message("assistant", (*thoughts, Text("Wait"), *calls)), *results)
    talk.simulator.will_say("Seen")
    assert text_of(await talk.events(Request(model, answered, tools=(TOOL,)), at=at, streamed=streamed)) == "Seen"
    forgotten = (question, Message("assistant", (Text("Wait"), *calls)), *results)
    with pytest.raises(RequestRefused):
        await talk.events(Request(model, forgotten, tools=(TOOL,)), at=at, streamed=streamed)


@BOTH
async def test_thoughts_without_calls_are_not_kept(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_think("let me see", "one", seal=SEAL)
    events = await talk.events(asking(tools=(TOOL,)), streamed=streamed)
    assert not any(isinstance(event, ThoughtReady) for event in events)


# --- Server-sent events as they really come -----------------------------------------------------------
async def test_crlf_and_comment_pings_survive(talk: Talk) -> None:
    talk.simulator.will_say("one two", newline="\r\n", pings=True)
    assert text_of(await talk.events()) == "one two"


@BOTH
async def test_a_one_megabyte_line_survives(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_say("x" * 1_000_000)
    assert len(text_of(await talk.events(streamed=streamed))) == 1_000_000


async def test_a_multibyte_character_split_over_packets_survives(talk: Talk) -> None:
    asked = Seen("POST", "/v1beta/models/m:streamGenerateContent", {}, {"stream": True})
    packets = [*talk.simulator.chunks(asked, Script(pieces=["grün 🌱"])), *talk.simulator.farewell()]
    whole = "".join(packets).encode()
    talk.simulator.will_send(*[whole[place : place + 1] for place in range(len(whole))])
    assert text_of(await talk.events()) == "grün 🌱"


# --- Failures -------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (404, RequestRefused),
        (422, RequestRefused),
        (401, KeyRefused),
        (402, KeyRefused),
        (403, KeyRefused),
        (408, ProviderFailed),
        (409, ProviderFailed),
        (425, ProviderFailed),
        (429, RateLimited),
        (500, ProviderFailed),
        (529, ProviderFailed),
        (302, BadResponse),
        (204, BadResponse),
    ],
)
async def test_a_status_is_an_error_of_its_kind(talk: Talk, status: int, kind: type[Exception], streamed: bool) -> None:
    talk.simulator.will_fail(status, retry_after=7)
    with pytest.raises(kind) as caught:
        await talk.events(streamed=streamed)
    if status in (429, 500, 529):
        assert getattr(caught.value, "retry_after_s", None) == 7


@BOTH
@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_an_error_that_echoes_the_key_is_not_repeated(talk: Talk, status: int, streamed: bool) -> None:
    talk.simulator.will_fail(status, body='{"error": {"message": "the key {key} is wrong"}}')
    with pytest.raises(Exception, match="somebody") as caught:
        await talk.events(streamed=streamed)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert SECRET not in f"{chain!r}{chain.args}"
        chain = chain.__cause__ or chain.__context__


@BOTH
@pytest.mark.parametrize("body", ["<html>Sign in to the hotel's network</html>", ""], ids=["html", "empty"])
@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/event-stream"])
async def test_what_is_no_answer_is_a_bad_response(talk: Talk, body: str, kind: str, streamed: bool) -> None:
    talk.simulator.will(Script(body=body, content_type=kind))
    with pytest.raises(BadResponse):
        await talk.events(streamed=streamed)


@BOTH
@pytest.mark.parametrize("body", ["[1]", "7", "null", '"text"', "{}"])
async def test_json_that_is_no_answer_is_a_bad_response(talk: Talk, body: str, streamed: bool) -> None:
    packet = f"data: {body}\n\n" if streamed else body
    talk.simulator.will_send(packet.encode(), content_type="text/event-stream" if streamed else "application/json")
    with pytest.raises(BadResponse):
        await talk.events(streamed=streamed)


@pytest.mark.parametrize("ending", [Ending.EOF, Ending.RST])
@pytest.mark.parametrize("after", [1, 2])
async def test_a_cut_stream_is_an_error_and_keeps_what_came(talk: Talk, ending: Ending, after: int) -> None:
    talk.simulator.will_say("one two three", cut_after=after, ending=ending, delay_s=0.05)
    seen: list[Event] = []
    with pytest.raises(BadResponse, match="broke off"):
        await talk.events(seen=seen)
    assert text_of(seen) == " ".join(["one", "two"][:after])


async def test_a_stream_that_ends_cleanly_without_its_finish_is_a_bad_response(talk: Talk) -> None:
    asked = Seen("POST", "/v1beta/models/m:streamGenerateContent", {}, {"stream": True})
    packets = talk.simulator.chunks(asked, Script(pieces=["one", " two"], usage=None))
    talk.simulator.will_send(*[packet.encode() for packet in packets[:-1]])
    seen: list[Event] = []
    with pytest.raises(BadResponse, match="without finishing"):
        await talk.events(seen=seen)
    assert text_of(seen) == "one two"


async def test_calls_of_a_cut_stream_are_not_ready(talk: Talk) -> None:
    talk.simulator.will_call("delete", {"id": 7}, cut_after=1)
    seen: list[Event] = []
    with pytest.raises(BadResponse):
        await talk.events(seen=seen)
    assert seen == []


async def test_an_error_in_the_stream_is_of_its_kind_and_keeps_what_came(talk: Talk) -> None:
    talk.simulator.will_say("one two", cut_after=1, error=talk.kit.broken)
    seen: list[Event] = []
    with pytest.raises(ProviderFailed) as caught:
        await talk.events(seen=seen)
    assert text_of(seen) == "one"
    assert SECRET not in str(caught.value)


async def test_a_rate_limit_inside_the_stream_is_retryable(talk: Talk) -> None:
    talk.simulator.will_say("one two", cut_after=0, error=talk.kit.limited)
    with pytest.raises((RateLimited, ProviderFailed)) as caught:
        await talk.events()
    assert caught.value.retryable


@BOTH
async def test_hanging_before_the_headers_times_out(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_hang()
    with pytest.raises(TimedOut, match=r"did not begin to answer within 0\.2 s"):
        await talk.events(at=talk.endpoint(first_byte_s=0.2), streamed=streamed)


async def test_hanging_before_the_first_byte_times_out(talk: Talk) -> None:
    talk.simulator.will_say("late", first_delay_s=5)
    with pytest.raises(TimedOut, match=r"did not begin to answer within 0\.2 s"):
        await talk.events(at=talk.endpoint(first_byte_s=0.2))


async def test_hanging_between_chunks_times_out_and_keeps_what_came(talk: Talk) -> None:
    talk.simulator.will_say("one two three", cut_after=2, ending=Ending.HANG)
    seen: list[Event] = []
    with pytest.raises(TimedOut, match=r"fell silent for 0\.3 s"):
        await talk.events(at=talk.endpoint(chunk_s=0.3), seen=seen)
    assert text_of(seen) == "one two"


@BOTH
async def test_a_refused_connection_is_connect_failed(talk: Talk, streamed: bool) -> None:
    with pytest.raises(ConnectFailed, match="could not be reached"):
        await talk.events(at=talk.endpoint(base_url="http://127.0.0.1:1"), streamed=streamed)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"choices": 7, "content": 7, "output": 7, "candidates": 7}'])
async def test_a_broken_whole_answer_is_a_bad_response(talk: Talk, body: bytes) -> None:
    talk.simulator.will_send(body, content_type="application/json")
    with pytest.raises(BadResponse):
        await talk.events(streamed=False)

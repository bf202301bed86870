"""`/v1/responses` as a websocket, with a real websocket client and the official one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from pytest_django import Settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from agents.models import Run, StoredResponse
from atom.ground.database import in_db
from atom.ground.models import AccessToken
from atom.ground.principal import Principal
from atom.ground.tokens import revoke_token
from tests.simulators.openai import OpenAISimulator

Connect = Callable[..., Any]
MODEL = "openai/gpt-4o-mini"
# The provider itself does not know it.
UNKNOWN = "openai/gpt-unknown"
ENDS = {"response.completed", "response.failed", "response.incomplete", "error"}


@pytest.fixture
def socket(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Connect:
    """Open the socket as Alice, or with the given token."""
    alices = token_of(alice)

    @asynccontextmanager
    async def open_socket(token: str = alices) -> AsyncIterator[ClientConnection]:
        url = f"{server.replace('http', 'ws')}/v1/responses"
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(url, additional_headers=headers, proxy=None, max_size=None) as opened:
            yield opened

    return open_socket


async def send(opened: ClientConnection, kind: str = "response.create", **fields: object) -> None:
    usual = {"model": MODEL} if kind == "response.create" else {}
    await opened.send(json.dumps({"type": kind, **usual, **fields}))


async def events(opened: ClientConnection) -> list[dict[str, Any]]:
    """Events up to and with the one that ends a response, or an error."""
    found: list[dict[str, Any]] = []
    async for raw in opened:
        found.append(json.loads(raw))
        if found[-1]["type"] in ENDS:
            return found
    raise AssertionError(f"closed before the end: {found}")


async def ask(opened: ClientConnection, kind: str = "response.create", **fields: object) -> dict[str, Any]:
    """The last event of the answer."""
    await send(opened, kind, **fields)
    return (await events(opened))[-1]


def picture(size: int) -> list[dict[str, Any]]:
    """Input with an image of about this many bytes."""
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{'A' * size}"}
    return [{"role": "user", "content": [image]}]


def contents(simulator: OpenAISimulator) -> list[Any]:
    return [message["content"] for message in simulator.requests[-1].json["messages"]]


# --- Responses ------------------------------------------------------------------------------------------
async def test_a_response_comes_in_the_events_of_the_http_stream(
    socket: Connect, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two")
    async with socket() as opened:
        await send(opened, input="hi")
        found = await events(opened)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


# The official client opens its socket in a way that the newest websockets library would like to see changed.
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
def test_the_official_client_talks_over_the_socket(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("first")
    openai_simulator.will_say("second")
    said = []
    with (
        openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0) as client,
        client.responses.connect() as connection,
    ):
        for text in ("a", "b"):
            connection.response.create(model=MODEL, input=text)
            for event in connection:
                if event.type == "response.completed":
                    said.append(event.response.output_text)
                    break
    assert said == ["first", "second"]
    assert contents(openai_simulator) == ["a", "first", "b"]


@pytest.mark.parametrize("store", [True, False])
async def test_creates_and_appends_go_on_from_what_was_said(
    socket: Connect, openai_simulator: OpenAISimulator, store: bool
) -> None:
    for text in ("first", "second", "third"):
        openai_simulator.will_say(text)
    async with socket() as opened:
        one = await ask(opened, input="a", store=store)
        two = await ask(opened, input="b", store=store)
        three = await ask(opened, "response.append", input=[{"role": "user", "content": "c"}])
    assert contents(openai_simulator) == ["a", "first", "b", "second", "c"]
    ids = [found["response"]["id"] for found in (one, two, three)]
    assert [found["response"]["previous_response_id"] for found in (one, two, three)] == [None, *ids[:2]]
    assert await in_db(StoredResponse.objects.count) == (3 if store else 0)


async def test_history_outlives_the_socket(socket: Connect, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("first")
    async with socket() as opened:
        one = await ask(opened, input="a")
    async with socket() as opened:
        await ask(opened, input="b", previous_response_id=one["response"]["id"])
    assert contents(openai_simulator) == ["a", "first", "b"]


async def test_what_was_not_stored_goes_into_the_next_response_that_is(
    socket: Connect, openai_simulator: OpenAISimulator
) -> None:
    for text in ("first", "second", "third"):
        openai_simulator.will_say(text)
    async with socket() as opened:
        await ask(opened, input="a")
        await ask(opened, input="b", store=False)
        last = await ask(opened, input="c")
    async with socket() as opened:
        await ask(opened, input="d", previous_response_id=last["response"]["id"])
    assert contents(openai_simulator) == ["a", "first", "b", "second", "c", "third", "d"]


async def test_a_conversation_can_branch_from_an_earlier_response(
    socket: Connect, openai_simulator: OpenAISimulator
) -> None:
    for text in ("first", "second"):
        openai_simulator.will_say(text)
    async with socket() as opened:
        one = await ask(opened, input="a")
        await ask(opened, input="b")
        await ask(opened, input="c", previous_response_id=one["response"]["id"])
    assert contents(openai_simulator) == ["a", "first", "c"]


async def test_a_failed_response_is_no_part_of_what_follows(socket: Connect, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("first")
    openai_simulator.will_say("one two three", cut_after=1)
    async with socket() as opened:
        await ask(opened, input="a")
        failed = await ask(opened, input="b")
        await ask(opened, input="c")
    assert failed["type"] == "response.failed"
    assert contents(openai_simulator) == ["a", "first", "c"]


@pytest.mark.parametrize("store", [True, False])
async def test_a_prewarm_calls_nobody_and_is_gone_on_from(
    socket: Connect, openai_simulator: OpenAISimulator, store: bool
) -> None:
    async with socket() as opened:
        await send(opened, input="a", generate=False, store=store)
        created, completed = await events(opened)
        assert (created["type"], completed["type"]) == ("response.created", "response.completed")
        assert (openai_simulator.requests, await in_db(Run.objects.count)) == ([], 0)
        await ask(opened, input="b", previous_response_id=completed["response"]["id"])
    assert contents(openai_simulator) == ["a", "b"]


# --- Failures are events ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "fields", "status", "code"),
    [
        ("response.whatever", {}, 400, "invalid_request"),
        ("response.append", {"input": []}, 400, "invalid_request"),
        ("response.create", {"model": None, "input": "hi"}, 400, "invalid_request"),
        ("response.create", {"input": 3}, 400, "invalid_request"),
        ("response.create", {"input": []}, 400, "missing_user_message"),
        ("response.create", {"input": "hi", "model": "agent/nobody"}, 404, "model_not_found"),
        ("response.create", {"input": "hi", "model": UNKNOWN}, 404, "model_not_found"),
        ("response.create", {"input": "x", "previous_response_id": "resp_1"}, 409, "previous_response_not_found"),
    ],
)
async def test_a_frame_that_cannot_be_answered_is_an_error_event_and_the_socket_stays(
    socket: Connect,
    openai_simulator: OpenAISimulator,
    kind: str,
    fields: dict[str, Any],
    status: int,
    code: str,
) -> None:
    async with socket() as opened:
        if fields.get("model") == UNKNOWN:
            openai_simulator.will_fail(404)
        error = await ask(opened, kind, **fields)
        assert (error["type"], error["status"], error["error"]["code"]) == ("error", status, code)
        assert error["error"]["message"]
        assert (await ask(opened, input="hi"))["type"] == "response.completed"


@pytest.mark.parametrize("raw", ["", "{", "[]", '"x"', "null", b"\xff\xfe", b"{}"])
async def test_a_frame_that_is_no_object_is_an_error_event(socket: Connect, raw: str | bytes) -> None:
    async with socket() as opened:
        await opened.send(raw)
        assert (await events(opened))[-1]["status"] == 400
        assert (await ask(opened, input="hi"))["type"] == "response.completed"


async def test_a_second_create_while_one_runs_is_refused_and_the_first_goes_on(
    socket: Connect, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three", delay_s=0.2)
    async with socket() as opened:
        await send(opened, input="a")
        await send(opened, input="b")
        found = await events(opened)
        assert (found[-1]["status"], found[-1]["error"]["code"]) == (409, "response_in_progress")
        assert (await events(opened))[-1]["response"]["output"][0]["content"][0]["text"] == "one two three"


async def test_a_provider_that_fails_is_an_error_event(socket: Connect, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_fail(429, retry_after=1)
    async with socket() as opened:
        error = await ask(opened, input="hi")
    assert (error["status"], error["error"]["code"]) == (429, "rate_limited")


async def test_mallory_cannot_go_on_from_alices_response(
    socket: Connect, mallory: Principal, token_of: Callable[[Principal], str]
) -> None:
    async with socket() as opened:
        mine = (await ask(opened, input="secret"))["response"]["id"]
    async with socket(await in_db(token_of, mallory)) as opened:
        error = await ask(opened, input="go on", previous_response_id=mine)
    assert (error["status"], error["error"]["code"]) == (409, "previous_response_not_found")


# --- Closing ---------------------------------------------------------------------------------------------------
async def close_of(opened: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """What came before the close, and its code."""
    found: list[dict[str, Any]] = []
    try:
        while True:
            found.append(json.loads(await opened.recv()))
    except ConnectionClosed as closed:
        return found, closed.rcvd.code if closed.rcvd else None


async def test_a_wrong_token_is_told_and_then_closed_with_4401(socket: Connect) -> None:
    async with socket("sk-atom-wrong") as opened:
        (error,), code = await close_of(opened)
    assert (error["type"], error["status"], code) == ("error", 401, 4401)


async def test_a_revoked_token_is_told_and_then_closed_with_4401(socket: Connect) -> None:
    async with socket() as opened:
        assert (await ask(opened, input="hi"))["type"] == "response.completed"
        await in_db(revoke_token, token=await in_db(AccessToken.objects.get), by="alice")
        (error,), code = await close_of(opened)
    assert (error["status"], code) == (401, 4401)


async def test_a_frame_that_is_too_large_is_told_and_then_closed_with_1009(socket: Connect, settings: Settings) -> None:
    settings.MAX_BODY_BYTES = 2_000_000
    async with socket() as opened:
        assert (await ask(opened, input=picture(1_500_000)))["type"] == "response.completed"
        await send(opened, input=picture(2_500_000))
        (error,), code = await close_of(opened)
    assert (error["status"], error["error"]["code"], code) == (413, "too_large", 1009)


async def test_a_frame_beyond_what_the_server_reads_is_closed_with_1009(socket: Connect) -> None:
    async with socket() as opened:
        await send(opened, input="x" * 30_000_000)
        assert (await close_of(opened))[1] == 1009


async def test_text_sent_as_bytes_and_in_fragments_is_read(socket: Connect) -> None:
    frame = json.dumps({"type": "response.create", "model": MODEL, "input": "hi"})
    async with socket() as opened:
        await opened.send(frame.encode())
        assert (await events(opened))[-1]["type"] == "response.completed"
        await opened.send([frame[:9], frame[9:20], "", frame[20:]])
        assert (await events(opened))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007, id="invalid UTF-8"),
        pytest.param(Frame(Opcode.CONT, b"x").serialize(mask=True), 1002, id="a fragment of nothing"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", 1002, id="unknown opcode"),
        pytest.param(b"\xf1\x80\x00\x00\x00\x00", 1002, id="reserved bits"),
        pytest.param(Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002, id="not masked"),
    ],
)
async def test_frames_outside_the_protocol_are_closed_with_the_right_code(
    socket: Connect, raw: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket() as opened:
        opened.transport.write(raw)
        assert (await close_of(opened))[1] == code
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_an_idle_socket_lives(socket: Connect) -> None:
    async with socket() as opened:
        # Several rounds of looking whether the token still stands.
        await asyncio.sleep(3.5)
        assert (await ask(opened, input="hi"))["type"] == "response.completed"


# --- Between HTTP and the websocket ---------------------------------------------------------------------------
async def test_a_response_whose_socket_dropped_is_read_to_its_end_over_http(
    socket: Connect,
    server: str,
    alice: Principal,
    token_of: Callable[[Principal], str],
    openai_simulator: OpenAISimulator,
) -> None:
    openai_simulator.will_say("one two three four five six", delay_s=0.05)
    seen: list[dict[str, Any]] = []
    async with socket() as opened:
        await send(opened, input="hi")
        async for raw in opened:
            seen.append(json.loads(raw))
            if seen[-1]["type"] == "response.output_text.delta":
                break
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=await in_db(token_of, alice)) as client:
        stream = await client.responses.retrieve(
            seen[0]["response"]["id"], stream=True, starting_after=seen[-1]["sequence_number"]
        )
        rest = [event async for event in stream]
    numbers = [event["sequence_number"] for event in seen] + [event.sequence_number for event in rest]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "one two three four five six"


async def test_a_conversation_moves_between_http_and_the_websocket(
    socket: Connect,
    server: str,
    alice: Principal,
    token_of: Callable[[Principal], str],
    openai_simulator: OpenAISimulator,
) -> None:
    for text in ("first", "second", "third"):
        openai_simulator.will_say(text)
    async with (
        openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=await in_db(token_of, alice)) as client,
        socket() as opened,
    ):
        one = await client.responses.create(model=MODEL, input="a")
        two = await ask(opened, input="b", previous_response_id=one.id)
        await client.responses.create(model=MODEL, input="c", previous_response_id=two["response"]["id"])
    assert contents(openai_simulator) == ["a", "first", "b", "second", "c"]

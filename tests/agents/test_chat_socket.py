"""`/ws/chat/` with a real websocket client."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agents.models import Agent, Run
from atom.ground.database import in_db
from atom.ground.models import AccessToken
from atom.ground.principal import Principal
from atom.ground.tokens import revoke_token
from tests.events import text_of
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
Connect = Callable[..., Any]


@pytest.fixture
def socket(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Connect:
    """Open `/ws/chat/` as Alice, or with the given token."""
    alices = token_of(alice)

    @asynccontextmanager
    async def open_socket(token: str = alices) -> AsyncIterator[ClientConnection]:
        url = f"{server.replace('http', 'ws')}/ws/chat/"
        async with connect(url, subprotocols=["atom.v1", f"bearer.{token}"], proxy=None) as opened:  # type: ignore[list-item]
            yield opened

    return open_socket


async def send(opened: ClientConnection, **frame: object) -> None:
    await opened.send(json.dumps(frame))


async def until(opened: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """Frames up to and with the first of this type."""
    found: list[dict[str, Any]] = []
    async for raw in opened:
        found.append(json.loads(raw))
        if found[-1]["type"] == kind:
            return found
    raise AssertionError(f"closed before {kind}: {found}")


async def test_a_message_streams_its_answer(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    openai_simulator.will_say("Hello over websocket")
    async with socket() as opened:
        assert opened.subprotocol == "atom.v1"
        await send(opened, type="message.create", agent="helper", content="hi")
        accepted, *events = await until(opened, "run_ended")
    assert accepted["type"] == "message.accepted"
    assert text_of(events) == "Hello over websocket"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["run_id"] for event in events} == {accepted["run_id"]}


async def test_a_session_goes_on_without_naming_its_agent(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="first")
        [accepted, *_] = await until(opened, "run_ended")
        await send(opened, type="message.create", session_id=accepted["session_id"], content="second")
        await until(opened, "run_ended")
    assert len(openai_simulator.requests[-1].json["messages"]) == 3


async def test_websocket_drop_and_reconnect_loses_no_event(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    words = " ".join(f"w{number}" for number in range(30))
    openai_simulator.will_say(words, delay_s=0.02)
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        before = (await until(opened, "text_delta"))[1:]
        opened.transport.abort()
    async with socket() as opened:
        await send(opened, type="run.resume", run_id=before[0]["run_id"], after=before[-1]["seq"])
        after = await until(opened, "run_ended")
    assert text_of([*before, *after]) == words
    assert [event["seq"] for event in [*before, *after]] == list(range(1, len(before) + len(after) + 1))


async def test_an_ended_run_replays_from_the_first_event(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        [_, *events] = await until(opened, "run_ended")
        await send(opened, type="run.resume", run_id=events[0]["run_id"], after=0)
        assert await until(opened, "run_ended") == events


async def test_when_the_window_has_passed_resync_carries_the_stored_text(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator, store: Any
) -> None:
    await in_db(make_agent, "helper")
    openai_simulator.will_say("kept for good")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        [accepted, *_] = await until(opened, "run_ended")
        store.delete(f"atom:run:{accepted['run_id']}:events")
        await send(opened, type="run.resume", run_id=accepted["run_id"], after=2)
        [resync] = await until(opened, "resync")
    assert (resync["text"], resync["status"]) == ("kept for good", "succeeded")


async def test_cancel_stops_the_run_and_keeps_its_text(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    openai_simulator.will_say(" ".join(["word"] * 200), delay_s=0.05)
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        first = await until(opened, "text_delta")
        await send(opened, type="run.cancel", run_id=first[0]["run_id"])
        events = await until(opened, "run_ended")
    assert events[-1]["status"] == "cancelled"
    run = await in_db(Run.objects.get)
    assert run.status == "cancelled"
    assert (await in_db(run.messages.get, role="assistant")).text == text_of([*first, *events])


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        '{"type": "nonsense"}',
        '{"type": "message.create", "content": "hi"}',
        '{"type": "message.create", "agent": "helper", "content": " "}',
        '{"type": "message.create", "agent": "nobody", "content": "hi"}',
        '{"type": "run.resume", "run_id": "x"}',
        '{"type": "run.resume", "run_id": "00000000-0000-4000-8000-000000000000"}',
        '{"type": "run.resume", "run_id": "00000000-0000-4000-8000-000000000000", "after": -1}',
        '{"type": "run.cancel"}',
        '{"type": "message.create", "content": "\\u0000"}',
        b"\x00\xff",
    ],
)
async def test_a_bad_frame_is_an_error_frame_and_the_socket_stays(
    socket: Connect, make_agent: MakeAgent, frame: str | bytes
) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await opened.send(frame)
        [error] = await until(opened, "error")
        assert set(error["error"]) >= {"message", "code", "type"}
        await send(opened, type="message.create", agent="helper", content="still there?")
        await until(opened, "run_ended")


async def test_a_cursor_from_the_future_is_an_error(socket: Connect, make_agent: MakeAgent) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        [accepted, *_] = await until(opened, "run_ended")
        await send(opened, type="run.resume", run_id=accepted["run_id"], after=9999)
        await until(opened, "error")


async def test_a_bad_token_is_accepted_and_closed_with_4401(socket: Connect) -> None:
    async with socket("sk-atom-nonsense") as opened:
        with pytest.raises(ConnectionClosed):
            await opened.recv()
        assert opened.close_code == 4401


async def test_a_revoked_token_closes_the_open_socket_with_4401(
    socket: Connect, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    secret = await in_db(token_of, alice)
    async with socket(secret) as opened:
        token = await in_db(AccessToken.objects.get, prefix=secret[:12])
        await in_db(revoke_token, token=token, by="alice")
        with pytest.raises(ConnectionClosed):
            await opened.recv()
        assert opened.close_code == 4401


async def test_mallory_cannot_resume_or_cancel_alices_run(
    socket: Connect, make_agent: MakeAgent, mallory: Principal, token_of: Callable[[Principal], str]
) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="go")
        [accepted, *_] = await until(opened, "run_ended")
    async with socket(await in_db(token_of, mallory)) as hers:
        for kind in ("run.resume", "run.cancel"):
            await send(hers, type=kind, run_id=accepted["run_id"])
            [error] = await until(hers, "error")
            assert error["error"]["code"] == "not_found"


async def test_two_runs_share_a_socket_without_mixing(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="alpha")
        await send(opened, type="message.create", agent="helper", content="beta")
        frames = [*await until(opened, "run_ended"), *await until(opened, "run_ended")]
    runs = {frame["run_id"] for frame in frames}
    assert len(runs) == 2
    said = {text_of([frame for frame in frames if frame["run_id"] == run]) for run in runs}
    assert sum("alpha" in text for text in said) == sum("beta" in text for text in said) == 1


def test_the_events_of_a_run_resume_over_sse(http: httpx.Client, make_agent: MakeAgent) -> None:
    make_agent("helper")
    run_id = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()["run_id"]
    whole = http.get(f"/api/runs/{run_id}/events/").text
    rest = http.get(f"/api/runs/{run_id}/events/", headers={"Last-Event-ID": "1"}).text
    assert whole.startswith("id: 1\n")
    assert rest == whole[whole.index("id: 2\n") :]
    for bad in ("-1", "x", "99999"):
        assert http.get(f"/api/runs/{run_id}/events/?after={bad}").status_code == 400


@pytest.mark.parametrize("frame", [{"type": "message.create"}, {"type": "run.resume", "run_id": "x"}])
async def test_a_frame_with_a_bad_field_is_told_what_is_wrong(socket: Connect, frame: dict[str, Any]) -> None:
    async with socket() as opened:
        await send(opened, **frame)
        error = (await until(opened, "error"))[-1]["error"]
    assert (error["code"], error["param"] is not None) == ("invalid_request", True)


async def test_a_frame_that_is_too_large_closes_with_1009(socket: Connect) -> None:
    async with socket() as opened:
        await send(opened, type="message.create", agent="helper", content="x" * 1_100_000)
        with pytest.raises(ConnectionClosed) as caught:
            await opened.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009

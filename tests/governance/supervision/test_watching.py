"""`/ws/supervise/`: what an operator is sent, and who is one."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed

from agents.models import Agent, Run
from atom.ground.database import in_db
from atom.ground.principal import Principal
from governance import presence
from tests.events import text_of
from tests.governance.supervision.conftest import Open, ask, until
from tests.simulators.openai import OpenAISimulator

WORDS = " ".join(f"w{number}" for number in range(30))
NOBODYS = "00000000-0000-4000-8000-000000000000"


def events_of(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame for frame in frames if "seq" in frame]


async def test_a_run_is_announced_as_it_begins_and_its_events_follow_to_the_end(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say(WORDS, delay_s=0.01)
    async with supervise() as watching, chat() as talk:
        [listed] = await watching.until("runs")
        assert listed["runs"] == []
        run_id = await ask(talk, content="say them")
        [run] = await watching.until("run")
        events = await watching.until("run_ended")
    assert (run["id"], run["agent"], run["maturity"]) == (run_id, "helper", "supervised")
    assert (run["question"], run["user"], run["status"]) == ("say them", "alice", "running")
    assert text_of(events) == WORDS
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["run_id"] for event in events} == {run_id}


async def test_a_run_that_goes_on_already_is_listed_and_told_from_its_first_event(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say(WORDS, delay_s=0.03)
    async with chat() as talk:
        run_id = await ask(talk)
        await talk.until("text_delta")
        async with supervise() as watching:
            [listed] = await watching.until("runs")
            events = await watching.until("run_ended")
    assert [run["id"] for run in listed["runs"]] == [run_id]
    assert text_of(events) == WORDS


async def test_watch_narrows_to_an_agent_a_level_or_a_run(
    supervise: Open,
    chat: Open,
    helper: Agent,
    make_agent: Callable[..., Agent],
    openai_simulator: OpenAISimulator,
) -> None:
    await in_db(make_agent, "free")
    async with supervise() as watching, chat() as talk:
        await watching.until("runs")
        for narrow in ({"agent": "helper"}, {"maturity": "supervised"}):
            await watching.send(type="watch", **narrow)
            await watching.until("runs")
            await ask(talk, "free")
            await talk.until("run_ended")
            wanted = await ask(talk, "helper")
            frames = await watching.until("run_ended")
            assert {frame.get("run_id", frame.get("id")) for frame in frames} == {wanted}
        openai_simulator.will_say(WORDS, delay_s=0.05)
        slow = await ask(talk, "free")
        await watching.send(type="watch", run_id=slow)
        [listed] = (await watching.until("runs"))[-1:]
        assert [run["id"] for run in listed["runs"]] == [slow]
        await ask(talk, "helper")
        assert {frame["run_id"] for frame in await watching.until("run_ended")} == {slow}


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        "{}",
        '{"type": "nonsense"}',
        '{"type": "run.pause"}',
        '{"type": "run.pause", "run_id": "x"}',
        '{"type": "run.correct", "run_id": "%s"}',
        '{"type": "run.correct", "run_id": "%s", "text": "  "}',
        '{"type": "run.correct", "run_id": "%s", "text": "\\u0000"}',
        '{"type": "run.terminate", "run_id": "%s", "reason": ["x"]}',
        '{"type": "watch", "run_id": 7}',
        '{"type": "watch", "maturity": "wise"}',
        '{"type": "watch", "agent": "nobody"}',
        '{"type": "watch", "run_id": "%s"}',
        '{"type": "run.resume", "run_id": "%s"}',
        b"\x00\xff",
    ],
)
async def test_a_wrong_frame_is_an_error_frame_and_the_socket_stays(
    supervise: Open, chat: Open, helper: Agent, frame: str | bytes
) -> None:
    async with supervise() as watching, chat() as talk:
        await watching.until("runs")
        await watching.opened.send(frame.replace("%s", NOBODYS) if isinstance(frame, str) else frame)
        [error] = await watching.until("error")
        assert set(error["error"]) >= {"message", "code", "type"}
        await ask(talk)
        await watching.until("run_ended")


async def test_mallory_sees_nothing_and_a_foreign_run_is_like_a_missing_one(
    supervise: Open,
    chat: Open,
    rest: Callable[[Principal], httpx.AsyncClient],
    helper: Agent,
    mallory: Principal,
    openai_simulator: OpenAISimulator,
) -> None:
    openai_simulator.will_say(WORDS, delay_s=0.05)
    async with supervise(mallory) as hers, chat() as talk, await in_db(rest, mallory) as client:
        await hers.until("runs")
        run_id = await ask(talk)
        await talk.until("text_delta")
        for kind in ("run.pause", "run.resume", "run.correct", "run.terminate", "watch"):
            said = []
            for reference in (run_id, NOBODYS):
                await hers.send(type=kind, run_id=reference, text="no")
                said.append((await hers.until("error"))[-1])
            assert said[0]["error"]["code"] == "not_found"
            assert said[0] == said[1]
        for verb in ("pause", "resume", "correct", "terminate"):
            answer = await client.post(f"/api/runs/{run_id}/{verb}/", json={"text": "no"})
            assert answer.status_code == 404
        assert (await client.get(f"/api/runs/{run_id}/interventions/")).status_code == 404
        assert (await client.get("/api/supervision/")).json() == {
            "runs": [],
            "present": ["mallory"],
            "is_watched": True,
        }
        assert await hers.in_a_while() == []
        await talk.send(type="run.cancel", run_id=run_id)


async def test_a_member_may_not_supervise(
    supervise: Open, rest: Callable[[Principal], httpx.AsyncClient], carol: Principal, chat: Open, helper: Agent
) -> None:
    async with supervise(carol) as hers:
        with pytest.raises(ConnectionClosed):
            await hers.opened.recv()
        assert hers.opened.close_code == 4403
    async with chat() as talk, await in_db(rest, carol) as client:
        run_id = await ask(talk)
        assert (await client.get("/api/supervision/")).status_code == 403
        for verb in ("pause", "resume", "correct", "terminate"):
            assert (await client.post(f"/api/runs/{run_id}/{verb}/", json={"text": "no"})).status_code == 403


async def test_an_open_socket_is_presence_and_its_operator_stays_present_for_a_while(
    supervise: Open, rest: Callable[[Principal], httpx.AsyncClient], bob: Principal, alice: Principal
) -> None:
    async with await in_db(rest, alice) as client:
        assert (await client.get("/api/supervision/")).json() == {"runs": [], "present": [], "is_watched": False}
        async with supervise() as watching:
            await watching.until("runs")
            await until(lambda: presence.is_watched(bob.workspace_id))
            assert (await client.get("/api/supervision/")).json()["present"] == ["bob"]
        await until(lambda: not presence.is_watched(bob.workspace_id))
        found = (await client.get("/api/supervision/")).json()
        assert (found["present"], found["is_watched"]) == (["bob"], False)


async def test_whoever_only_looks_on_keeps_no_run_alive(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_ABANDON_AFTER = 0.5
    openai_simulator.will_say(" ".join(["word"] * 500), delay_s=0.05)
    async with supervise() as watching:
        await watching.until("runs")
        async with chat() as talk:
            run_id = await ask(talk)
        [*_, ended] = await watching.until("run_ended")
    assert ended["status"] == "cancelled"
    assert (await in_db(Run.objects.get, pk=run_id)).status == "cancelled"

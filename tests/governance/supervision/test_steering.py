"""Pause, resume, correct, terminate: what they do to a run, to its listeners and its provider."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from pytest_django import Settings

from agents.models import Agent, Correction, Message, Run, RunEvent
from agents.runs.live import ask_to_look
from atom.ground.database import in_db
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.models import Intervention
from tests.agents.test_tools import tool as tool_of
from tests.events import text_of
from tests.governance.supervision.conftest import A_WHILE_S, Open, Socket, ask, until
from tests.simulators.openai import OpenAISimulator

WORDS = " ".join(f"w{number}" for number in range(40))
Rest = Callable[[Principal], httpx.AsyncClient]


def say(simulator: OpenAISimulator, text: str = WORDS, **given: Any) -> None:
    simulator.will_say(text, **{"delay_s": 0.03, **given})


async def running(talk: Socket, **given: str) -> tuple[str, list[dict[str, Any]]]:
    """A run that has begun to answer."""
    run_id = await ask(talk, **given)
    return run_id, await talk.until("text_delta")


async def status_of(run_id: str) -> str:
    return (await in_db(Run.objects.get, pk=run_id)).status


def kept_messages(run_id: str) -> list[tuple[str, str, bool, str]]:
    rows = Message.objects.filter(run_id=run_id).order_by("created_at")
    return [(row.role, row.text, row.is_complete, row.author) for row in rows]


def history_of(run_id: str) -> list[str]:
    """The kinds of the events that stay: all but what was said, which stays as messages."""
    return list(RunEvent.objects.filter(run_id=run_id).order_by("seq").values_list("type", flat=True))


# --- Pause -------------------------------------------------------------------------------------------------
async def test_a_paused_run_says_nothing_until_it_is_resumed_and_then_loses_no_word(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator)
    async with supervise() as watching, chat() as talk:
        run_id, before = await running(talk)
        await watching.send(type="run.pause", run_id=run_id)
        before += await talk.until("paused")
        # The model's next words may have been on their way.
        assert "text_delta" not in {event["type"] for event in (await talk.in_a_while())[1:]}
        assert await status_of(run_id) == "paused"
        await watching.send(type="run.resume", run_id=run_id)
        after = await talk.until("run_ended")
        seen = await watching.until("run_ended")
    assert after[-1]["status"] == "succeeded"
    assert text_of(seen) == WORDS
    assert [event["seq"] for event in after if event["type"] == "resumed"]
    assert (await in_db(kept_messages, run_id))[-1] == ("assistant", WORDS, True, "")
    assert await in_db(history_of, run_id) == ["paused", "resumed", "run_ended"]


async def test_a_paused_run_calls_no_tool_until_it_is_resumed(
    supervise: Open, chat: Open, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "worker", tools=[tool_of(openai_simulator, "fetch_record", "fetch")])
    openai_simulator.will_call("fetch_record", {"id": 7}, say="I look it up", delay_s=0.1)
    async with supervise() as watching, chat() as talk:
        run_id, _ = await running(talk, agent="worker")
        await watching.send(type="run.pause", run_id=run_id)
        await talk.until("paused")
        await talk.in_a_while()
        assert openai_simulator.tool_calls == []
        await watching.send(type="run.resume", run_id=run_id)
        await talk.until("run_ended", status="succeeded")
    assert len(openai_simulator.tool_calls) == 1


async def test_a_paused_run_asks_no_model_until_it_is_resumed(
    supervise: Open, chat: Open, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    """Paused while its tool works: the tool was begun before, the model would be asked after."""
    await in_db(make_agent, "worker", tools=[tool_of(openai_simulator, "fetch_record", "fetch")])
    openai_simulator.will_call("fetch_record", {"id": 7})
    async with supervise() as watching, chat() as talk:
        openai_simulator.tool_delay_s = A_WHILE_S
        run_id = await ask(talk, "worker")
        await talk.until("tool_started")
        await watching.send(type="run.pause", run_id=run_id)
        await talk.until("tool_ended")
        await talk.in_a_while()
        assert len(openai_simulator.requests) == 1
        await watching.send(type="run.resume", run_id=run_id)
        await talk.until("run_ended", status="succeeded")
    assert len(openai_simulator.requests) == 2


async def test_a_paused_run_outlives_its_listeners(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_ABANDON_AFTER = 0.4
    say(openai_simulator)
    async with supervise() as watching:
        async with chat() as talk:
            run_id, before = await running(talk)
            await watching.send(type="run.pause", run_id=run_id)
            before += await talk.until("paused")
        await asyncio.sleep(3 * settings.ATOM_ABANDON_AFTER)
        assert await status_of(run_id) == "paused"
        async with chat() as talk:
            await talk.send(type="run.resume", run_id=run_id, after=0)
            await watching.send(type="run.resume", run_id=run_id)
            events = await talk.until("run_ended")
    assert events[-1]["status"] == "succeeded"
    assert text_of(events) == WORDS


async def test_a_lost_word_is_made_up_for_by_the_mark(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    """What an operator's process leaves when it dies right after its commit."""
    # The mark is looked for every three seconds: the answer must last longer.
    say(openai_simulator, " ".join(["word"] * 70), delay_s=0.1)
    async with chat() as talk:
        run_id, _ = await running(talk)
        await in_db(Run.objects.filter(pk=run_id).update, is_paused=True, status="paused")
        await in_db(ask_to_look, UUID(run_id))
        await talk.until("paused")
        # Even without a mark a paused run looks by itself.
        await in_db(Run.objects.filter(pk=run_id).update, is_paused=False, status="running")
        await talk.until("run_ended", status="succeeded")


# --- Correct -------------------------------------------------------------------------------------------------
async def test_a_correction_breaks_the_answer_off_and_the_model_answers_anew(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator, " ".join(["wrong"] * 400))
    openai_simulator.will_say("Better now.")
    async with supervise() as watching, chat() as talk:
        run_id, before = await running(talk)
        await watching.send(type="run.correct", run_id=run_id, text="In French, please.")
        events = before + await talk.until("run_ended")
        [*_, seen] = await watching.until("corrected")
    place = [event["type"] for event in events].index("corrected")
    assert (events[place]["text"], events[place]["by"]) == ("In French, please.", "bob")
    assert events[-1]["status"] == "succeeded"
    assert seen == events[place]
    partial = text_of(events[:place])
    assert await in_db(kept_messages, run_id) == [
        ("user", "go", True, ""),
        ("assistant", partial, False, ""),
        ("user", "In French, please.", True, "bob"),
        ("assistant", "Better now.", True, ""),
    ]
    asked = openai_simulator.requests[-1].json["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert [message["content"] for message in asked[1:]] == [partial, "In French, please."]
    assert openai_simulator.abandoned == 1


async def test_whoever_asked_for_a_whole_answer_gets_the_corrected_one(
    supervise: Open, rest: Rest, helper: Agent, alice: Principal, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator, " ".join(["wrong"] * 400))
    openai_simulator.will_say("Better now.")
    async with supervise() as watching, await in_db(rest, alice) as client:
        await watching.until("runs")
        asking = asyncio.create_task(client.post("/api/agents/helper/chat/", json={"message": "go"}))
        run_id = (await watching.until("text_delta"))[-1]["run_id"]
        await watching.send(type="run.correct", run_id=run_id, text="Again.")
        answer = await asking
        session = answer.json()["session_id"]
        listed = (await client.get(f"/api/sessions/{session}/messages/")).json()["results"]
    assert answer.json()["message"]["content"] == "Better now."
    assert [message["author"] for message in listed] == ["", "", "bob", ""]


async def test_a_correction_of_a_paused_run_is_heard_when_it_goes_on(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator)
    openai_simulator.will_say("Better now.")
    async with supervise() as watching, chat() as talk:
        run_id, _ = await running(talk)
        await watching.send(type="run.pause", run_id=run_id)
        await talk.until("paused")
        await watching.send(type="run.correct", run_id=run_id, text="Shorter.")
        assert "corrected" not in {event["type"] for event in await talk.in_a_while()}
        assert len(openai_simulator.requests) == 1
        await watching.send(type="run.resume", run_id=run_id)
        events = await talk.until("run_ended", status="succeeded")
    kinds = [event["type"] for event in events]
    assert kinds.index("resumed") < kinds.index("corrected")
    assert openai_simulator.requests[-1].json["messages"][-1]["content"] == "Shorter."


async def test_a_correction_and_the_word_to_go_on_at_once_are_both_obeyed(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    async with supervise() as watching, chat() as talk:
        for _ in range(5):
            say(openai_simulator)
            openai_simulator.will_say("Better now.")
            run_id, _ = await running(talk)
            await watching.send(type="run.pause", run_id=run_id)
            await talk.until("paused")
            await watching.send(type="run.correct", run_id=run_id, text="Shorter.")
            await watching.send(type="run.resume", run_id=run_id)
            await talk.until("corrected")
            assert text_of(await talk.until("run_ended", status="succeeded")) == "Better now."
    assert openai_simulator.abandoned == 5


async def test_a_correction_that_comes_with_the_last_word_is_heard_all_the_same(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    """It stands in the database before the run ends, and no word of it reaches the run's process."""
    say(openai_simulator, "All said.", delay_s=0.2)
    openai_simulator.will_say("Said again.")
    async with chat() as talk:
        run_id, _ = await running(talk)
        run = await in_db(Run.objects.get, pk=run_id)
        await in_db(Correction.objects.create, run=run, text="Again.", author="bob")
        await talk.until("run_ended", status="succeeded")
    assert [row[1:] for row in await in_db(kept_messages, run_id)] == [
        ("go", True, ""),
        ("All said.", True, ""),
        ("Again.", True, "bob"),
        ("Said again.", True, ""),
    ]
    assert await in_db(history_of, run_id) == ["corrected", "run_ended"]


async def test_a_tool_that_was_wanted_before_the_correction_is_not_run(
    supervise: Open, chat: Open, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "worker", tools=[tool_of(openai_simulator, "fetch_record", "fetch")])
    openai_simulator.will_call("fetch_record", {"id": 7}, say="I look it up", delay_s=0.1)
    openai_simulator.will_say("I do not.")
    async with supervise() as watching, chat() as talk:
        run_id, _ = await running(talk, agent="worker")
        await watching.send(type="run.pause", run_id=run_id)
        await talk.until("paused")
        await talk.in_a_while()
        await watching.send(type="run.correct", run_id=run_id, text="Leave it.")
        await watching.send(type="run.resume", run_id=run_id)
        await talk.until("run_ended", status="succeeded")
    assert openai_simulator.tool_calls == []


# --- Terminate -----------------------------------------------------------------------------------------------
async def test_terminate_closes_the_providers_stream_within_a_second(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator, " ".join(["word"] * 400), delay_s=0.05)
    async with supervise() as watching, chat() as talk:
        run_id, before = await running(talk)
        began = time.monotonic()
        await watching.send(type="run.terminate", run_id=run_id, reason="It rambles")
        await until(lambda: openai_simulator.abandoned)
        assert time.monotonic() - began < 1
        events = await talk.until("run_ended")
    assert (events[-1]["status"], await status_of(run_id)) == ("terminated", "terminated")
    kept = (await in_db(kept_messages, run_id))[-1]
    assert kept == ("assistant", text_of([*before, *events]), False, "")


async def test_a_paused_run_can_be_terminated(
    supervise: Open, chat: Open, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator)
    async with supervise() as watching, chat() as talk:
        run_id, _ = await running(talk)
        await watching.send(type="run.pause", run_id=run_id)
        await talk.until("paused")
        await watching.send(type="run.terminate", run_id=run_id)
        await talk.until("run_ended", status="terminated")
    assert openai_simulator.abandoned == 1


# --- Over REST, and as evidence --------------------------------------------------------------------------------
async def test_every_step_over_rest_is_evidence_and_in_the_audit_trail(
    chat: Open, rest: Rest, helper: Agent, bob: Principal, openai_simulator: OpenAISimulator
) -> None:
    say(openai_simulator)
    say(openai_simulator)
    async with chat() as talk, await in_db(rest, bob) as client:
        run_id, _ = await running(talk)
        steps = [
            ("pause", {}, 200, "paused"),
            ("pause", {}, 409, ""),
            ("resume", {}, 200, "running"),
            ("resume", {}, 409, ""),
            ("correct", {"text": "Be brief."}, 202, "running"),
            ("correct", {"text": " "}, 400, ""),
        ]
        for verb, body, code, status in steps:
            answer = await client.post(f"/api/runs/{run_id}/{verb}/", json=body)
            assert (answer.status_code, answer.json().get("status", "")) == (code, status), verb
        await talk.until("corrected")
        live = (await client.get("/api/supervision/")).json()
        assert [run["id"] for run in live["runs"]] == [run_id]
        assert (await client.post(f"/api/runs/{run_id}/terminate/", json={"reason": "Enough"})).status_code == 202
        await talk.until("run_ended", status="terminated")
        for verb in ("pause", "resume", "correct", "terminate"):
            answer = await client.post(f"/api/runs/{run_id}/{verb}/", json={"text": "late"})
            assert answer.status_code == 409
        found = (await client.get(f"/api/runs/{run_id}/interventions/")).json()["results"]
    done = [("pause", ""), ("resume", ""), ("correct", "Be brief."), ("terminate", "Enough")]
    assert [(one["kind"], one["text"]) for one in found] == done
    assert {one["operator"] for one in found} == {"bob"}
    entries = await in_db(lambda: list(AuditEntry.objects.filter(event__startswith="run.").order_by("seq")))
    assert [entry.event for entry in entries] == ["run.paused", "run.resumed", "run.corrected", "run.terminated"]
    assert {entry.actor for entry in entries} == {"bob"}
    assert json.loads(entries[2].entry)["details"] == {"agent": "helper", "run": run_id, "text": "Be brief."}


@pytest.mark.parametrize("verb", ["pause", "terminate"])
async def test_of_two_operators_at_once_one_leaves_evidence(
    chat: Open,
    rest: Rest,
    helper: Agent,
    alice: Principal,
    bob: Principal,
    openai_simulator: OpenAISimulator,
    verb: str,
) -> None:
    say(openai_simulator, " ".join(["word"] * 400))
    async with chat() as talk, await in_db(rest, alice) as hers, await in_db(rest, bob) as his:
        run_id, _ = await running(talk)
        answers = await asyncio.gather(*(who.post(f"/api/runs/{run_id}/{verb}/") for who in (hers, his, hers, his)))
        codes = sorted(answer.status_code for answer in answers)
        if verb == "pause":
            assert codes == [200, 409, 409, 409]
            await talk.send(type="run.cancel", run_id=run_id)
        else:
            assert codes[0] == 202
            assert set(codes) <= {202, 409}
        await talk.until("run_ended")
    assert await in_db(Intervention.objects.filter(run_id=run_id).count) == 1

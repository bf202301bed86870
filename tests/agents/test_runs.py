"""Runs outlive their requests: leases, silence, lost processes, slow listeners."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from agents.models import Agent, Message, Run, RunStatus
from agents.runs import live as live_module
from agents.runs import records, streams
from agents.runs.events import RunEnded, TextDelta, ToolJudged, decode, encode
from agents.runs.following import follow
from agents.runs.live import Live, lease_key, stop_key
from agents.runs.lost import interrupt_lost_runs
from agents.runs.streams import RunLog, heard_key, last_seq
from agents.tasks import interrupt_lost_runs as interrupt_task
from atom.ground import journal, news
from atom.ground.database import in_db
from atom.ground.errors import SessionBusy
from atom.ground.store import close_store
from llm.messages import Text
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]


def opened(agent: Agent, **changes: Any) -> Run:
    run = records.open_run(agent=agent, user_id=None, door="test", model="m", parts=[Text("hi")])
    if changes:
        Run.objects.filter(pk=run.pk).update(**changes)
    return run


def old() -> Any:
    return timezone.now() - timedelta(minutes=5)


async def test_a_run_without_a_lease_becomes_interrupted_and_keeps_its_text(
    transactional_db: None, store: Any, make_agent: MakeAgent
) -> None:
    run = await in_db(opened, await in_db(make_agent), created_at=old())
    log = RunLog(run.id)
    for event in (
        TextDelta("thinking "),
        ToolJudged("c", "fetch", "allow", ""),
        TextDelta("half an "),
        TextDelta("answer"),
    ):
        await log.emit(event)
    await log.flush()
    assert await interrupt_lost_runs() == 1
    await in_db(run.refresh_from_db)
    assert (run.status, run.error_code) == ("interrupted", "interrupted")
    kept = await in_db(Message.objects.get, role="assistant")
    assert (kept.text, kept.is_complete) == ("half an answer", False)
    *_, last = [recorded async for recorded in follow(run.id)]
    assert last is not None
    assert isinstance(last.event, RunEnded)
    assert (last.event.status, last.event.message_id) == ("interrupted", str(kept.id))
    assert await interrupt_lost_runs() == 0
    await close_store()


async def test_runs_with_a_lease_young_or_waiting_runs_are_left_alone(
    transactional_db: None, store: Any, make_agent: MakeAgent
) -> None:
    agent = await in_db(make_agent)
    leased = await in_db(opened, agent, created_at=old())
    store.set(lease_key(leased.id), b"1")
    await in_db(opened, agent)
    await in_db(opened, agent, created_at=old(), status=RunStatus.WAITING_APPROVAL)
    assert await interrupt_lost_runs() == 0
    assert await in_db(Run.objects.filter(status=RunStatus.INTERRUPTED).count) == 0
    await close_store()


def test_the_task_sweeps_too(transactional_db: None, store: Any, make_agent: MakeAgent) -> None:
    opened(make_agent(), created_at=old())
    assert interrupt_task() == 1
    assert interrupt_task() == 0


async def test_many_events_come_once_and_in_order_also_to_a_late_and_a_slow_listener(store: Any) -> None:
    run_id, total = uuid4(), 3000
    log = RunLog(run_id)

    async def listen(pause_every: int) -> list[int]:
        seqs = []
        async for recorded in follow(run_id, idle_s=10):
            assert recorded is not None
            seqs.append(recorded.seq)
            if pause_every and len(seqs) % pause_every == 0:
                await asyncio.sleep(0.01)
        return seqs

    listeners = [asyncio.create_task(listen(pause)) for pause in (0, 5)]
    for number in range(total):
        await log.emit(TextDelta(str(number)))
        if number == total // 2:
            listeners.append(asyncio.create_task(listen(0)))
        if number % 10 == 0:
            await asyncio.sleep(0)
    await log.emit(RunEnded(status="succeeded"))
    await log.flush()
    for seqs in await asyncio.gather(*listeners):
        assert seqs == list(range(1, total + 2))
    assert await last_seq(run_id) == total + 1
    await close_store()


async def test_a_follower_that_overflows_reads_the_store_again(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUEUE_BATCHES", 1)
    run_id = uuid4()
    log = RunLog(run_id)
    await log.emit(TextDelta("first"))
    await log.flush()
    listening = follow(run_id, idle_s=10)
    assert (await anext(listening)).seq == 1  # type: ignore[union-attr]
    for number in range(20):
        await log.emit(TextDelta(str(number)))
        await log.flush()
        await asyncio.sleep(0.002)
    await log.emit(RunEnded(status="succeeded"))
    await log.flush()
    rest = [recorded.seq async for recorded in listening if recorded]
    assert rest == list(range(2, 23))
    await close_store()


async def test_silence_is_told_so_that_doors_can_keep_a_connection_alive(store: Any) -> None:
    listening = follow(uuid4(), idle_s=0.05)
    assert await anext(listening) is None
    assert await anext(listening) is None
    await listening.aclose()
    await close_store()


def test_events_survive_the_wire() -> None:
    for event in (TextDelta("é\n\u2028"), RunEnded(status="failed", error={"code": "x"}, message_id="m")):
        assert decode(encode(3, "run", event)).event == event
    assert b"error" not in encode(1, "run", RunEnded(status="succeeded"))


class Fake:
    """A run that only remembers what was wanted of it."""

    def __init__(self, *, is_background: bool = False) -> None:
        self.run_id = uuid4()
        self.owner_ids = (uuid4(), uuid4())
        self.task: asyncio.Task[None] | None = None
        self.is_background = is_background
        self.is_paused = False
        self.is_heard = False
        self.stopped: list[tuple[str, str]] = []
        self.woken = asyncio.Event()
        self.done = asyncio.Event()

    def stop(self, status: RunStatus, *, reason: str, code: str = "") -> None:
        self.stopped.append((status, reason))
        self.done.set()

    def wake(self) -> None:
        self.woken.set()

    def look(self) -> None:
        raise AssertionError("nobody wanted anything")

    async def work(self) -> None:
        await self.done.wait()


async def test_what_others_must_find_of_a_run_stands_before_it_begins(store: Any) -> None:
    here, run = Live(), Fake()
    found: dict[str, Any] = {}

    async def work() -> None:
        for name, key in (("lease", lease_key(run.run_id)), ("heard", heard_key(run.run_id))):
            found[name] = store.pttl(key) > 0
        found["entries"] = [fields for _, fields in store.xrange(journal.STREAM)]

    ear = store.pubsub()
    ear.subscribe(news.PREFIX + live_module.topic_of(run.owner_ids[0]))
    assert ear.get_message(timeout=5)["type"] == "subscribe"
    await here.launch(run, work(), [journal.Entry("run", {"n": 1}), journal.Entry("decision", {"id": run.run_id})])
    await here.rest()
    entries = [{b"k": b"run", b"d": b'{"n":1}'}, {b"k": b"decision", b"d": b'{"id":"%s"}' % str(run.run_id).encode()}]
    assert found == {"lease": True, "heard": True, "entries": entries}
    assert json.loads(ear.get_message(timeout=5)["data"]) == {"run_id": str(run.run_id)}
    ear.close()
    store.delete(journal.STREAM)
    await close_store()


async def test_a_run_that_nobody_listens_to_is_cancelled_unless_it_is_in_the_background(
    store: Any, settings: Settings
) -> None:
    settings.ATOM_ABANDON_AFTER = 0.2
    here, left, behind = Live(), Fake(), Fake(is_background=True)
    for run in (left, behind):
        await here.launch(run, run.work())
    await asyncio.wait_for(left.done.wait(), 5)
    assert left.stopped[0] == (RunStatus.CANCELLED, "nobody was listening")
    assert behind.stopped == []
    assert not store.exists(heard_key(left.run_id))
    assert store.exists(lease_key(behind.run_id))
    behind.done.set()
    await here.drain(1)
    await close_store()


async def test_a_wish_reaches_the_run_by_the_channel_and_surely_by_the_mark(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "RENEW_S", 0.1)
    here, called, marked = Live(), Fake(), Fake(is_background=True)
    await here.launch(called, called.work())
    await here.launch(marked, marked.work())
    deadline = time.monotonic() + 5
    while not called.woken.is_set() and time.monotonic() < deadline:
        await in_db(live_module.wake, called.run_id)
        await asyncio.sleep(0.02)
    assert called.woken.is_set()
    await in_db(live_module.wake, UUID(int=0))
    await live_module.ask_to_stop(called.run_id, "terminate")
    await asyncio.wait_for(called.done.wait(), 5)
    assert called.stopped[0][0] == RunStatus.TERMINATED
    store.set(stop_key(marked.run_id), b"cancel")
    await asyncio.wait_for(marked.done.wait(), 5)
    assert marked.stopped[0][0] == RunStatus.CANCELLED
    await here.drain(1)
    await close_store()


async def test_a_drain_waits_and_then_interrupts(store: Any) -> None:
    here, slow = Live(), Fake()
    await here.launch(slow, slow.work())
    await here.drain(0.05)
    assert slow.stopped == [(RunStatus.INTERRUPTED, "the server is stopping")]
    assert here.runs == {}
    await close_store()


def test_a_session_takes_one_run_at_a_time(db: None, make_agent: MakeAgent) -> None:
    agent = make_agent()
    session = agent.sessions.create(workspace_id=agent.workspace_id)
    given: dict[str, Any] = {"agent": agent, "user_id": None, "door": "test", "model": "m", "session": session}
    first = records.open_run(parts=[Text("one")], **given)
    with pytest.raises(SessionBusy):
        records.open_run(parts=[Text("two")], **given)
    done = records.Outcome(status=RunStatus.SUCCEEDED)
    assert records.end_run(run_id=first.id, outcome=done, answer=[Text("1")]) is not None
    assert records.end_run(run_id=first.id, outcome=done, answer=[Text("1")]) is None
    records.open_run(parts=[Text("two")], **given)
    assert session.messages.count() == 3


def test_a_client_that_leaves_does_not_end_the_run(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three four five", delay_s=0.05)
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": "go", "stream": True}) as answer:
        next(answer.iter_lines())
        run_id = answer.headers["x-atom-run"]
    events = http.get(f"/api/runs/{run_id}/events/").text
    assert '"succeeded"' in events
    assert Message.objects.get(role="assistant").text == "one two three four five"
    runs = http.get("/api/runs/?agent=helper").json()["results"]
    assert [run["id"] for run in runs] == [run_id]


def test_when_the_window_has_passed_sse_sends_one_resync(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, store: Any
) -> None:
    make_agent("helper")
    openai_simulator.will_say("kept for good")
    run_id = http.post("/api/agents/helper/chat/", json={"message": "go"}).json()["run_id"]
    store.delete(f"atom:run:{run_id}:events")
    answer = http.get(f"/api/runs/{run_id}/events/?after=2").text
    assert answer.startswith("event: resync\n")
    assert "kept for good" in answer

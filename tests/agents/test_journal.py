"""What calls on `/v1` leave behind is written through the journal: a moment later, once, and the same as at once."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import openai
import pytest
import redis
from django.db import connection, transaction
from django.forms import model_to_dict
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Agent, Attempt, Message, Run, RunStatus
from agents.runs import wishes
from agents.runs.live import look_key
from agents.signals import runs_ended
from atom.ground import audit, database, journal
from atom.ground.errors import Unavailable
from atom.ground.models import AuditEntry, JournalMark
from atom.ground.principal import Principal
from atom.ground.store import close_store
from governance.killswitch import kill_agent
from governance.models import Decision
from tests.simulators.openai import OpenAISimulator

API = Callable[..., APIClient]
MakeAgent = Callable[..., Agent]
USER: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def journaled(server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.ATOM_JOURNAL = True
    # A test before this one may have taken the store away.
    monkeypatch.setattr(journal, "_away_until", 0.0)
    yield
    journal.settle()


def ask(client: openai.OpenAI, **given: Any) -> UUID:
    """One completion; the id of its run."""
    answer = client.chat.completions.with_raw_response.create(model="agent/helper", messages=USER, **given)
    return UUID(answer.headers["x-atom-run"])


def kept_of(run_id: UUID) -> dict[str, Any]:
    """Everything that the database has of a run, without ids and times."""
    run = Run.objects.get(pk=run_id)
    ids = {"id", "run", "created_at", "ended_at", "started_at", "time_to_first_token_s", "duration_s", "request_id"}
    ids |= {"token", "latency_us"}

    def plain(row: Any) -> dict[str, Any]:
        return {name: value for name, value in model_to_dict(row).items() if name not in ids}

    entry = AuditEntry.objects.filter(event="action.allowed").order_by("seq").last()
    assert entry is not None
    return {
        "run": {**plain(run), "is_over": run.ended_at is not None},
        "messages": [plain(message) for message in run.messages.order_by("created_at")],
        "attempts": [plain(row) for row in Attempt.objects.filter(request_id=run_id).order_by("place")],
        "events": [(row.seq, row.type, row.data) for row in run.events.order_by("seq")],
        "decisions": [plain(row) for row in Decision.objects.all()][:1],
        "audit": (entry.event, entry.actor),
    }


@pytest.fixture
def told() -> Iterator[list[UUID]]:
    """The runs whose end was announced."""
    found: list[UUID] = []

    def hear(run_ids: list[UUID], **_: Any) -> None:
        found.extend(run_ids)

    runs_ended.connect(hear)
    yield found
    runs_ended.disconnect(hear)


def test_what_is_written_later_is_the_same_as_what_is_written_at_once(
    client: openai.OpenAI,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    settings: Settings,
    told: list[UUID],
) -> None:
    make_agent("helper")
    kept, asked = [], []
    for way in ("at once", "as a whole", "begin and end apart"):
        settings.ATOM_JOURNAL = way != "at once"
        usage = {"prompt_tokens": 11, "completion_tokens": 7}
        openai_simulator.will_think("hm", "Hello there", delay_s=0.2, usage=usage)
        options: Any = {"stream": True} if way == "begin and end apart" else {}
        answer = client.chat.completions.with_raw_response.create(model="agent/helper", messages=USER, **options)
        run_id = UUID(answer.headers["x-atom-run"])
        if options:
            journal.settle()
            assert Run.objects.get(pk=run_id).status == RunStatus.RUNNING
            for _ in answer.parse():
                pass
        else:
            assert Run.objects.filter(pk=run_id).exists() is not settings.ATOM_JOURNAL
        journal.settle()
        asked.append(run_id)
        kept.append(kept_of(run_id))
    assert kept[0] == kept[1] == kept[2]
    assert kept[2]["run"]["input_tokens"] == 11
    assert kept[1]["run"]["is_over"]
    assert [message["role"] for message in kept[1]["messages"]] == ["user", "assistant"]
    assert audit.verify_all() == []
    assert told == asked


def test_the_end_of_a_run_that_somebody_has_closed_meanwhile_changes_nothing_but_what_it_used(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three", delay_s=0.2)
    answer = client.chat.completions.with_raw_response.create(model="agent/helper", messages=USER, stream=True)
    journal.settle()
    closed = Run.objects.filter(status=RunStatus.RUNNING).update(status=RunStatus.INTERRUPTED, error_code="lost")
    for _ in answer.parse():
        pass
    journal.settle()
    run = Run.objects.get()
    assert (closed, run.status, run.error_code, run.attempts) == (1, RunStatus.INTERRUPTED, "lost", 1)
    assert run.tried.count() == 1
    assert [message.role for message in run.messages.all()] == ["user"]


class Counted(ThreadPoolExecutor):
    """The threads of `in_db`, and how often they were asked."""

    asked = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        Counted.asked += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize("model", ["agent/helper", "openai/gpt-4o-mini"])
def test_a_call_that_follows_another_asks_the_database_nothing(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    make_agent("helper")
    with Counted(8) as threads:
        monkeypatch.setattr(database, "_POOL", threads)
        asked = []
        # Snapshots are looked at again twice a second, which most of the calls will meet where all is slow.
        for _ in range(20):
            before = Counted.asked
            client.chat.completions.create(model=model, messages=USER)
            asked.append(Counted.asked - before)
        monkeypatch.undo()
    assert asked[0] > 0
    assert 0 in asked


def test_a_failed_call_is_written_with_what_was_tried(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None
) -> None:
    make_agent("helper")
    openai_simulator.will_fail(400)
    with pytest.raises(openai.BadRequestError):
        ask(client)
    journal.settle()
    run = Run.objects.get()
    assert (run.status, run.attempts, run.tried.count()) == (RunStatus.FAILED, 1, 1)
    assert run.error_code


def test_who_reads_a_run_right_after_its_answer_finds_it(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, server: str, token_of: Any, alice: Principal
) -> None:
    make_agent("helper")
    run_id = ask(client)
    assert not Run.objects.exists()
    found = client.get(f"{server}/api/runs/{run_id}/", cast_to=dict[str, Any])
    assert (found["id"], found["status"]) == (str(run_id), "succeeded")


def test_a_run_whose_tools_are_judged_is_a_row_from_then_on(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None
) -> None:
    make_agent("helper")
    openai_simulator.will_call("search", {"q": "x"})
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    tool: Any = {"type": "function", "function": {"name": "search", "parameters": parameters}}
    run_id = ask(client, tools=[tool])
    assert Run.objects.get(pk=run_id).status == RunStatus.SUCCEEDED
    assert list(Decision.objects.filter(action="search").values_list("run_id", flat=True)) == [run_id]


def test_who_steers_a_run_that_is_not_written_yet_reaches_it(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three four five", delay_s=0.3)
    openai_simulator.will_say("corrected")
    with client.chat.completions.with_streaming_response.create(
        model="agent/helper", messages=USER, stream=True
    ) as answer:
        run_id = UUID(answer.headers["x-atom-run"])
        assert not Run.objects.exists()
        wishes.correct(run_id, text="Say it shorter.", author="bob")
        assert b"corrected" in b"".join(answer.iter_bytes())
    journal.settle()
    said = Message.objects.filter(run_id=run_id).order_by("created_at").values_list("role", flat=True)
    assert list(said) == ["user", "assistant", "user", "assistant"]
    assert Run.objects.get(pk=run_id).status == RunStatus.SUCCEEDED


def test_an_end_is_not_noted_while_somebody_wants_something_of_the_run(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None, store: redis.Redis
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three", delay_s=0.2)
    with client.chat.completions.with_streaming_response.create(
        model="agent/helper", messages=USER, stream=True
    ) as answer:
        run_id = UUID(answer.headers["x-atom-run"])
        store.set(look_key(run_id), b"1", ex=60)
        list(answer.iter_bytes())
    # Its own process looked at the row, and wrote the end into it itself.
    assert store.xlen(journal.STREAM) == 0
    assert Run.objects.get(pk=run_id).status == RunStatus.SUCCEEDED


def test_a_stop_ends_runs_that_are_not_written_yet(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, journaled: None, alice: Principal
) -> None:
    agent = make_agent("helper")
    openai_simulator.will_say("word " * 100, delay_s=0.2)
    with client.chat.completions.with_streaming_response.create(
        model="agent/helper", messages=USER, stream=True
    ) as answer:
        kill_agent(agent=agent, principal=alice, reason="runaway")
        assert b"its agent was stopped" in b"".join(answer.iter_bytes())
    journal.settle()
    assert Run.objects.get().status == RunStatus.TERMINATED


def test_a_writer_that_dies_before_its_commit_has_written_nothing_and_lost_nothing(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, store: redis.Redis
) -> None:
    make_agent("helper")
    run_id = ask(client)

    @transaction.atomic
    def die() -> None:
        assert journal.write_batch() > 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert not Run.objects.exists()
    journal.settle()
    journal.settle()
    assert list(Run.objects.values_list("pk", flat=True)) == [run_id]
    assert AuditEntry.objects.filter(event="action.allowed").count() == 1
    assert store.xlen(journal.STREAM) == 0


def test_a_writer_that_dies_before_it_tidies_up_leaves_nothing_to_write_twice(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, store: redis.Redis
) -> None:
    make_agent("helper")
    ask(client)
    entries: Any = store.xrange(journal.STREAM)
    journal.settle()
    # As it stands when the process ends between the commit and the tidying.
    store.delete(journal.STREAM)
    for entry_id, fields in entries:
        store.xadd(journal.STREAM, fields, id=entry_id)
    journal.settle()
    assert Run.objects.count() == 1
    assert AuditEntry.objects.filter(event="action.allowed").count() == 1
    assert store.xlen(journal.STREAM) == 0


def test_a_store_that_was_emptied_begins_a_new_journal(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, store: redis.Redis
) -> None:
    make_agent("helper")
    ask(client)
    journal.settle()
    # Entries of a store whose clock is behind the old one's have smaller ids.
    JournalMark.objects.update(last_id="9999999999999-0")
    store.delete(journal.LIFE)
    ask(client)
    journal.settle()
    assert Run.objects.count() == 2


def test_an_entry_that_nobody_can_read_is_laid_aside_and_holds_up_no_other(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, store: redis.Redis
) -> None:
    make_agent("helper")
    store.xadd(journal.STREAM, {b"k": b"run", b"d": b'{"opened": {"id": "no"}, "parts": []}'})
    run_id = ask(client)
    journal.settle()
    assert list(Run.objects.values_list("pk", flat=True)) == [run_id]
    assert store.llen(journal.REFUSED) == 1


def test_runs_of_an_agent_that_is_gone_by_then_went_with_it(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None, store: redis.Redis
) -> None:
    agent = make_agent("helper")
    ask(client)
    Agent.objects.filter(pk=agent.pk).delete()
    journal.settle()
    assert not Run.objects.exists()
    assert store.llen(journal.REFUSED) == 0


def test_two_who_settle_at_once_write_each_entry_once(
    client: openai.OpenAI, make_agent: MakeAgent, journaled: None
) -> None:
    make_agent("helper")
    for _ in range(6):
        ask(client)

    def settle() -> None:
        try:
            journal.settle()
        finally:
            connection.close()

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Run.objects.count() == 6
    assert AuditEntry.objects.filter(event="action.allowed").count() == 6
    assert audit.verify_all() == []


def test_without_the_store_nothing_is_read_and_nobody_is_held_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(journal, "_away_until", 0.0)
    journal.settle()
    with pytest.raises(Unavailable):
        asyncio.run(journal.written())


def test_a_store_that_hangs_is_left_alone_after_one_question(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        monkeypatch.setattr(journal, "_away_until", 0.0)
        began = time.monotonic()

        async def read_often() -> None:
            await asyncio.gather(*(journal.settled() for _ in range(20)))
            for _ in range(20):
                await journal.settled()
            await close_store()

        asyncio.run(read_often())
        assert time.monotonic() - began < 3 * journal.PATIENCE_S


def test_a_door_writes_for_itself_when_too_much_waits(settings: Settings) -> None:
    settings.ATOM_JOURNAL = True
    assert journal.is_open()
    journal.told_of(journal.MOST_WAITING)
    assert not journal.is_open()
    journal.told_of(0)
    assert uuid4()

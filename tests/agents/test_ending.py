"""The end of a run, which nothing may cut short."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
import orjson
import redis
from django.db import connection, transaction

from agents.models import Agent, Run
from agents.runs.live import CONTROL_CHANNEL
from agents.signals import runs_ended
from tests.events import sse_events
from tests.simulators.openai import OpenAISimulator


@contextmanager
def locked(run_id: UUID) -> Iterator[None]:
    """Nobody else can write the run's row."""
    is_locked, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Run.objects.select_for_update().get(pk=run_id)
            is_locked.set()
            may_go.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_locked.wait(10)
    try:
        yield
    finally:
        may_go.set()
        holder.join()


def test_a_stop_that_comes_while_a_run_is_being_written_down_does_not_lose_its_end(
    http: httpx.Client, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two", delay_s=0.3)
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": "hi", "stream": True}) as answer:
        events = sse_events(answer)
        run_id = UUID(next(events)["run_id"])
        with locked(run_id):
            assert next(events)["text"] == " two"
            # The upstream's finish comes 0.3 s later; then the run waits for its row.
            time.sleep(1)
            store.publish(CONTROL_CHANNEL, orjson.dumps({"run_id": str(run_id), "verb": "cancel"}))
            time.sleep(0.5)
        last = list(events)[-1]
    assert (last["type"], last["status"]) == ("run_ended", "succeeded")
    assert Run.objects.get(pk=run_id).status == "succeeded"


def test_listeners_hear_of_the_end_before_the_rooms_above_do(
    http: httpx.Client, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    """A receiver may wait for the broker; whoever listens does not."""
    make_agent("helper")
    openai_simulator.will_say("one two")
    has_heard, was_first = threading.Event(), list[bool]()
    is_announced = threading.Event()

    def wait_for_the_listener(**_: object) -> None:
        was_first.append(has_heard.wait(10))
        is_announced.set()

    runs_ended.connect(wait_for_the_listener)
    try:
        with http.stream("POST", "/api/agents/helper/chat/", json={"message": "hi", "stream": True}) as answer:
            assert [event["type"] for event in sse_events(answer)][-1] == "run_ended"
        has_heard.set()
        assert is_announced.wait(20)
    finally:
        runs_ended.disconnect(wait_for_the_listener)
    assert was_first == [True]

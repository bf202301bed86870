"""Deadlines of a call, and readers who leave or take their time."""

import asyncio
import socket
from contextlib import aclosing
from dataclasses import replace

import pytest

from atom.ground.http import GuardedClient
from llm.errors import (
    TimedOut,
)
from llm.events import Event, Meter
from llm.messages import Deadlines, Endpoint
from llm.wires import openai_chat
from tests.llm.conftest import EventsOf, asking, text_of
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending


def within(endpoint: Endpoint, **seconds: float) -> Endpoint:
    return replace(endpoint, deadlines=replace(Deadlines(2, 5, 5, 10), **seconds))


async def test_timeout_before_the_headers_counts_as_waiting_for_the_first_byte(
    events_of: EventsOf, openai_simulator: OpenAISimulator, endpoint: Endpoint
) -> None:
    openai_simulator.will_hang()
    with pytest.raises(TimedOut, match=r"did not begin to answer within 0\.2 s"):
        await events_of(at=within(endpoint, first_byte_s=0.2))


async def test_timeout_between_headers_and_the_first_byte(
    events_of: EventsOf, openai_simulator: OpenAISimulator, endpoint: Endpoint
) -> None:
    openai_simulator.will_say("late", first_delay_s=5)
    with pytest.raises(TimedOut, match=r"did not begin to answer within 0\.2 s"):
        await events_of(at=within(endpoint, first_byte_s=0.2))


async def test_timeout_between_chunks_keeps_what_came(
    events_of: EventsOf, openai_simulator: OpenAISimulator, endpoint: Endpoint
) -> None:
    openai_simulator.will_say("one two three", cut_after=2, ending=Ending.HANG)
    seen: list[Event] = []
    with pytest.raises(TimedOut, match=r"fell silent for 0\.3 s"):
        await events_of(at=within(endpoint, chunk_s=0.3), seen=seen)
    assert text_of(seen) == "one two"


async def test_timeout_of_the_whole(events_of: EventsOf, openai_simulator: OpenAISimulator, endpoint: Endpoint) -> None:
    openai_simulator.will_say("a b c d e f g h i j k l m n o p", delay_s=0.1)
    with pytest.raises(TimedOut, match=r"did not finish within 0\.5 s") as caught:
        await events_of(at=within(endpoint, total_s=0.5))
    assert caught.value.status == 504


async def test_timeout_of_the_connection(events_of: EventsOf, endpoint: Endpoint) -> None:
    # A server whose queue of connections is full answers nothing at all.
    with pytest.raises(TimedOut, match=r"did not accept a connection within 0\.2 s"):
        await full_queue(events_of, within(endpoint, connect_s=0.2))


async def full_queue(events_of: EventsOf, endpoint: Endpoint) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        await asyncio.sleep(0.05)
        try:
            await events_of(at=replace(endpoint, base_url=f"http://127.0.0.1:{address[1]}/v1"))
        finally:
            for one in waiting:
                one.close()


async def test_a_stream_that_is_left_lets_go_of_the_provider(
    upstream: GuardedClient, endpoint: Endpoint, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say(" ".join("x" * 200), delay_s=0.02)
    async with aclosing(openai_chat.stream(asking(), endpoint, upstream, Meter())) as answer:
        async for _ in answer:
            break
    for _ in range(100):
        if openai_simulator.abandoned:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the provider is still streaming")


async def test_a_reader_who_takes_their_time_is_no_silence(
    upstream: GuardedClient, endpoint: Endpoint, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three")
    seen = []
    async for event in openai_chat.stream(asking(), within(endpoint, chunk_s=0.2), upstream, Meter()):
        await asyncio.sleep(0.25)
        seen.append(event)
    assert text_of(seen) == "one two three"


async def test_concurrent_requests_are_not_mixed_up(events_of: EventsOf) -> None:
    answers = await asyncio.gather(*[events_of(asking(f"number {place}")) for place in range(50)])
    assert [text_of(events) for events in answers] == [f"You said: number {place}" for place in range(50)]

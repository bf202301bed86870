"""An upstream that fails at random, behind two web processes: every call ends, and all ledgers agree."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from llm.metrics import GATHER_S
from tests.live.calls import Ended, ask, ask_many, client_of, runs_of, upstream_of
from tests.live.instance import Instance, wait_until
from tests.simulators.unruly import SENTENCE, UnrulyOpenAI

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(180)]

NewInstance = Callable[..., Instance]
MODELS = [f"openai/model-{letter}" for letter in "abcd"]
BREAKER_OPEN_S = 2
CALLS = 300
LIMITS = {
    "WEB_CONCURRENCY": "2",
    "ATOM_FIRST_BYTE_TIMEOUT": "1",
    "ATOM_CHUNK_TIMEOUT": "1",
    "ATOM_TOTAL_TIMEOUT": "6",
    "ATOM_BREAKER_OPEN": str(BREAKER_OPEN_S),
}
# What a failure that is the upstream's may be called.
CLEAR = {429: {"rate_limited"}, 502: None, 503: {"provider_unavailable"}, 504: None}


@pytest.fixture
def unruly() -> Iterator[UnrulyOpenAI]:
    with UnrulyOpenAI(seed=20, failing=0.4) as simulator:
        yield simulator


@pytest.fixture
def atom(new_instance: NewInstance, unruly: UnrulyOpenAI) -> Instance:
    instance = new_instance(**upstream_of(unruly.base_url, **LIMITS))
    instance.start()
    return instance


def assert_clear(ended: Ended) -> None:
    """Success, or an error that says what happened; nothing between."""
    if ended.is_whole:
        assert (ended.status, ended.text, ended.code) == (200, SENTENCE, "")
        return
    assert ended.code
    assert SENTENCE.startswith(ended.text.rstrip())
    if ended.status != 200:
        assert ended.status in CLEAR
        assert ended.text == ""


def descriptors(instance: Instance) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in instance.processes("serve --fd"))


async def figures(client: httpx.AsyncClient) -> dict[str, dict[str, int | str]]:
    """What the process that answers knows once the others have told what they counted."""
    await asyncio.sleep(GATHER_S + 0.1)
    found: dict[str, dict[str, int | str]] = (await client.get("/v1/metrics/providers")).json()["openai"]["models"]
    return found


async def test_every_call_ends_every_run_is_closed_and_metrics_agree_with_the_upstreams_ledger(
    atom: Instance, unruly: UnrulyOpenAI
) -> None:
    dice = random.Random(7)
    asked = [(dice.choice(MODELS), dice.random() < 0.7) for _ in range(CALLS)]
    async with client_of(atom) as client:
        before = descriptors(atom)
        answers = await ask_many(client, asked, at_once=12)
        for answer in answers:
            assert_clear(answer)
        # Both happened, or this would show nothing.
        kinds = Counter("whole" if one.is_whole else "cut off" if one.status == 200 else "error" for one in answers)
        assert min(kinds["whole"], kinds["cut off"], kinds["error"]) >= 10
        assert sum(one.attempts for one in answers) == len(unruly.ledger)
        for model in MODELS:
            seen = [entry for entry in unruly.ledger if f"openai/{entry.model}" == model]
            found = (await figures(client))[model.removeprefix("openai/")]
            good = sum(entry.is_good for entry in seen)
            assert (found["request_count"], found["success_count"]) == (len(seen), good)
            assert found["failure_count"] == len(seen) - good
        whole = kinds["whole"]
        assert await asyncio.to_thread(runs_of, atom) == {"succeeded": whole, "failed": CALLS - whole}
        await asyncio.to_thread(assert_nothing_is_left, atom, unruly, before)
        await recover(client, unruly)


def assert_nothing_is_left(atom: Instance, unruly: UnrulyOpenAI, descriptors_before: int) -> None:
    wait_until(lambda: unruly.active == 0, 10, "no request hangs at the upstream")
    with redis.Redis.from_url(atom.runtime()["redis_url"]) as store:
        wait_until(lambda: not list(store.scan_iter("atom:run:*:lease")), 20, "no run holds a lease")
    # Kept-alive connections to the upstream and database connections may stay, one for each call may not.
    assert descriptors(atom) - descriptors_before < 60


async def recover(client: httpx.AsyncClient, unruly: UnrulyOpenAI) -> None:
    """When the upstream is well again, so is everything."""
    unruly.failing = 0
    await asyncio.sleep(BREAKER_OPEN_S + 0.5)
    for model in MODELS:
        for _ in range(2):
            assert (await ask(client, model, stream=True)).is_whole
    assert {found["breaker"] for found in (await figures(client)).values()} == {"closed"}


class Replay:
    """What the breaker of one model must do, by the upstream's ledger alone."""

    def __init__(self) -> None:
        self.state = "closed"
        self.failures = self.successes = 0

    def saw(self, is_good: bool) -> None:
        if self.state != "closed":
            self.successes = self.successes + 1 if is_good else 0
            self.state = "closed" if self.successes == 2 else "half_open" if is_good else "open"
            self.failures = 0
            return
        self.failures = 0 if is_good else self.failures + 1
        if self.failures == 5:
            self.state, self.successes = "open", 0


async def test_the_breaker_does_what_the_upstreams_ledger_says(atom: Instance, unruly: UnrulyOpenAI) -> None:
    """One call after the other, through both processes, with the same breaker reckoned by hand."""
    unruly.failing = 0.75
    breaker, told, opened = Replay(), 0, 0
    async with client_of(atom) as client:
        for _ in range(40):
            answer = await ask(client, MODELS[0], stream=True)
            for entry in unruly.ledger[told:]:
                breaker.saw(entry.is_good)
            assert len(unruly.ledger) - told == answer.attempts
            told = len(unruly.ledger)
            assert (await figures(client))[unruly.ledger[0].model]["breaker"] == breaker.state
            if breaker.state == "open":
                opened += 1
                refused = await ask(client, MODELS[0], stream=True)
                assert (refused.status, refused.attempts) == (503, 0)
                assert len(unruly.ledger) == told
                await asyncio.sleep(BREAKER_OPEN_S + 0.1)
    assert opened >= 3


@pytest.mark.parametrize("failing", [1.0, 0.67], ids=["wholly-down", "every-third-succeeds"])
async def test_an_upstream_that_is_down_sees_at_most_a_fifth_more_than_the_calls(
    new_instance: NewInstance, unruly: UnrulyOpenAI, failing: float
) -> None:
    """Fifty calls a second over four processes, each with a model of its own, so that no breaker opens."""
    instance = new_instance(**upstream_of(unruly.base_url, **LIMITS | {"WEB_CONCURRENCY": "4"}))
    await asyncio.to_thread(instance.start)
    unruly.failing = failing
    asking: list[asyncio.Task[Ended]] = []
    async with client_of(instance) as client:
        for part in range(2):
            for number in range(100):
                asking.append(asyncio.create_task(ask(client, f"openai/down-{part}-{number}", stream=True)))
                await asyncio.sleep(0.02)
            answers = await asyncio.gather(*asking)
            assert len(asking) <= len(unruly.ledger) <= 1.2 * len(asking)
    assert all(answer.attempts for answer in answers)
    # Some were repeated: the budget is not simply nothing.
    assert sum(answer.attempts == 2 for answer in answers) >= 10

"""The circuit breaker's states, in a real store."""

import asyncio
import time
from uuid import UUID, uuid4

import pytest
import redis
from pytest_django import Settings

from atom.ground.store import close_store
from llm import breaker
from llm.breaker import Circuit, Permit, Verdict
from llm.errors import BreakerOpen

HERE = UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


@pytest.fixture
def circuit() -> Circuit:
    return Circuit(HERE, "openai", uuid4(), "gpt-4o-mini")


async def admitted(circuit: Circuit) -> Permit:
    permit = await breaker.admit(circuit, probe_s=60)
    assert permit is not None
    return permit


async def ending(circuit: Circuit, *verdicts: Verdict) -> None:
    for verdict in verdicts:
        await breaker.record(await admitted(circuit), verdict)


def failures(count: int) -> list[Verdict]:
    return ["failed"] * count


async def state_of(circuit: Circuit) -> str:
    found = [one.state for one in await breaker.statuses(HERE) if one.circuit == circuit]
    return found[0] if found else "closed"


# --- The states ---------------------------------------------------------------------------------------
async def test_the_circuit_breaker_opens_after_5_consecutive_failures(circuit: Circuit) -> None:
    await ending(circuit, *failures(4))
    assert await state_of(circuit) == "closed"
    await ending(circuit, "failed")
    assert await state_of(circuit) == "open"
    with pytest.raises(BreakerOpen) as caught:
        await admitted(circuit)
    assert (caught.value.status, caught.value.code) == (503, "provider_unavailable")
    assert 25 <= (caught.value.retry_after_s or 0) <= 30


async def test_a_success_in_between_begins_the_count_again(circuit: Circuit) -> None:
    await ending(circuit, *failures(4), "succeeded", *failures(4))
    assert await state_of(circuit) == "closed"


async def test_a_half_open_breaker_lets_exactly_one_probe_through_under_100_concurrent(
    circuit: Circuit, settings: Settings
) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    answers = await asyncio.gather(*(admitted(circuit) for _ in range(100)), return_exceptions=True)
    probes = [answer for answer in answers if isinstance(answer, Permit)]
    assert [probe.is_probe for probe in probes] == [True]
    assert sum(isinstance(answer, BreakerOpen) for answer in answers) == 99


async def test_two_successful_probes_close_it(circuit: Circuit, settings: Settings) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    await ending(circuit, "succeeded")
    assert await state_of(circuit) == "half_open"
    await ending(circuit, "succeeded")
    assert await state_of(circuit) == "closed"
    # From the beginning: four failures are not five.
    await ending(circuit, *failures(4))
    assert await state_of(circuit) == "closed"


async def test_a_failed_probe_opens_it_again(circuit: Circuit, settings: Settings) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    await ending(circuit, "failed")
    assert await state_of(circuit) == "open"


async def test_a_probe_whose_client_went_away_makes_room_and_says_nothing(circuit: Circuit, settings: Settings) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    await ending(circuit, "left")
    assert await state_of(circuit) == "half_open"
    assert (await admitted(circuit)).is_probe


async def test_a_probe_that_is_heard_of_no_more_gives_way_to_another(circuit: Circuit, settings: Settings) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    lost = await breaker.admit(circuit, probe_s=0.05)
    await asyncio.sleep(0.1)
    second = await admitted(circuit)
    assert lost is not None
    # What the first one says later is of an older generation.
    await breaker.record(lost, "failed")
    assert await state_of(circuit) == "half_open"
    await breaker.record(second, "succeeded")
    await ending(circuit, "succeeded")
    assert await state_of(circuit) == "closed"


async def test_a_probe_that_says_it_is_still_there_keeps_its_place(circuit: Circuit, settings: Settings) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    await ending(circuit, *failures(5))
    await asyncio.sleep(0.1)
    probe = await breaker.admit(circuit, probe_s=0.05)
    assert probe is not None
    await breaker.renew(probe, probe_s=60)
    await asyncio.sleep(0.1)
    with pytest.raises(BreakerOpen):
        await admitted(circuit)


async def test_late_results_of_an_older_generation_are_ignored(circuit: Circuit) -> None:
    late = [await admitted(circuit) for _ in range(2)]
    await ending(circuit, *failures(5))
    for permit in late:
        await breaker.record(permit, "succeeded")
    assert await state_of(circuit) == "open"


async def test_reset_closes_it_at_once(circuit: Circuit) -> None:
    late = await admitted(circuit)
    await ending(circuit, *failures(5))
    await breaker.reset(circuit)
    assert await state_of(circuit) == "closed"
    for _ in range(5):
        await breaker.record(late, "failed")
    assert (await admitted(circuit)).is_probe is False


async def test_one_tenants_bad_key_never_opens_anothers_breaker(circuit: Circuit) -> None:
    other = Circuit(uuid4(), circuit.provider, uuid4(), circuit.model)
    environment = Circuit(HERE, circuit.provider, None, circuit.model)
    await ending(circuit, *failures(5))
    assert await admitted(other)
    assert await admitted(environment)
    assert await breaker.statuses(other.workspace_id) == []


async def test_without_a_store_there_is_no_breaker_and_calls_go_on(circuit: Circuit, settings: Settings) -> None:
    await close_store()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert await breaker.admit(circuit, probe_s=1) is None
    await breaker.record(Permit(circuit, 0, is_probe=False), "failed")
    await close_store()


async def test_what_this_process_opened_it_knows_at_once(circuit: Circuit) -> None:
    assert await breaker.opened(HERE) == frozenset()
    await ending(circuit, *failures(5))
    assert await breaker.opened(HERE) == {circuit}
    await breaker.reset(circuit)
    assert await breaker.opened(HERE) == frozenset()


async def test_what_another_process_opened_is_known_within_an_instant(circuit: Circuit, in_store: redis.Redis) -> None:
    await ending(circuit, *failures(4))
    assert await breaker.opened(HERE) == frozenset()
    in_store.hset(circuit.key, mapping={"state": "open", "opened_at": int(time.time() * 1000)})
    # Whom to ask last may be known late; whether a call goes out is never remembered.
    with pytest.raises(BreakerOpen):
        await admitted(circuit)
    await asyncio.sleep(breaker.REMEMBER_S)
    assert await breaker.opened(HERE) == {circuit}


async def test_calls_that_begin_at_the_same_moment_ask_once_what_is_open(in_store: redis.Redis) -> None:
    workspace_id = uuid4()
    in_store.config_resetstat()
    await asyncio.gather(*(breaker.opened(workspace_id) for _ in range(100)))
    await breaker.opened(workspace_id)
    # Of the workspace's own and of the environment's.
    assert in_store.info("commandstats")["cmdstat_smembers"]["calls"] == 2

"""Who is asked depends on how each stands before it is asked: its breaker, its rate, who served the session last."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from atom.ground.models import Workspace
from llm import breaker, rates
from llm.breaker import Circuit
from llm.chat import Call
from llm.messages import Message, Request, Text
from llm.sticky import ServedBy
from tests.llm.calls import call_of, events_of, key_at, used
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.django_db(transaction=True)

# Three providers of the chat wire that `auto` asks in this order.
FIRST, SECOND = "openai/gpt-4o-mini", "deepseek/deepseek-chat"


@pytest.fixture(autouse=True)
def no_rates(store: redis.Redis) -> Iterator[None]:
    rates.forget()
    yield
    rates.forget()


@pytest.fixture
def second() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


async def opened(workspace: Workspace, key_id: Any, model: str = "gpt-4o-mini", provider: str = "openai") -> None:
    circuit = Circuit(workspace.id, provider, key_id, model)
    for _ in range(breaker.FAILURES_TO_OPEN):
        permit = await breaker.admit(circuit, probe_s=1)
        assert permit is not None
        await breaker.record(permit, "failed")


async def served_by(call: Call) -> str:
    await events_of(call)
    return f"{call.provider}/{call.model}"


def limits(remaining: str, *, reset: str = "6m0s", kind: str = "requests", limit: str = "100") -> dict[str, str]:
    named = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{what}-{kind}": value for what, value in named.items()}


# --- Health -------------------------------------------------------------------------------------------
async def test_provider_health_check_before_routing_passes_over_open_breakers(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    key = await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    assert await served_by(call_of(workspace, "auto")) == FIRST
    await opened(workspace, key.id)
    call = call_of(workspace, "auto")
    assert await served_by(call) == SECOND
    # It was not even tried: a refusal by the breaker would stand here.
    assert [one.provider for one in call.tried] == ["deepseek"]


async def test_per_agent_health_checked_first_moves_the_healthy_one_up(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    key = await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    await opened(workspace, key.id)
    call = call_of(workspace, models=(FIRST, SECOND))
    assert await served_by(call) == SECOND
    assert [one.provider for one in call.tried] == ["deepseek"]


async def test_of_several_keys_the_one_with_an_open_breaker_goes_last(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    bad = await key_at(workspace, openai_simulator, name="bad", priority=1)
    await key_at(workspace, openai_simulator, name="good", priority=2)
    await opened(workspace, bad.id)
    call = call_of(workspace)
    await events_of(call)
    assert used(openai_simulator) == ["sk-good"]
    assert len(call.tried) == 1


async def test_a_provider_whose_model_is_down_stands_in_with_another_when_it_is_the_only_one(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    key = await key_at(workspace, openai_simulator)
    await opened(workspace, key.id)
    assert await served_by(call_of(workspace, "auto")) == "openai/gpt-4.1-mini"


async def test_a_breaker_that_is_due_for_its_probe_is_in_its_old_place(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator, settings: Any
) -> None:
    key = await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    await opened(workspace, key.id)
    settings.ATOM_BREAKER_OPEN = 0
    assert await served_by(call_of(workspace, "auto")) == FIRST


# --- Rates --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("spelled", [str.lower, str.title])
async def test_who_has_used_up_its_rate_is_not_asked_before_it_is_renewed(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator, spelled: Callable[[str], str]
) -> None:
    await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    models = (FIRST, SECOND)
    headers = {spelled(name): value for name, value in limits("0").items()}
    openai_simulator.will_say("one", headers=headers)
    assert await served_by(call_of(workspace, models=models)) == FIRST
    assert await served_by(call_of(workspace, models=models)) == SECOND
    # The last one there is still asked: only the provider knows for sure.
    assert await served_by(call_of(workspace, FIRST)) == FIRST


async def test_another_key_goes_before_one_whose_rate_is_used_up(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator, name="one", priority=1)
    await key_at(workspace, openai_simulator, name="two", priority=2)
    openai_simulator.will_say("x", headers=limits("3", kind="tokens", limit="90000"))
    await events_of(call_of(workspace))
    await events_of(call_of(workspace))
    assert used(openai_simulator) == ["sk-one", "sk-two"]


async def test_auto_spares_a_model_whose_rate_is_nearly_used_up(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    openai_simulator.will_say("x", headers=limits("1"))
    assert await served_by(call_of(workspace, "auto")) == FIRST
    assert (await served_by(call_of(workspace, "auto"))) != FIRST


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({}, 1.0),
        (limits("50"), 0.5),
        (limits("50", reset="0s"), 1.0),
        (limits("0", reset="1h0m17ms"), 0.0),
        (limits("200"), 1.0),
        (limits("1000", kind="tokens", limit="2000"), 0.5),
        (limits("99", kind="tokens", limit="2000"), 0.0),
        ({**limits("50"), **limits("500", kind="tokens", limit="2000")}, 0.25),
        (limits("many"), 1.0),
        (limits("5", reset="soon"), 1.0),
        (limits("5", limit="0"), 1.0),
    ],
)
def test_what_is_left_of_a_rate_is_read_from_the_headers(headers: dict[str, str], left: float) -> None:
    rates.note("somebody", headers)
    assert rates.left("somebody", lambda: 100) == pytest.approx(left)
    assert rates.left("another", lambda: 100) == 1


@pytest.mark.parametrize("kind", ["requests", "tokens", "input-tokens", "output-tokens"])
def test_anthropics_headers_are_read_too(kind: str) -> None:
    reset = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"limit": "1000", "remaining": "250", "reset": reset}
    rates.note("somebody", {f"anthropic-ratelimit-{kind}-{what}": value for what, value in named.items()})
    assert rates.left("somebody", lambda: 100) == 0.25


# --- Sessions -----------------------------------------------------------------------------------------
def used_to(name: str, key_id: Any = None, models: tuple[str, ...] = ("auto",)) -> ServedBy:
    provider, _, model = name.partition("/")
    return ServedBy(models, provider, model, key_id)


def going_on(workspace: Workspace, prefer: ServedBy | None, text: str = "And then?", model: str = "auto") -> Call:
    request = Request(model, (Message("user", (Text(text),)),))
    return Call(workspace_id=workspace.id, request=request, prefer=prefer)


async def test_auto_goes_on_with_who_served_before_while_it_is_healthy(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    key = await key_at(workspace, second, provider="deepseek")
    prefer = used_to(SECOND)
    assert await served_by(going_on(workspace, prefer)) == SECOND
    assert await served_by(going_on(workspace, used_to("openai/gpt-4.1"))) == "openai/gpt-4.1"
    await opened(workspace, key.id, "deepseek-chat", "deepseek")
    assert await served_by(going_on(workspace, prefer)) == FIRST


async def test_who_served_before_gives_way_when_the_task_becomes_too_hard_for_it(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    hard = "Prove that the algorithm is correct, analyse its complexity and design a distributed variant step by step."
    assert await served_by(going_on(workspace, used_to(FIRST), hard)) != FIRST


async def test_who_served_another_wish_is_not_preferred(
    workspace: Workspace, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    await key_at(workspace, second, provider="deepseek")
    assert await served_by(going_on(workspace, used_to("openai/gpt-4.1", models=("auto:best",)))) == FIRST


async def test_the_key_that_served_before_goes_before_its_equals_only(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator, name="one")
    two = await key_at(workspace, openai_simulator, name="two")
    for _ in range(3):
        await events_of(going_on(workspace, used_to(FIRST, two.id), model=FIRST))
    assert used(openai_simulator) == ["sk-two"] * 3
    await key_at(workspace, openai_simulator, name="zero", priority=1)
    await events_of(going_on(workspace, used_to(FIRST, two.id), model=FIRST))
    assert used(openai_simulator)[-1] == "sk-zero"


async def test_a_call_says_who_served(workspace: Workspace, openai_simulator: OpenAISimulator) -> None:
    key = await key_at(workspace, openai_simulator)
    call = call_of(workspace, "auto")
    await events_of(call)
    assert call.served == used_to(FIRST, key.id)

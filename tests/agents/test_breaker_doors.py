"""The circuit breaker as clients of `/v1` meet it, and whose breaker it is."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from aiohttp import web
from pytest_django import Settings

from agents.models import Agent
from atom.ground.models import Workspace
from atom.ground.principal import Principal
from llm.services import create_key
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Script, Seen

MakeAgent = Callable[..., Agent]
TokenOf = Callable[[Principal], str]
MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def no_fallback(settings: Settings) -> None:
    """One upstream call for each call, so that they are easy to count."""
    settings.AGENT_FALLBACK_ENABLED = False


@pytest.fixture
def hers(server: str, mallory: Principal, token_of: TokenOf) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers=bearer(token_of(mallory)), timeout=30) as client:
        yield client


def question(model: str = MODEL, **given: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **given}


def ask(http: httpx.Client, model: str = MODEL, **given: object) -> httpx.Response:
    return http.post("/v1/chat/completions", json=question(model, **given))


def fail(http: httpx.Client, simulator: OpenAISimulator, times: int, status: int = 500) -> list[int]:
    """The statuses that so many calls get, one upstream call each."""
    found = []
    for _ in range(times):
        simulator.will_fail(status)
        found.append(ask(http).status_code)
    return found


def state_of(http: httpx.Client, provider: str = "openai") -> str:
    found: str = http.get("/v1/metrics/providers").json()[provider]["breaker"]
    return found


def test_the_6th_call_reaches_nobody_and_is_answered_within_50_ms(
    http: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator
) -> None:
    assert fail(http, openai_simulator, 5) == [502] * 5
    took = []
    for stream in [False, True] * 5:
        started = time.monotonic()
        answer = ask(http, stream=stream)
        took.append(time.monotonic() - started)
        assert (answer.status_code, answer.headers["x-atom-attempts"]) == (503, "0")
    # The best of several: what the machine does besides must not decide.
    assert min(took) < 0.05
    assert len(openai_simulator.requests) == 5


def test_an_open_breaker_is_not_fallen_back_to(
    http: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    fail(http, openai_simulator, 4)
    settings.AGENT_FALLBACK_ENABLED = True
    openai_simulator.will_fail(500)
    # The stream is the fifth failure, so that nothing is asked again.
    answer = ask(http, stream=True)
    assert (answer.status_code, answer.headers["x-atom-attempts"]) == (502, "1")
    assert ask(http, stream=True).status_code == 503
    assert len(openai_simulator.requests) == 5


def test_a_success_begins_the_count_again(
    http: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator
) -> None:
    for _ in range(2):
        assert fail(http, openai_simulator, 4) == [502] * 4
        assert ask(http).status_code == 200
    assert state_of(http) == "closed"


class Patient(OpenAISimulator):
    """Answers a stream when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    async def _write_chunks(self, response: web.StreamResponse, asked: Seen, script: Script) -> None:
        await asyncio.to_thread(self.may_answer.wait, 60)
        await super()._write_chunks(response, asked, script)


@pytest.fixture
def patient(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with Patient() as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        yield simulator
        simulator.may_answer.set()


async def test_half_open_lets_one_of_a_hundred_calls_through_and_two_successes_close_it(
    http: httpx.Client, no_fallback: None, patient: Patient, settings: Settings
) -> None:
    settings.ATOM_BREAKER_OPEN = 0.2
    await asyncio.to_thread(fail, http, patient, 5)
    await asyncio.sleep(0.3)
    async with httpx.AsyncClient(base_url=http.base_url, headers=http.headers, timeout=60, trust_env=False) as client:

        async def status() -> int:
            return (await client.post("/v1/chat/completions", json=question())).status_code

        asking = [asyncio.create_task(status()) for _ in range(100)]
        statuses = []
        for answered in asyncio.as_completed(asking):
            statuses.append(await answered)
            if len(statuses) == 99:
                # All others have been sent away; now the probe may go on.
                patient.may_answer.set()
        assert statuses == [503] * 99 + [200]
        assert len(patient.requests) == 6
        assert await status() == 200
    assert await asyncio.to_thread(state_of, http) == "closed"


def test_a_stream_that_breaks_off_counts_and_a_request_that_is_refused_does_not(
    http: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator
) -> None:
    assert fail(http, openai_simulator, 6, status=400) == [400] * 6
    for _ in range(5):
        openai_simulator.will_say("one two three", cut_after=2)
        assert ask(http, stream=True).status_code == 200
    assert ask(http).status_code == 503


# --- Whose breaker ------------------------------------------------------------------------------------------
def own_key(workspace_id: object, simulator: OpenAISimulator, secret: str) -> None:
    create_key(
        workspace_id=workspace_id,  # type: ignore[arg-type]
        provider="openai",
        name=secret,
        secret=secret,
        base_url=simulator.base_url,
        by="test",
    )


def test_a_tenants_own_bad_key_leaves_the_other_tenants_key_and_the_environments_alone(
    http: httpx.Client,
    hers: httpx.Client,
    workspace: Workspace,
    mallory: Principal,
    no_fallback: None,
    openai_simulator: OpenAISimulator,
) -> None:
    own_key(mallory.workspace_id, openai_simulator, "sk-bad")
    for status in (500, 500, 500, 500, 401):
        openai_simulator.will_fail(status)
        assert ask(hers).status_code == 502
    assert {seen.key for seen in openai_simulator.requests} == {"Bearer sk-bad"}
    assert state_of(hers) == "open"
    # Alice is served by the environment's key, and then by one of her own.
    assert ask(http).status_code == 200
    own_key(workspace.id, openai_simulator, "sk-good")
    assert ask(http).status_code == 200
    assert [seen.key for seen in openai_simulator.requests[-2:]] == [
        "Bearer sk-simulated-openai-key",
        "Bearer sk-good",
    ]
    assert state_of(http) == "closed"
    # And Mallory herself by the environment's, while her own rests.
    assert ask(hers).status_code == 200


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_tenants_bad_requests_with_the_environments_key_open_no_breaker_for_others(
    http: httpx.Client, hers: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator, status: int
) -> None:
    assert fail(hers, openai_simulator, 8, status=status) == [status] * 8
    for _ in range(8):
        openai_simulator.will_fail(404)
        assert ask(hers, "openai/no-such-model").json()["error"]["code"] == "model_not_found"
    assert ask(http).status_code == 200
    assert ask(http, "openai/no-such-model").status_code == 200


def test_a_model_that_fails_for_one_tenant_on_the_environments_key_leaves_other_models_alone(
    http: httpx.Client, hers: httpx.Client, no_fallback: None, openai_simulator: OpenAISimulator
) -> None:
    fail(hers, openai_simulator, 5)
    assert ask(hers).status_code == 503
    assert ask(http, "openai/gpt-4o").status_code == 200
    # The upstream itself is down for this model: that is true for everybody who comes with the same key.
    assert ask(http).status_code == 503

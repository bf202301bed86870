"""A provider key is nowhere but sealed in its row, whatever faults repeat it, with logs at DEBUG."""

import base64
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import StringIO
from itertools import count
from typing import Any

import httpx
import pytest
import redis
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from agents.models import Agent, Run
from atom.ground.models import User, Workspace
from atom.ground.principal import Principal
from llm import smoke
from llm.models import ProviderKey
from llm.services import create_key
from tests.canary import SECRET, Records, all_rows, all_values, faults, traces_in
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.responses import ResponsesSimulator
from tests.simulators.scripts import Script
from tests.simulators.server import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 12
# 4 wires, some 60 kinds of fault: each wire has its share of the kinds, or all of them and half of them twice.
LEAST_FAULTS = {"each kind once": 50, "hundreds": 300}

# The provider whose key the wire gets, and a model that is called over it; the number makes each model its own
# circuit, so that no breaker keeps a fault away.
WIRES: dict[str, tuple[type[Simulator], str]] = {
    "groq": (OpenAISimulator, "llama-{}"),
    "openai": (ResponsesSimulator, "o3-pro-{}"),
    "anthropic": (AnthropicSimulator, "claude-haiku-{}"),
    "gemini": (GeminiSimulator, "gemini-2.5-flash-{}"),
}
PAGES = [
    "/admin/",
    "/admin/playground/",
    "/admin/llm/providerkey/",
    "/admin/agents/run/",
    "/admin/agents/session/",
    "/admin/ground/auditentry/",
    "/admin/ground/accesstoken/",
    "/admin/governance/decision/",
]
READS = [
    "/api/provider-keys/",
    "/api/runs/",
    "/api/sessions/",
    "/api/audit/",
    "/api/breakers/",
    "/api/models/",
    "/v1/models",
    "/v1/metrics/providers",
]


@pytest.fixture
def records() -> Iterator[Records]:
    """All log records of all loggers, from DEBUG on."""
    kept = Records()
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    before = [(one, one.level, one.propagate, one.disabled, one.filters[:]) for one in (logging.root, *loggers)]
    for one in (logging.root, *loggers):
        one.setLevel(logging.DEBUG)
        one.propagate, one.disabled, one.filters = True, False, []
    logging.root.addHandler(kept)
    yield kept
    logging.root.removeHandler(kept)
    for one, level, propagate, disabled, filters in before:
        one.setLevel(level)
        one.propagate, one.disabled, one.filters = propagate, disabled, filters


@pytest.fixture
def upstreams() -> Iterator[dict[str, Simulator]]:
    with ExitStack() as stack:
        yield {provider: stack.enter_context(kind()) for provider, (kind, _) in WIRES.items()}


@pytest.fixture
def keys(workspace: Workspace, upstreams: dict[str, Simulator]) -> dict[str, ProviderKey]:
    return {
        provider: create_key(
            workspace_id=workspace.id,
            provider=provider,
            name=f"canary of {provider}",
            secret=SECRET,
            base_url=simulator.base_url,
            by="test",
        )
        for provider, simulator in upstreams.items()
    }


@pytest.fixture
def hurried(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for what hangs."""
    settings.ATOM_FIRST_BYTE_TIMEOUT = settings.ATOM_CHUNK_TIMEOUT = 0.4
    settings.ATOM_TOTAL_TIMEOUT = 2.0
    monkeypatch.setattr("llm.services.TRY_WITHIN_S", 0.5)
    monkeypatch.setattr(smoke, "WITHIN_S", 0.5)


class Asker:
    """Asks through each door; keeps every answer, head and body."""

    def __init__(self, http: httpx.Client, keys: dict[str, ProviderKey]) -> None:
        self.answers: list[str] = []
        self._http = http
        self._keys = keys
        self._numbers = count()
        self._doors = (self.completion, self.streamed_completion, self.chat, self.streamed_chat, self.key_test)

    def ask(self, provider: str, place: int) -> None:
        self._doors[place % len(self._doors)](provider)

    def completion(self, provider: str, **given: Any) -> None:
        body = {"model": self._model(provider), "messages": [{"role": "user", "content": "hi"}], **given}
        self._post("/v1/chat/completions", body)

    def streamed_completion(self, provider: str) -> None:
        self.completion(provider, stream=True)

    def chat(self, provider: str, **given: Any) -> None:
        self._post("/api/agents/helper/chat/", {"message": "hi", "model": self._model(provider), **given})

    def streamed_chat(self, provider: str) -> None:
        self.chat(provider, stream=True)

    def key_test(self, provider: str) -> None:
        self._post(f"/api/provider-keys/{self._keys[provider].id}/test/", {"model": self._bare_model(provider)})

    def get(self, path: str) -> None:
        self._keep(self._http.get(path))

    def _bare_model(self, provider: str) -> str:
        return WIRES[provider][1].format(next(self._numbers))

    def _model(self, provider: str) -> str:
        return f"{provider}/{self._bare_model(provider)}"

    def _post(self, path: str, body: dict[str, Any]) -> None:
        self._keep(self._http.post(path, json=body))

    def _keep(self, answer: httpx.Response) -> None:
        self.answers.append(f"{answer.request.url}\n{answer.status_code} {answer.headers.multi_items()}\n{answer.text}")


def scripts_for(upstreams: dict[str, Simulator], how_many: str) -> dict[str, list[Script]]:
    if how_many == "hundreds":
        # Every second one once more, by which it meets another door.
        return {name: [*faults(simulator), *faults(simulator)[::2]] for name, simulator in upstreams.items()}
    wires = enumerate(upstreams.items())
    return {name: faults(simulator)[place :: len(upstreams)] for place, (name, simulator) in wires}


def ask_until_all_went_wrong(asker: Asker, upstreams: dict[str, Simulator], how_many: str) -> int:
    """Give every upstream its faults and ask until they are used up; the number of faults."""
    scripts = scripts_for(upstreams, how_many)
    for provider, simulator in upstreams.items():
        for script in scripts[provider]:
            simulator.will(script)
    for round_ in count():
        left = {provider: len(scripts[provider]) - len(one.requests) for provider, one in upstreams.items()}
        if max(left.values()) <= 0 or round_ == 4:
            break
        jobs = [(provider, place + round_) for provider, most in left.items() for place in range(most)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda job: asker.ask(*job), jobs))
    return sum(min(len(scripts[provider]), len(one.requests)) for provider, one in upstreams.items())


def smoke_output(upstreams: dict[str, Simulator]) -> str:
    for simulator in upstreams.values():
        simulator.will(Script(status=401, body=f"your key is {SECRET}", headers={"X-Echo": SECRET}))
    out, err = StringIO(), StringIO()
    call_command("smoke", stdout=out, stderr=err)
    # The simulated responses wire does not have the chat wire's address, over which OpenAI's cheapest is called.
    assert out.getvalue().count("provider_refused_key") == len(upstreams) - 1
    return out.getvalue() + err.getvalue()


def pages_of(browser: Client, keys: dict[str, ProviderKey]) -> Iterator[tuple[str, str]]:
    """Every admin page on which a call, a key or an entry could show, and each run's own."""
    rows = [f"/admin/llm/providerkey/{key.id}/change/" for key in keys.values()]
    rows += [f"/admin/agents/run/{run_id}/change/" for run_id in Run.objects.values_list("pk", flat=True)[:10]]
    for path in [*PAGES, *(f"{page}?p=2" for page in PAGES[3:6]), *rows]:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        yield path, answer.text + str(answer.headers)


def test_the_hunt_finds_a_trace_in_every_form() -> None:
    """A search that finds nothing anywhere would prove nothing."""
    for text in (SECRET, f"x{SECRET[:12]}", f"{SECRET[-12:]}y", repr({"a": SECRET}), httpx.QueryParams({"k": SECRET})):
        assert traces_in(str(text))
    assert traces_in(base64.b64encode(f"user:{SECRET}".encode()).decode())
    assert traces_in("an answer with nothing in it") == []


@pytest.mark.parametrize("how_many", ["each kind once", pytest.param("hundreds", marks=pytest.mark.chaos)])
def test_a_canary_key_is_nowhere_after_faults_that_repeat_it(
    http: httpx.Client,
    keys: dict[str, ProviderKey],
    upstreams: dict[str, Simulator],
    make_agent: Callable[..., Agent],
    alice: Principal,
    client: Client,
    store: redis.Redis,
    records: Records,
    hurried: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how_many: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    make_agent("helper")
    asker = Asker(http, keys)
    assert ask_until_all_went_wrong(asker, upstreams, how_many) >= LEAST_FAULTS[how_many]
    for path in (*READS, *(f"/api/runs/{run_id}/" for run_id in Run.objects.values_list("pk", flat=True)[:10])):
        asker.get(path)
    client.force_login(User.objects.get(pk=alice.user_id))
    places = [
        *(("answer", text) for text in asker.answers),
        *(("log", text) for text in records.texts),
        ("smoke", smoke_output(upstreams)),
        *pages_of(client, keys),
        *all_rows(),
        *all_values(store),
        ("output", "".join(capfd.readouterr())),
    ]
    assert all(seen.key.removeprefix("Bearer ") == SECRET for one in upstreams.values() for seen in one.requests)
    found = {(place, trace): text[:2000] for place, text in places for trace in traces_in(text)}
    assert found == {}
    # It was looked for where something is.
    assert Run.objects.count() > LEAST_FAULTS[how_many] / 3
    assert len(records.texts) > LEAST_FAULTS[how_many]

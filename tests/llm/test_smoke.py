"""`manage.py smoke`: the cheapest model of every provider that has a key answers one word."""

from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django import Settings

from atom.ground.home import new_encryption_key
from atom.ground.models import Workspace
from llm import probe, smoke
from llm.catalog import EMPTY
from llm.events import Usage
from llm.prices import priced
from llm.registry import PROVIDERS
from llm.services import create_key
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.server import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

KINDS: dict[str, type[Simulator]] = {"anthropic": AnthropicSimulator, "gemini": GeminiSimulator}
HEADERS = {"bearer": "authorization", "x-api-key": "x-api-key", "x-goog-api-key": "x-goog-api-key"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in PROVIDERS.values():
        monkeypatch.delenv(row.key_env, raising=False)
        monkeypatch.delenv(row.base_url_env, raising=False)


@pytest.fixture
def six() -> Iterator[dict[str, Simulator]]:
    """A simulated provider for each of the six."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(KINDS.get(name, OpenAISimulator)()) for name in smoke.BY_DEFAULT}


@pytest.fixture
def environment_keys(six: dict[str, Simulator], monkeypatch: pytest.MonkeyPatch) -> dict[str, Simulator]:
    for name, simulator in six.items():
        monkeypatch.setenv(PROVIDERS[name].key_env, f"sk-{name}")
        monkeypatch.setenv(PROVIDERS[name].base_url_env, simulator.base_url)
    return six


def run(*options: str) -> tuple[int, list[list[str]], str]:
    """Exit status, the table's cells (without its headings), standard error."""
    out, err, status = StringIO(), StringIO(), 0
    try:
        call_command("smoke", *options, stdout=out, stderr=err)
    except SystemExit as exc:
        status = int(str(exc.code))
    heading, *lines = out.getvalue().splitlines()
    starts = [heading.index(name) for name in heading.replace("WHAT IS WRONG", "WHAT").split()]
    ends = [*starts[1:], None]
    return status, [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines], err.getvalue()


def test_six_providers_answer(environment_keys: dict[str, Simulator]) -> None:
    status, rows, err = run("--strict")
    assert status == 0
    assert [(row[0], row[1], row[4]) for row in rows] == [(name, "environment", "ok") for name in smoke.BY_DEFAULT]
    assert all(row[5].endswith(" ms") and row[6] == "" for row in rows)
    assert "asked 6/6" in err
    for name, simulator in environment_keys.items():
        assert [simulator.last_said(asked) for asked in simulator.requests] == ["ping"], name


def test_each_is_asked_for_its_cheapest_variant(environment_keys: dict[str, Simulator]) -> None:
    _, rows, _ = run()
    for name, _, model, *_ in rows:
        prices = {one: priced(name, one, Usage(10, 16), EMPTY) for one in PROVIDERS[name].models}
        known = [price for price in prices.values() if price is not None]
        assert not known or prices[model] == min(known)
    assert {row[0]: row[2] for row in rows}["gemini"] == "gemini-2.5-flash-lite"
    assert probe.cheapest_model(PROVIDERS["ollama"], EMPTY) is None


@pytest.mark.parametrize(
    ("provider", "auth"),
    [("openai", "bearer"), ("anthropic", "x-api-key"), ("gemini", "x-goog-api-key"), ("ollama", "none")],
)
def test_every_authentication_mode(monkeypatch: pytest.MonkeyPatch, provider: str, auth: str) -> None:
    with KINDS.get(provider, OpenAISimulator)() as simulator:
        monkeypatch.setenv(PROVIDERS[provider].base_url_env, simulator.base_url)
        if auth != "none":
            monkeypatch.setenv(PROVIDERS[provider].key_env, "sk-smoke")
        _, rows, _ = run()
        assert [(row[3], row[4]) for row in rows if row[0] == provider] == [(auth, "ok")]
        sent = simulator.requests[0].headers
    expected = {} if auth == "none" else {HEADERS[auth]: "Bearer sk-smoke" if auth == "bearer" else "sk-smoke"}
    assert {name: sent[name] for name in HEADERS.values() if name in sent} == expected


def test_the_local_model_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAISimulator() as simulator:
        monkeypatch.setenv("LOCAL_BASE_URL", simulator.base_url)
        _, rows, _ = run()
    assert [row[2:5] for row in rows if row[0] == "local"] == [["smollm2", "none", "ok"]]


def test_without_keys_the_six_are_listed_as_such_and_nothing_is_proven() -> None:
    status, rows, err = run()
    assert (status, [(row[0], row[4]) for row in rows]) == (0, [(name, "no key") for name in smoke.BY_DEFAULT])
    assert rows[0][6] == "Set OPENAI_API_KEY or add a provider key."
    assert "nothing was asked" in err
    assert run("--strict")[0] == 1


def test_a_provider_without_a_key_does_not_fail_a_strict_run(
    monkeypatch: pytest.MonkeyPatch, openai_simulator: OpenAISimulator
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    assert run("--strict")[0] == 0


def test_one_that_refuses_is_named_and_fails_a_strict_run_only(environment_keys: dict[str, Simulator]) -> None:
    for _ in range(2):
        environment_keys["deepseek"].will_fail(401, body="your key {key} is wrong")
    status, rows, err = run()
    deepseek = next(row for row in rows if row[0] == "deepseek")
    assert (status, deepseek[4]) == (0, "provider_refused_key")
    assert deepseek[6] == "deepseek refused the key (status 401)."
    assert "sk-deepseek" not in str(rows) + err
    assert run("--strict")[0] == 1


def test_one_that_hangs_is_given_up_and_holds_up_nobody(
    environment_keys: dict[str, Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "WITHIN_S", 1.0)
    environment_keys["openai"].will_hang()
    _, rows, _ = run()
    assert [row[4] for row in rows] == ["provider_timeout", *["ok"] * 5]


def test_the_keys_of_workspaces_are_asked_each(workspace: Workspace, openai_simulator: OpenAISimulator) -> None:
    for name, priority in (("second", 2), ("first", 1)):
        create_key(
            workspace_id=workspace.id,
            provider="moonshot",
            name=name,
            secret=f"sk-{name}",
            base_url=openai_simulator.base_url,
            priority=priority,
            by="test",
        )
    _, rows, _ = run()
    assert [row[1] for row in rows if row[0] == "moonshot"] == ["Alice's: first", "Alice's: second"]


def test_a_key_that_does_not_open_or_may_not_be_called_is_said_so(
    workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key(workspace_id=workspace.id, provider="groq", name="lost", secret="sk-lost", by="test")
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(),)
    monkeypatch.setenv("QWEN_API_KEY", "sk-qwen")
    monkeypatch.setenv("QWEN_BASE_URL", "http://10.0.0.1/v1")
    status, rows, _ = run("--strict")
    said = {row[0]: row[6] for row in rows if row[4] == "unusable_key"}
    assert said.keys() == {"groq", "qwen"}
    assert "no longer opens" in said["groq"]
    assert "ATOM_ALLOWED_PROVIDER_HOSTS" in said["qwen"]
    assert status == 1

"""`POST /api/provider-keys/{id}/test/` and its button: one cheapest call with exactly that key."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from atom.ground.home import new_encryption_key
from atom.ground.models import AuditEntry, User, Workspace
from atom.ground.principal import Principal
from llm.models import ProviderKey
from llm.services import create_key
from tests.llm.calls import used
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator

Api = Callable[[Principal | None], APIClient]


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


def key_at(workspace: Workspace, url: str, *, name: str = "main", **given: Any) -> ProviderKey:
    values = {"provider": "openai", "secret": f"sk-{name}", "by": "test", "base_url": url, **given}
    return create_key(workspace_id=workspace.id, name=name, **values)


def outcome_of(client: APIClient, key: ProviderKey, **body: Any) -> Any:
    answer = client.post(f"/api/provider-keys/{key.id}/test/", body, format="json")
    assert answer.status_code == 200
    return answer.json()


def test_a_good_key_is_ok_and_its_health_is_written_down(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    key = key_at(workspace, openai_simulator.base_url)
    ProviderKey.objects.filter(pk=key.pk).update(last_error="openai refused the key (status 401).")
    found = outcome_of(api(alice), key)
    assert found.keys() == {"ok", "model", "latency_ms"}
    assert (found["ok"], found["latency_ms"] >= 0) == (True, True)
    key.refresh_from_db()
    assert (key.last_error, key.last_ok_at is not None) == ("", True)


def test_the_cheapest_model_is_asked_one_word(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    found = outcome_of(api(alice), key_at(workspace, openai_simulator.base_url))
    asked = openai_simulator.requests[0].json
    # Of gpt-4o-mini, gpt-4o, gpt-4.1 and gpt-4.1-mini.
    assert found["model"] == asked["model"] == "gpt-4o-mini"
    assert asked["messages"] == [{"role": "user", "content": "ping"}]
    assert asked["max_tokens"] == 16


def test_the_workspaces_own_price_decides_which_model_is_cheapest(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    price = {"model": "openai/gpt-4.1", "input_usd_per_million": "0", "output_usd_per_million": "0"}
    assert api(alice).post("/api/models/", price, format="json").status_code == 201
    assert outcome_of(api(alice), key_at(workspace, openai_simulator.base_url))["model"] == "gpt-4.1"


def test_a_model_can_be_named(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    found = outcome_of(api(alice), key_at(workspace, openai_simulator.base_url), model="gpt-next")
    assert found["model"] == openai_simulator.requests[0].json["model"] == "gpt-next"


def test_a_server_of_ones_own_is_asked_which_models_it_has(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    key = key_at(workspace, openai_simulator.base_url, provider="custom", secret="")
    assert outcome_of(api(alice), key)["model"] == "gpt-4o-mini"
    assert "authorization" not in openai_simulator.requests[0].headers


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "provider_refused_key", "openai refused the key (status 401)."),
        (402, "provider_refused_key", "openai refused the key (status 402)."),
        (429, "rate_limited", "openai limits the rate of calls."),
        (404, "model_not_found", "openai does not know this model."),
        (500, "provider_failed", "openai failed (status 500)."),
    ],
)
def test_what_is_wrong_is_said_in_our_words_and_kept(
    api: Api,
    alice: Principal,
    workspace: Workspace,
    openai_simulator: OpenAISimulator,
    status: int,
    code: str,
    said: str,
) -> None:
    key = key_at(workspace, openai_simulator.base_url)
    openai_simulator.will_fail(status, body='{"error": "your key {key} is bad"}')
    found = outcome_of(api(alice), key)
    assert (found["ok"], found["error"], found["code"]) == (False, said, code)
    key.refresh_from_db()
    assert (key.last_error, key.last_ok_at) == (said, None)


def test_it_is_this_key_or_none_and_nothing_rests_or_trips(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    key = key_at(workspace, openai_simulator.base_url, name="bad")
    key_at(workspace, openai_simulator.base_url, name="good", priority=1)
    for _ in range(6):
        openai_simulator.will_fail(401, retry_after=60)
    assert [outcome_of(api(alice), key)["ok"] for _ in range(6)] == [False] * 6
    assert used(openai_simulator) == ["sk-bad"] * 6
    assert [name for name in store.scan_iter() if b"cooldown" in name or b"breaker" in name] == []


def test_a_disabled_key_can_be_tested(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    assert outcome_of(api(alice), key_at(workspace, openai_simulator.base_url, is_enabled=False))["ok"]


def test_a_key_that_does_not_open_says_so_and_calls_nobody(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    key = key_at(workspace, openai_simulator.base_url)
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(),)
    found = outcome_of(api(alice), key)
    assert (found["ok"], found["model"]) == (False, None)
    assert found["error"] == "The key 'main' for openai no longer opens: enter its secret again."
    key.refresh_from_db()
    assert key.last_error == found["error"]
    assert openai_simulator.requests == []


def test_every_test_leaves_an_audit_entry(
    api: Api, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    key = key_at(workspace, openai_simulator.base_url)
    outcome_of(api(alice), key)
    openai_simulator.will_fail(401)
    outcome_of(api(alice), key)
    entries = AuditEntry.objects.filter(event="provider_key.tested").order_by("seq")
    assert [json.loads(one.entry)["details"]["outcome"] for one in entries] == ["ok", "provider_refused_key"]
    assert {one.actor for one in entries} == {"alice"}


def test_mallory_finds_nothing_and_members_may_not(
    api: Api,
    alice: Principal,
    carol: Principal,
    mallory: Principal,
    workspace: Workspace,
    openai_simulator: OpenAISimulator,
) -> None:
    path = f"/api/provider-keys/{key_at(workspace, openai_simulator.base_url).id}/test/"
    assert [api(one).post(path).status_code for one in (mallory, carol, None)] == [404, 403, 401]
    assert openai_simulator.requests == []


def test_a_provider_that_hangs_is_given_up(
    api: Api,
    alice: Principal,
    workspace: Workspace,
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm.services.TRY_WITHIN_S", 0.2)
    openai_simulator.will_hang()
    found = outcome_of(api(alice), key_at(workspace, openai_simulator.base_url))
    assert (found["ok"], found["code"]) == (False, "provider_timeout")


@pytest.mark.parametrize(
    ("kind", "provider", "header"),
    [(AnthropicSimulator, "anthropic", "x-api-key"), (GeminiSimulator, "gemini", "x-goog-api-key")],
)
def test_other_wires_are_tested_with_their_own_header(
    api: Api, alice: Principal, workspace: Workspace, kind: Any, provider: str, header: str
) -> None:
    with kind() as simulator:
        assert outcome_of(api(alice), key_at(workspace, simulator.base_url, provider=provider))["ok"]
        assert simulator.requests[0].headers[header] == "sk-main"


def test_the_admin_tests_a_key_after_a_question(
    client: Client, alice: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    client.force_login(User.objects.get(pk=alice.user_id))
    key = key_at(workspace, openai_simulator.base_url)
    assert "Test key" in client.get(f"/admin/llm/providerkey/{key.id}/change/").text
    page = f"/admin/llm/providerkey/{key.id}/test/"
    assert "Test main?" in client.get(page, follow=True).text
    assert openai_simulator.requests == []
    assert "main works: gpt-4o-mini answered in" in client.post(page, follow=True).text
    openai_simulator.will_fail(403)
    assert "refused the key (status 403)" in client.post(page, follow=True).text


def test_mallory_tests_no_key_of_alice_in_the_admin(
    client: Client, mallory: Principal, workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    client.force_login(User.objects.get(pk=mallory.user_id))
    key = key_at(workspace, openai_simulator.base_url)
    answer = client.post(f"/admin/llm/providerkey/{key.id}/test/", follow=True)
    assert "works" not in answer.text
    assert openai_simulator.requests == []

"""Breakers as people see and reset them: in the admin and over the API."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest
import redis
from django.test import Client
from rest_framework.test import APIClient

from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from atom.ground.store import close_store
from llm import breaker, cooldown, queries
from llm.breaker import Circuit
from llm.errors import KeyRefused
from llm.models import ProviderKey
from llm.services import create_key, update_key
from llm.shared import from_sync

Api = Callable[[Principal | None], APIClient]
LIST = "/admin/llm/providerkey/"


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


@pytest.fixture
def key(alice: Principal) -> ProviderKey:
    return create_key(workspace_id=alice.workspace_id, provider="openai", name="main", secret="sk-x", by="test")


def admin_of(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def opened(workspace_id: UUID, key_id: UUID | None) -> None:
    async def fail() -> None:
        circuit = Circuit(workspace_id, "openai", key_id, "gpt-4o-mini")
        for _ in range(5):
            permit = await breaker.admit(circuit, probe_s=60)
            assert permit is not None
            await breaker.record(permit, "failed")
        await close_store()

    asyncio.run(fail())


def states(principal: Principal) -> list[str]:
    return [one.state for one in queries.breakers_of(principal)]


def test_an_open_breaker_shows_in_the_admin_and_is_reset_there(alice: Principal, key: ProviderKey) -> None:
    opened(alice.workspace_id, key.id)
    client = admin_of(alice)
    for page in (LIST, f"{LIST}{key.id}/change/"):
        assert "gpt-4o-mini: open" in client.get(page).content.decode()
    assert "Reset breaker" in client.get(f"{LIST}{key.id}/change/").content.decode()
    reset = f"{LIST}{key.id}/reset-breaker/"
    assert "Reset the breaker of main?" in client.get(reset, follow=True).content.decode()
    assert states(alice) == ["open"]
    assert client.post(reset, follow=True).status_code == 200
    assert states(alice) == []
    assert AuditEntry.objects.filter(event="breaker.reset").count() == 1


def test_mallory_can_neither_see_nor_reset_alices_breaker(
    api: Api, alice: Principal, mallory: Principal, key: ProviderKey
) -> None:
    opened(alice.workspace_id, key.id)
    admin_of(mallory).post(f"{LIST}{key.id}/reset-breaker/", follow=True)
    assert api(mallory).get("/api/breakers/").json()["results"] == []
    named = {"provider": "openai", "model": "gpt-4o-mini", "key_id": str(key.id)}
    assert api(mallory).post("/api/breakers/reset/", named, format="json").status_code == 404
    assert states(alice) == ["open"]


def test_breakers_over_the_api_are_listed_and_reset(api: Api, alice: Principal, key: ProviderKey) -> None:
    opened(alice.workspace_id, key.id)
    row = api(alice).get("/api/breakers/").json()["results"][0]
    assert row == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "key_id": str(key.id),
        "state": "open",
        "failures": 0,
    }
    assert api(alice).post("/api/breakers/reset/", row, format="json").status_code == 204
    assert states(alice) == []


def test_only_the_installations_admin_resets_the_environments_breaker(
    api: Api, alice: Principal, mallory: Principal
) -> None:
    opened(mallory.workspace_id, None)
    # It is everybody's to see.
    assert states(alice) == ["open"]
    named = {"provider": "openai", "model": "gpt-4o-mini"}
    assert api(mallory).post("/api/breakers/reset/", named, format="json").status_code == 403
    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    assert api(alice).post("/api/breakers/reset/", named, format="json").status_code == 204
    assert states(mallory) == []


def test_members_do_not_see_breakers(api: Api, carol: Principal) -> None:
    assert api(carol).get("/api/breakers/").status_code == 403


def test_a_new_secret_ends_the_rest_of_the_old_one(key: ProviderKey) -> None:
    name = cooldown.name_of(key.provider, key.id)
    from_sync(cooldown.cool(name, KeyRefused("")))
    assert from_sync(cooldown.rests([name]))
    update_key(key=key, by="test", secret="sk-new")
    assert from_sync(cooldown.rests([name])) == {}

"""A whole call: keys from the database, the wire, the simulator; and the next key when one fails."""

import asyncio
from contextlib import aclosing
from uuid import UUID

import pytest
import redis
from django.db import DatabaseError
from pytest_django import Settings

from atom.ground.errors import ModelNotFound
from atom.ground.models import Workspace
from llm import attempts, cooldown, http, keyring, retries, services
from llm.chat import Call
from llm.errors import BadResponse, ConnectFailed, KeyRefused, NoProvider, RateLimited, RequestRefused, TimedOut
from llm.events import Event, Finished, TextDelta
from llm.messages import Message, Request, Text
from llm.models import ProviderKey
from llm.services import create_key
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_remembered(store: redis.Redis) -> None:
    keyring._remembered.clear()
    keyring._turns.clear()
    attempts._noted.clear()
    retries.forget()


@pytest.fixture
def keys(workspace: Workspace, openai_simulator: OpenAISimulator) -> list[ProviderKey]:
    """Two keys of one provider, the first used first."""
    return [
        create_key(
            workspace_id=workspace.id,
            provider="openai",
            name=name,
            secret=f"sk-{name}",
            base_url=openai_simulator.base_url,
            priority=priority,
            by="test",
        )
        for priority, name in enumerate(["first", "second"])
    ]


def call_of(workspace: Workspace, model: str = "openai/gpt-4o-mini") -> Call:
    return Call(workspace_id=workspace.id, request=Request(model, (Message("user", (Text("hi"),)),)))


async def events_of(call: Call, seen: list[Event] | None = None) -> list[Event]:
    seen = [] if seen is None else seen
    async with aclosing(call.events()) as events:
        async for event in events:
            seen.append(event)
    return seen


def used(simulator: OpenAISimulator) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in simulator.requests]


async def test_a_call_says_who_served_and_how_many_attempts_it_took(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    call = call_of(workspace)
    events = await events_of(call)
    assert isinstance(events[-1], Finished)
    assert (call.provider, call.model, call.attempts) == ("openai", "gpt-4o-mini", 1)
    assert openai_simulator.requests[0].json["model"] == "gpt-4o-mini"
    assert used(openai_simulator) == ["sk-first"]


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 503, 408])
async def test_a_failure_before_the_first_event_moves_on_to_the_next_key(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator, status: int
) -> None:
    openai_simulator.will_fail(status)
    openai_simulator.will_say("from the second")
    call = call_of(workspace)
    events = await events_of(call)
    assert events[0] == TextDelta("from")
    assert call.attempts == 2
    assert used(openai_simulator) == ["sk-first", "sk-second"]


async def test_a_stream_cut_before_its_first_content_counts_as_failed_before_it(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("lost", cut_after=0)
    call = call_of(workspace)
    assert isinstance((await events_of(call))[-1], Finished)
    assert call.attempts == 2


async def test_after_the_first_event_a_failure_is_raised_and_nothing_is_repeated(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three", cut_after=2)
    call, seen = call_of(workspace), list[Event]()
    with pytest.raises(BadResponse):
        await events_of(call, seen)
    assert seen == [TextDelta("one"), TextDelta(" two")]
    assert call.attempts == 1


async def test_a_refused_request_goes_nowhere_else(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(400)
    call = call_of(workspace)
    with pytest.raises(RequestRefused):
        await events_of(call)
    assert call.attempts == 1


async def test_when_all_keys_are_limited_the_call_stays_limited_until_the_first_is_free(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(429, retry_after=7)
    openai_simulator.will_fail(429, retry_after=3)
    call = call_of(workspace)
    with pytest.raises(RateLimited) as caught:
        await events_of(call)
    assert (caught.value.retry_after_s, call.attempts) == (3, 2)


async def test_nothing_configured_and_nothing_known_call_nobody(workspace: Workspace) -> None:
    call = call_of(workspace)
    with pytest.raises(NoProvider):
        await events_of(call)
    assert (call.provider, call.attempts) == ("", 0)
    with pytest.raises(ModelNotFound):
        await events_of(call_of(workspace, "nobody/x"))


async def test_the_deadline_is_for_all_attempts_together(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_TOTAL_TIMEOUT = 0.3
    openai_simulator.will_hang()
    call = call_of(workspace)
    with pytest.raises(TimedOut, match="was not asked any more"):
        await events_of(call)
    assert call.attempts == 1


async def test_the_second_attempt_gets_what_the_first_has_left(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT, settings.ATOM_TOTAL_TIMEOUT = 1.0, 1.5
    openai_simulator.will_hang()
    openai_simulator.will_hang()
    call = call_of(workspace)
    # Alone it would have waited for its first byte as long as the first did.
    with pytest.raises(TimedOut, match="did not finish within"):
        await events_of(call)
    assert call.attempts == 2


async def test_a_keys_health_is_written_down_in_our_words(
    workspace: Workspace, keys: list[ProviderKey], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(401, body="their words")
    await events_of(call_of(workspace))
    first, second = [await ProviderKey.objects.aget(pk=key.pk) for key in keys]
    assert first.last_error == "openai refused the key (status 401)."
    assert first.last_ok_at is None
    assert second.last_ok_at is not None
    await cooldown.wake(cooldown.name_of("openai", first.id))
    # Its rest is over, and it works again: that is news, and is written at once.
    await events_of(call_of(workspace))
    await first.arefresh_from_db()
    assert first.last_error == ""
    assert first.last_ok_at is not None
    # It still works: that is not.
    before = first.last_ok_at
    await events_of(call_of(workspace))
    await first.arefresh_from_db()
    assert first.last_ok_at == before


async def test_a_database_error_while_noting_health_does_not_fail_the_call(
    workspace: Workspace, keys: list[ProviderKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, key_id: UUID, error: str) -> None:
        raise DatabaseError

    monkeypatch.setattr(services, "record_key_health", fail)
    assert isinstance((await events_of(call_of(workspace)))[-1], Finished)


async def test_the_environments_key_serves_every_workspace(
    workspace: Workspace, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    openai_simulator.will_fail(403)
    with pytest.raises(KeyRefused):
        await events_of(call_of(workspace))
    assert used(openai_simulator) == ["sk-env"]


async def test_the_local_model_needs_no_allowed_host(
    workspace: Workspace, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.ATOM_ALLOWED_PROVIDER_HOSTS = []
    monkeypatch.setenv("LOCAL_BASE_URL", openai_simulator.base_url)
    monkeypatch.setenv("LOCAL_API_KEY", "random")
    call = call_of(workspace, "local/smollm2")
    await events_of(call)
    assert (call.provider, call.model) == ("local", "smollm2")
    assert used(openai_simulator) == ["random"]


async def test_a_name_that_turns_private_after_its_check_is_not_called(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, openai_simulator: OpenAISimulator
) -> None:
    create_url = f"http://rebind.example.com:{openai_simulator.port}/v1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", create_url)

    async def resolve(host: str, port: int, **given: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    with pytest.raises(ConnectFailed, match="may not be called"):
        await events_of(call_of(workspace))
    assert openai_simulator.requests == []


async def test_the_client_of_a_loop_is_made_once_and_closed() -> None:
    assert http.client() is http.client()
    await http.close_client()
    await http.close_client()

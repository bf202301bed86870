"""Idempotency-Key on the REST doors: one effect, its answer again, nobody else's."""

import concurrent.futures
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Session
from agents.services import ensure_direct_agent
from atom.ground.api.doors import AsyncDoor
from atom.ground.api.once import Once
from atom.ground.idempotency import LEASE, key_of
from atom.ground.models import AccessToken, IdempotencyKey
from atom.ground.principal import Principal
from tests.events import bearer

Api = Callable[..., APIClient]
NEW: Any = {"name": "deploy", "scopes": ["chat"]}


def make(client: APIClient, key: str = "k1", body: Any = NEW) -> Any:
    return client.post("/api/tokens/", body, format="json", headers={"Idempotency-Key": key})


def test_the_same_key_gives_the_first_answer_again(api: Api, alice: Principal) -> None:
    client = api(alice)
    before = AccessToken.objects.count()
    first, second = make(client), make(client)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second["Idempotent-Replayed"] == "true"
    assert AccessToken.objects.count() == before + 1


def test_another_key_is_another_request(api: Api, alice: Principal) -> None:
    client = api(alice)
    assert make(client, "k1").content != make(client, "k2").content


def test_a_stored_answer_does_not_show_the_token_that_is_in_it(api: Api, alice: Principal) -> None:
    secret = make(api(alice)).json()["token"]
    row = IdempotencyKey.objects.get()
    assert secret.encode() not in bytes(row.body or b"")
    assert "k1" not in row.scope


@pytest.mark.parametrize("again", ['"k1"', " k1 ", ' "k1" '], ids=["quoted", "blanks", "both"])
def test_quoted_and_bare_are_the_same_key(api: Api, alice: Principal, again: str) -> None:
    client = api(alice)
    assert make(client, again).content == make(client, "k1").content


def test_another_body_is_refused(api: Api, alice: Principal) -> None:
    client = api(alice)
    make(client)
    answer = make(client, body={**NEW, "name": "other"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_the_order_of_a_bodys_fields_does_not_matter(api: Api, alice: Principal) -> None:
    client = api(alice)
    assert make(client, body=dict(reversed(NEW.items()))).content == make(client).content


@pytest.mark.parametrize("key", ["k" * 256, "", '""'], ids=["256", "empty", "quotes"])
def test_a_key_that_is_too_long_or_empty_is_refused(api: Api, alice: Principal, key: str) -> None:
    assert make(api(alice), key).status_code == 400


def test_a_key_may_have_255_characters(api: Api, alice: Principal) -> None:
    assert make(api(alice), "k" * 255).status_code == 201
    assert key_of(f'"{"k" * 255}"') == "k" * 255


def test_a_refused_request_leaves_the_key_free(api: Api, alice: Principal) -> None:
    client = api(alice)
    assert make(client, body={"name": ""}).status_code == 400
    assert make(client).status_code == 201


def test_keys_are_not_shared_with_mallory_or_a_colleague(
    api: Api, alice: Principal, carol: Principal, mallory: Principal
) -> None:
    body = {"name": "mine", "scopes": ["chat"]}
    answers = {make(api(who), body=body).content for who in (alice, carol, mallory)}
    assert len(answers) == 3


def test_a_key_in_flight_is_409_with_a_whole_number_of_seconds(api: Api, alice: Principal) -> None:
    client = api(alice)
    make(client)
    IdempotencyKey.objects.update(status=None, lease_until=timezone.now() + LEASE)
    answer = make(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_in_flight")
    assert int(answer["Retry-After"]) >= 1


def test_a_key_whose_process_died_is_free_within_a_minute(api: Api, alice: Principal) -> None:
    client = api(alice)
    first = make(client)
    assert timedelta(seconds=60) > LEASE
    IdempotencyKey.objects.update(status=None, lease_until=timezone.now() - timedelta(seconds=1))
    second = make(client)
    assert (second.status_code, second.content == first.content) == (201, False)


def test_an_answer_is_remembered_for_a_day(api: Api, alice: Principal) -> None:
    client = api(alice)
    first = make(client)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert make(client).content == first.content
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert make(client).content != first.content


def test_an_effect_whose_key_was_lost_does_not_happen(
    api: Api, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request slower than its lease: another has the key when it is done."""
    from_service = AccessToken.objects.create

    def slow(**given: Any) -> AccessToken:
        IdempotencyKey.objects.update(holder="00000000-0000-4000-8000-000000000000")
        return from_service(**given)

    client = api(alice)
    before = AccessToken.objects.count()
    monkeypatch.setattr(AccessToken.objects, "create", slow)
    assert make(client).status_code == 409
    assert AccessToken.objects.count() == before


def views_of(patterns: list[Any], at: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for one in patterns:
        if isinstance(one, URLResolver):
            found += views_of(one.url_patterns, at + str(one.pattern))
        elif isinstance(one, URLPattern):
            found.append((at + str(one.pattern), one.callback))
    return found


def test_every_rest_door_takes_keys() -> None:
    views = [(path, getattr(view, "cls", None)) for path, view in views_of(get_resolver().url_patterns)]
    rest = [(path, view) for path, view in views if view is not None and not issubclass(view, AsyncDoor)]
    posted = [(path, view) for path, view in rest if hasattr(view, "post")]
    assert [path for path, view in posted if not issubclass(view, Once)] == []
    assert len(posted) > 40


@pytest.mark.parametrize(
    ("keys", "times"), [(10, 8), pytest.param(200, 20, marks=pytest.mark.chaos)], ids=["few", "many"]
)
def test_keys_asked_for_at_once_have_one_effect_each(
    server: str, alice: Principal, token_of: Callable[[Principal], str], keys: int, times: int
) -> None:
    ensure_direct_agent(workspace_id=alice.workspace_id)
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=120) as client:

        def ask(key: int) -> tuple[int, int, bytes]:
            body = {"agent": "direct", "title": f"session {key}"}
            answer = client.post("/api/sessions/", json=body, headers={"Idempotency-Key": f"k{key}"})
            return key, answer.status_code, answer.content

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, [key for key in range(keys) for _ in range(times)]))
    assert Session.objects.count() == keys
    assert {status for _, status, _ in answers} <= {201, 409}
    for key in range(keys):
        assert len({content for one, status, content in answers if one == key and status == 201}) == 1


@pytest.mark.parametrize("key", [None, "from-a-page"])
def test_a_signed_in_page_writes_over_rest_with_or_without_a_key(alice: Principal, key: str | None) -> None:
    ensure_direct_agent(workspace_id=alice.workspace_id)
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.get(pk=alice.user_id))
    client.cookies[settings.CSRF_COOKIE_NAME] = token = "a" * 32
    given = {"X-CSRFToken": token} | ({"Idempotency-Key": key} if key else {})
    answers = [client.post("/api/sessions/", {"agent": "direct"}, format="json", headers=given) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert Session.objects.count() == (1 if key else 2)
    assert client.post("/api/sessions/", {"agent": "direct"}, format="json").status_code == 403

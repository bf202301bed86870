"""`/api/provider-keys/` and the admin's page of them."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from atom.ground.home import new_encryption_key
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from llm.models import ProviderKey
from llm.services import create_key

Api = Callable[[Principal | None], APIClient]
SECRET = "sk-canary-0123456789-WXYZ"
NEW = {"provider": "openai", "name": "main", "secret": SECRET}
PATH = "/api/provider-keys/"


def made(principal: Principal, **given: Any) -> ProviderKey:
    values = {"provider": "openai", "name": "main", "secret": SECRET, "by": "test", **given}
    return create_key(workspace_id=principal.workspace_id, **values)


def test_a_key_is_made_and_its_secret_never_returned(api: Api, alice: Principal) -> None:
    client = api(alice)
    answer = client.post(PATH, NEW, format="json")
    assert answer.status_code == 201
    key = ProviderKey.objects.get(pk=answer.json()["id"])
    assert key.secret() == SECRET
    assert key.hint == "WXYZ"
    for body in (answer, client.get(PATH), client.get(f"{PATH}{key.id}/")):
        assert "canary" not in body.content.decode()
    assert client.get(f"{PATH}{key.id}/").json()["is_decryptable"] is True


def test_no_trace_of_the_secret_lies_in_the_database_or_the_audit_trail(api: Api, alice: Principal) -> None:
    client = api(alice)
    key_id = client.post(PATH, NEW, format="json").json()["id"]
    client.patch(f"{PATH}{key_id}/", {"secret": "sk-canary-another-one", "priority": 1}, format="json")
    client.delete(f"{PATH}{key_id}/")
    entries = AuditEntry.objects.filter(event__startswith="provider_key.").order_by("seq")
    assert [entry.event.partition(".")[2] for entry in entries] == ["created", "updated", "deleted"]
    assert not any("canary" in entry.entry for entry in entries)
    assert '"changed":["priority","secret"]' in entries[1].entry
    assert not ProviderKey.objects.exists()


def test_lists_are_paged_and_hold_the_workspaces_own(api: Api, alice: Principal, mallory: Principal) -> None:
    made(alice)
    made(mallory)
    body = api(alice).get(PATH).json()
    assert set(body) == {"results", "next", "previous"}
    assert len(body["results"]) == 1


def test_a_key_is_changed(api: Api, alice: Principal) -> None:
    key = made(alice)
    changes = {"name": "second", "secret": "sk-other-secret-9999", "is_enabled": False, "priority": 5, "base_url": ""}
    body = api(alice).patch(f"{PATH}{key.id}/", changes, format="json").json()
    assert (body["name"], body["hint"], body["is_enabled"], body["priority"]) == ("second", "9999", False, 5)
    key.refresh_from_db()
    assert key.secret() == "sk-other-secret-9999"


def test_another_workspaces_key_looks_missing_to_mallory(api: Api, alice: Principal, mallory: Principal) -> None:
    key = made(alice)
    client = api(mallory)
    for answer in (
        client.get(f"{PATH}{key.id}/"),
        client.patch(f"{PATH}{key.id}/", {"name": "mine"}, format="json"),
        client.delete(f"{PATH}{key.id}/"),
        client.get(f"{PATH}{uuid.uuid4()}/"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    key.refresh_from_db()
    assert key.name == "main"


def test_members_and_strangers_do_not_come_near_keys(api: Api, carol: Principal) -> None:
    assert api(carol).get(PATH).status_code == 403
    assert api(carol).post(PATH, NEW, format="json").status_code == 403
    assert api(None).get(PATH).status_code == 401


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"provider": "nobody"}, "invalid_request"),
        ({"provider": "local"}, "invalid_request"),
        ({"secret": ""}, "invalid_request"),
        ({"secret": "two words"}, "invalid_request"),
        ({"secret": "line\nbreak"}, "invalid_request"),
        ({"secret": "schlüssel"}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"priority": -1}, "invalid_request"),
        ({"priority": "first"}, "invalid_request"),
        ({"base_url": "http://169.254.169.254/v1"}, "forbidden_address"),
        ({"base_url": "http://localhost:8000/v1"}, "forbidden_address"),
        ({"base_url": "http://0x7f000001/v1"}, "forbidden_address"),
        ({"base_url": "ftp://example.com"}, "forbidden_address"),
        ({"base_url": "https://example.com/v1?key=1"}, "invalid_request"),
        ({"provider": "custom"}, "invalid_request"),
    ],
)
def test_an_unusable_key_is_a_400(api: Api, alice: Principal, changes: dict[str, Any], code: str) -> None:
    answer = api(alice).post(PATH, {**NEW, **changes}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert not ProviderKey.objects.exists()


def test_a_change_is_checked_like_a_new_key(api: Api, alice: Principal) -> None:
    key = made(alice, provider="custom", secret="", base_url="http://127.0.0.1:9/v1/")
    assert key.base_url == "http://127.0.0.1:9/v1"
    for changes in ({"base_url": "http://10.0.0.1/"}, {"base_url": ""}, {"secret": ""}):
        assert api(alice).patch(f"{PATH}{key.id}/", changes, format="json").status_code == 400


def test_a_short_secret_has_no_hint(alice: Principal) -> None:
    assert made(alice, secret="short").hint == ""
    assert str(made(alice)) == "openai: main"


# --- Admin --------------------------------------------------------------------------------------------
LIST = "/admin/llm/providerkey/"


@pytest.fixture
def admin_of(client: Client) -> Callable[[Principal], Client]:
    def sign_in(principal: Principal) -> Client:
        client.force_login(User.objects.get(pk=principal.user_id))
        return client

    return sign_in


def form_of(**given: Any) -> dict[str, Any]:
    return {
        "provider": "groq", "name": "from the admin", "secret": SECRET, "base_url": "", "priority": 3,
        "is_enabled": "on", **given,
    }  # fmt: skip


def test_the_admin_makes_changes_and_removes_keys(admin_of: Callable[[Principal], Client], alice: Principal) -> None:
    client = admin_of(alice)
    assert client.post(f"{LIST}add/", form_of()).status_code == 302
    key = ProviderKey.objects.get()
    assert (key.provider, key.secret(), key.workspace_id) == ("groq", SECRET, alice.workspace_id)
    page = client.get(f"{LIST}{key.id}/change/").content.decode()
    assert "canary" not in page
    assert "not used yet" in page
    # An empty secret keeps the present one.
    assert client.post(f"{LIST}{key.id}/change/", form_of(secret="", name="renamed")).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.secret()) == ("renamed", SECRET)
    assert client.post(f"{LIST}{key.id}/delete/", {"post": "yes"}).status_code == 302
    assert [entry.event for entry in AuditEntry.objects.filter(event__startswith="provider_key").order_by("seq")] == [
        "provider_key.created",
        "provider_key.updated",
        "provider_key.deleted",
    ]


def test_the_admin_shows_a_refusal_as_a_message(admin_of: Callable[[Principal], Client], alice: Principal) -> None:
    answer = admin_of(alice).post(f"{LIST}add/", form_of(base_url="http://10.0.0.1/v1"), follow=True)
    assert "not a public address" in answer.content.decode()
    assert not ProviderKey.objects.exists()


def test_a_key_that_no_longer_opens_is_red_in_the_admin(
    admin_of: Callable[[Principal], Client], alice: Principal, settings: Settings
) -> None:
    key = made(alice)
    failing = made(alice, name="failing")
    ProviderKey.objects.filter(pk=failing.pk).update(last_error="openai refused the key (status 401).")
    settings.ATOM_ENCRYPTION_KEYS = (*settings.ATOM_ENCRYPTION_KEYS,)
    client = admin_of(alice)
    assert "refused the key" in client.get(LIST).content.decode()
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(),)
    page = client.get(LIST).content.decode()
    assert "no longer opens" in page
    assert "text-red" in page
    assert not key.is_decryptable


def test_mallory_sees_no_key_of_alice_in_the_admin(
    admin_of: Callable[[Principal], Client], alice: Principal, mallory: Principal
) -> None:
    key = made(alice, name="alices-own")
    client = admin_of(mallory)
    assert "alices-own" not in client.get(LIST).content.decode()
    assert "alices-own" not in client.get(f"{LIST}{key.id}/change/", follow=True).content.decode()
    client.post(f"{LIST}{key.id}/change/", form_of(name="mine"))
    client.post(f"{LIST}{key.id}/delete/", {"post": "yes"})
    assert ProviderKey.objects.get().name == "alices-own"

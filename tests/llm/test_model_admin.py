"""A workspace's own prices and names of models: removed over the API, kept in the admin."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from llm.model_services import set_alias, set_price
from llm.models import ModelAlias, ModelPrice

Api = Callable[[Principal | None], APIClient]
PRICES, ALIASES = "/admin/llm/modelprice/", "/admin/llm/modelalias/"


def price_of(principal: Principal) -> ModelPrice:
    return set_price(
        workspace_id=principal.workspace_id,
        model="groq/zebra",
        input_usd_per_million=Decimal(1),
        output_usd_per_million=Decimal(2),
        by="test",
    )[0]


def events() -> list[str]:
    found = AuditEntry.objects.filter(event__startswith="model_").order_by("at")
    return [entry.event for entry in found]


@pytest.fixture
def browser(client: Client, alice: Principal) -> Client:
    client.force_login(User.objects.get(pk=alice.user_id))
    return client


def test_an_own_price_is_removed_and_the_lists_price_counts_again(api: Api, alice: Principal) -> None:
    price = price_of(alice)
    assert api(alice).delete(f"/api/models/{price.id}/").status_code == 204
    assert not ModelPrice.objects.exists()
    assert events() == ["model_price.set", "model_price.deleted"]
    assert api(alice).delete(f"/api/models/{price.id}/").status_code == 404


def test_a_price_is_its_workspaces_and_its_owners_to_remove(
    api: Api, alice: Principal, carol: Principal, mallory: Principal
) -> None:
    path = f"/api/models/{price_of(alice).id}/"
    assert [api(one).delete(path).status_code for one in (mallory, carol, None)] == [404, 403, 401]
    assert ModelPrice.objects.count() == 1


def test_the_admin_sets_changes_and_removes_a_price(browser: Client, alice: Principal) -> None:
    form: dict[str, Any] = {"model": "groq/zebra", "input_usd_per_million": "1.5", "output_usd_per_million": "2"}
    assert browser.post(f"{PRICES}add/", form).status_code == 302
    price = ModelPrice.objects.get()
    assert (price.workspace_id, price.model, price.input_usd_per_million) == (
        alice.workspace_id, "groq/zebra", Decimal("1.5"),
    )  # fmt: skip
    changed = {"input_usd_per_million": "3", "output_usd_per_million": "4", "cached_usd_per_million": "0.5"}
    assert browser.post(f"{PRICES}{price.id}/change/", changed).status_code == 302
    price.refresh_from_db()
    assert (price.model, price.input_usd_per_million, price.cached_usd_per_million) == (
        "groq/zebra", Decimal(3), Decimal("0.5"),
    )  # fmt: skip
    assert browser.post(f"{PRICES}{price.id}/delete/", {"post": "yes"}).status_code == 302
    assert not ModelPrice.objects.exists()
    assert events() == ["model_price.set", "model_price.set", "model_price.deleted"]


def test_the_admin_sets_changes_and_removes_an_alias(browser: Client, alice: Principal) -> None:
    assert browser.post(f"{ALIASES}add/", {"alias": "fast", "model": "auto:cheap"}).status_code == 302
    alias = ModelAlias.objects.get(workspace_id=alice.workspace_id, alias="fast")
    assert browser.post(f"{ALIASES}{alias.id}/change/", {"model": "auto:best"}).status_code == 302
    alias.refresh_from_db()
    assert (alias.alias, alias.model) == ("fast", "auto:best")
    assert browser.post(f"{ALIASES}{alias.id}/delete/", {"post": "yes"}).status_code == 302
    assert events() == ["model_alias.set", "model_alias.set", "model_alias.deleted"]


@pytest.mark.parametrize(
    ("page", "form", "said"),
    [
        (PRICES, {"model": "groq/zebra", "input_usd_per_million": "-1", "output_usd_per_million": "2"}, "0 or more"),
        (PRICES, {"model": "zebra", "input_usd_per_million": "1", "output_usd_per_million": "2"}, "provider/id"),
        (ALIASES, {"alias": "auto", "model": "openai/gpt-4o"}, "is not &#x27;auto&#x27;"),
    ],
)
def test_a_refusal_is_a_message_on_the_page(browser: Client, page: str, form: dict[str, str], said: str) -> None:
    assert said in browser.post(f"{page}add/", form, follow=True).text
    assert not ModelPrice.objects.exists()
    assert not ModelAlias.objects.exists()


def test_mallory_changes_and_removes_nothing_of_alice(client: Client, alice: Principal, mallory: Principal) -> None:
    price = price_of(alice)
    alias, _ = set_alias(workspace_id=alice.workspace_id, alias="zebra", model="groq/zebra", by="test")
    client.force_login(User.objects.get(pk=mallory.user_id))
    for page, row in ((PRICES, price), (ALIASES, alias)):
        assert "zebra" not in client.get(page).text
        client.post(f"{page}{row.pk}/change/", {"model": "groq/mine", "alias": "mine"})
        client.post(f"{page}{row.pk}/delete/", {"post": "yes"})
        row.refresh_from_db()
        assert row.model == "groq/zebra"

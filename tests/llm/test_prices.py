"""The workspace's own prices and aliases, and the list of models."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from genai_prices import Usage as Counted
from genai_prices.data_snapshot import get_snapshot
from rest_framework.test import APIClient

from atom.ground.models import AuditEntry, Workspace
from atom.ground.principal import Principal
from llm import catalog, keyring
from llm.catalog import Catalog, Price
from llm.events import Usage
from llm.model_services import set_price
from llm.models import ModelAlias, ModelPrice
from llm.prices import context_window_of, cost_usd, priced
from llm.registry import PROVIDERS
from llm.services import create_key

Api = Callable[[Principal | None], APIClient]
PATH = "/api/models/"
NEW = {"model": "openai/my-tune", "input_usd_per_million": "3", "output_usd_per_million": "15"}


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    keyring._remembered.clear()
    catalog._remembered.clear()


def own(**given: str) -> Catalog:
    price = Price(*(Decimal(given.get(name, "0")) for name in ("input", "output", "cached")))
    return Catalog(prices={"openai/gpt-4o": price})


# --- What a call costs --------------------------------------------------------------------------------
def test_the_workspaces_price_comes_before_the_lists() -> None:
    found = priced("openai", "gpt-4o", Usage(1000, 10, 400), own(input="2", output="8", cached="0.5"))
    assert found == (600 * Decimal(2) + 400 * Decimal("0.5") + 10 * Decimal(8)) / 1_000_000
    assert priced("openai", "gpt-4o-mini", Usage(1000, 7, 100), own()) == Decimal("0.0001467")


def test_a_price_of_zero_is_free_and_no_price_is_not() -> None:
    assert priced("openai", "gpt-4o", Usage(1000, 10), own()) == 0
    assert priced("openai", "nothing", Usage(1000, 10), own()) is None


@pytest.mark.parametrize("usage", [Usage(1000, 10), Usage(7, 0, 7), Usage(300_001, 70_003, 1), Usage(0, 5), Usage()])
def test_every_listed_model_costs_exactly_what_the_list_says(usage: Usage) -> None:
    counted = Counted(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens
    )
    lists = {one.id: one for one in get_snapshot().providers}
    listed = [(one.name, lists[one.prices]) for one in PROVIDERS.values() if one.prices in lists]
    compared = 0
    for provider, price_list in listed:
        for name in [row.id for row in price_list.models]:
            row, ours = price_list.find_model(name), priced(provider, name, usage, catalog.EMPTY)
            if row is not None and ours is not None:
                assert ours == row.calc_price(counted, price_list).total_price, f"{provider}/{name}"
                compared += 1
    assert compared > 100


def test_a_tiny_price_is_not_rounded() -> None:
    assert priced("openai", "gpt-4o", Usage(1, 0), own(input="0.000000001")) == Decimal("1e-15")


def test_more_cached_than_sent_is_no_error_with_an_own_price() -> None:
    assert priced("openai", "gpt-4o", Usage(10, 0, 99), own(input="2", cached="1")) == Decimal("0.00001")


def test_the_local_model_costs_what_the_workspace_says() -> None:
    priced_local = Catalog(prices={"local/smollm2": Price(Decimal(1), Decimal(1), Decimal(1))})
    assert priced("local", "smollm2", Usage(1_000_000), priced_local) == 1
    assert priced("local", "smollm2", Usage(1_000_000), own()) == 0


def test_a_price_counts_for_its_own_workspace_as_last_read(workspace: Workspace, mallory: Principal) -> None:
    set_price(
        workspace_id=workspace.id,
        model="openai/gpt-4o",
        input_usd_per_million=Decimal(1),
        output_usd_per_million=Decimal(2),
        by="test",
    )
    listed = cost_usd("openai", "gpt-4o", Usage(1_000_000))
    assert cost_usd("openai", "gpt-4o", Usage(1_000_000), workspace_id=workspace.id) == listed
    catalog.catalog_of(workspace.id)
    catalog.catalog_of(mallory.workspace_id)
    assert cost_usd("openai", "gpt-4o", Usage(1_000_000), workspace_id=workspace.id) == 1
    # Without a cached price of its own, cached input costs as any.
    assert cost_usd("openai", "gpt-4o", Usage(1_000_000, 0, 1_000_000), workspace_id=workspace.id) == 1
    assert cost_usd("openai", "gpt-4o", Usage(1_000_000), workspace_id=mallory.workspace_id) == listed
    # Known still when its second is over: a call that goes on is not priced anew.
    catalog.forget(workspace.id)
    assert catalog.recalled(workspace.id) is None
    assert cost_usd("openai", "gpt-4o", Usage(1_000_000), workspace_id=workspace.id) == 1


def test_the_catalog_that_was_read_longest_ago_makes_room(
    workspace: Workspace, mallory: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "REMEMBER_MOST", 1)
    catalog.catalog_of(workspace.id)
    assert catalog.catalog_of(workspace.id) is catalog.recalled(workspace.id)
    catalog.catalog_of(mallory.workspace_id)
    assert catalog.recalled(workspace.id) is None
    assert catalog.last_known(workspace.id) is catalog.EMPTY
    catalog.forget(workspace.id)


def test_context_windows_come_from_the_price_list() -> None:
    assert context_window_of("openai", "gpt-4o") == 128_000
    assert context_window_of("openai", "nothing") is None


# --- Over the API -------------------------------------------------------------------------------------
def test_a_price_is_set_and_set_again(api: Api, alice: Principal) -> None:
    assert api(alice).post(PATH, NEW, format="json").status_code == 201
    again = api(alice).post(PATH, {**NEW, "input_usd_per_million": "4"}, format="json")
    assert again.status_code == 200
    row = ModelPrice.objects.get()
    assert row.input_usd_per_million == Decimal(4)
    assert row.output_usd_per_million == Decimal(15)
    assert row.cached_usd_per_million is None
    assert AuditEntry.objects.filter(event="model_price.set").count() == 2
    assert str(row) == "openai/my-tune"


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "my-tune"},
        {"model": "nobody/x"},
        {"model": "openai/"},
        {"model": "openai/" + "x" * 201},
        {"input_usd_per_million": "-1"},
        {"output_usd_per_million": "NaN"},
        {"output_usd_per_million": None},
    ],
)
def test_a_price_that_makes_no_sense_is_refused(api: Api, alice: Principal, wrong: dict[str, object]) -> None:
    assert api(alice).post(PATH, {**NEW, **wrong}, format="json").status_code == 400
    assert not ModelPrice.objects.exists()


def test_prices_and_aliases_are_the_owners_to_set(api: Api, carol: Principal) -> None:
    assert api(carol).post(PATH, NEW, format="json").status_code == 403
    answer = api(carol).post(f"{PATH}aliases/", {"alias": "fast", "model": "auto:cheap"}, format="json")
    assert answer.status_code == 403
    assert api(carol).get(PATH).status_code == 200
    assert api(None).get(PATH).status_code == 401


def test_models_are_listed_with_prices_and_those_without_are_flagged(
    api: Api, alice: Principal, mallory: Principal
) -> None:
    create_key(workspace_id=alice.workspace_id, provider="openai", name="k", secret="sk-1", by="test")
    create_key(workspace_id=alice.workspace_id, provider="qwen", name="k", secret="sk-2", by="test")
    api(alice).post(PATH, NEW, format="json")
    found = {row["model"]: row for row in api(alice).get(PATH).json()["results"]}
    mini = found["openai/gpt-4o-mini"]
    assert (mini["has_price"], mini["input_usd_per_million"], mini["cached_usd_per_million"]) == (True, "0.15", "0.075")
    assert (mini["context_window"], mini["sees"]) == (128_000, True)
    assert found["openai/my-tune"]["output_usd_per_million"] == "15"
    assert (found["qwen/qwen-max"]["has_price"], found["qwen/qwen-max"]["input_usd_per_million"]) == (False, None)
    assert "anthropic/claude-haiku-4-5" not in found
    assert api(mallory).get(PATH).json()["results"] == []


def test_an_alias_is_set_listed_and_removed(api: Api, alice: Principal, mallory: Principal) -> None:
    path = f"{PATH}aliases/"
    made = api(alice).post(path, {"alias": "fast", "model": "auto:cheap"}, format="json")
    assert made.status_code == 201
    assert api(alice).post(path, {"alias": "fast", "model": "openai/gpt-4o"}, format="json").status_code == 200
    assert [row["model"] for row in api(alice).get(path).json()["results"]] == ["openai/gpt-4o"]
    assert str(ModelAlias.objects.get()) == "fast: openai/gpt-4o"
    assert api(mallory).get(path).json()["results"] == []
    one = f"{path}{made.json()['id']}/"
    assert api(mallory).delete(one).status_code == 404
    assert api(alice).delete(one).status_code == 204
    assert not ModelAlias.objects.exists()
    assert AuditEntry.objects.filter(event__startswith="model_alias.").count() == 3


@pytest.mark.parametrize(
    ("alias", "model"),
    [("auto", "openai/x"), ("auto:best", "openai/x"), ("a/b", "openai/x"), ("a(high)", "x"), ("me", "me"), ("-a", "x")],
)
def test_an_alias_that_would_hide_something_is_refused(api: Api, alice: Principal, alias: str, model: str) -> None:
    answer = api(alice).post(f"{PATH}aliases/", {"alias": alias, "model": model}, format="json")
    assert answer.status_code == 400

"""Who is called for what is asked, and what a call costs."""

from decimal import Decimal

import pytest
from pytest_django import Settings

from atom.ground.errors import ModelNotFound
from atom.ground.home import new_encryption_key
from atom.ground.models import Workspace
from atom.ground.principal import Principal
from llm import keyring
from llm.errors import NoProvider
from llm.events import Usage
from llm.models import ProviderKey
from llm.prices import cost_usd, provider_of
from llm.queries import models_of
from llm.registry import PROVIDERS
from llm.routing import candidates
from llm.services import create_key, delete_key, update_key
from llm.wires import WIRES

PUBLIC = "https://8.8.8.8/v1"


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    keyring._remembered.clear()


def add(workspace: Workspace, name: str = "main", **given: object) -> ProviderKey:
    values: dict[str, object] = {"provider": "openai", "secret": f"sk-{name}", "by": "test", **given}
    return create_key(workspace_id=workspace.id, name=name, **values)  # type: ignore[arg-type]


def secrets(workspace: Workspace, model: str = "openai/gpt-4o") -> list[str]:
    return [found.endpoint.secret for found in candidates(workspace.id, model)]


def test_every_provider_speaks_a_wire_that_exists() -> None:
    assert {row.wire for row in PROVIDERS.values()} <= set(WIRES)
    assert PROVIDERS["groq"].key_env == "GROQ_API_KEY"
    assert PROVIDERS["groq"].base_url_env == "GROQ_BASE_URL"


def test_explicit_provider_obeyed_and_its_model_passed_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk")
    [found] = candidates(workspace.id, "groq/some/new-model")
    assert (found.provider, found.model, found.key_id) == ("groq", "some/new-model", None)
    assert (found.endpoint.base_url, found.endpoint.secret) == ("https://api.groq.com/openai/v1", "gsk")
    assert "gsk" not in repr(found)


def test_a_bare_model_id_finds_its_provider(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "dsk")
    [found] = candidates(workspace.id, "deepseek-chat")
    assert (found.provider, found.model) == ("deepseek", "deepseek-chat")


@pytest.mark.parametrize("model", ["", "no-such-model", "nobody/gpt-4o", "openai/", "/x", "auto:nonsense", "x" * 500])
def test_an_unknown_provider_or_model_is_model_not_found(workspace: Workspace, model: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        candidates(workspace.id, model)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("openai/gpt-4o", "Set OPENAI_API_KEY or add a provider key for openai."),
        ("ollama/llama", "Set OLLAMA_BASE_URL"),
        ("local/smollm2", "make up"),
        ("auto", "OPENAI_API_KEY"),
    ],
)
def test_without_a_usable_provider_the_error_says_what_to_set(workspace: Workspace, model: str, hint: str) -> None:
    with pytest.raises(NoProvider) as caught:
        candidates(workspace.id, model)
    assert hint in caught.value.message
    assert caught.value.status == 503


def test_keys_of_the_workspace_come_first_by_priority_then_the_environments(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    add(workspace, "late", priority=200)
    add(workspace, "early", priority=1)
    add(workspace, "off", priority=0, is_enabled=False)
    add(workspace, "other", provider="groq")
    assert secrets(workspace) == ["sk-early", "sk-late", "sk-env"]


def test_a_change_of_a_key_is_seen_at_once_here(workspace: Workspace) -> None:
    key = add(workspace, "one")
    assert secrets(workspace) == ["sk-one"]
    update_key(key=key, by="test", secret="sk-two")
    assert secrets(workspace) == ["sk-two"]
    delete_key(key=key, by="test")
    with pytest.raises(NoProvider):
        secrets(workspace)


def test_keys_are_not_read_again_within_a_second(
    workspace: Workspace, django_assert_num_queries: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(workspace)
    secrets(workspace)
    ProviderKey.objects.all().delete()
    assert secrets(workspace) == ["sk-main"]
    monkeypatch.setattr(keyring, "REMEMBER_MOST", 1)
    keyring.forget(workspace.id)
    keyring._remembered[workspace.id] = (0.0, ())
    with pytest.raises(NoProvider):
        secrets(workspace)


def test_one_workspaces_keys_serve_no_other(workspace: Workspace, mallory: Principal) -> None:
    add(workspace)
    with pytest.raises(NoProvider):
        candidates(mallory.workspace_id, "openai/gpt-4o")


def test_a_key_that_no_longer_opens_is_skipped_and_named(
    workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(workspace, "lost")
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(),)
    keyring.forget(workspace.id)
    with pytest.raises(NoProvider, match="'lost' for openai no longer opens"):
        secrets(workspace)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    assert secrets(workspace) == ["sk-env"]


def test_base_urls_of_key_and_environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://1.1.1.1/v1")
    add(workspace, "own", base_url=PUBLIC)
    add(workspace, "plain")
    assert [found.endpoint.base_url for found in candidates(workspace.id, "openai/x")] == [PUBLIC, "https://1.1.1.1/v1"]


def test_a_private_base_url_needs_its_host_allowed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.2:9/v1")
    with pytest.raises(NoProvider, match="ATOM_ALLOWED_PROVIDER_HOSTS"):
        secrets(workspace)
    settings.ATOM_ALLOWED_PROVIDER_HOSTS = ["127.0.0.2"]
    assert secrets(workspace) == ["sk-env"]


def test_auto_takes_openai_by_default_then_others_then_the_local_model(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    assert candidates(workspace.id, "auto")[0].model == "smollm2"
    monkeypatch.setenv("MISTRAL_API_KEY", "m")
    assert candidates(workspace.id, "auto")[0].provider == "mistral"
    monkeypatch.setenv("OPENAI_API_KEY", "o")
    found = candidates(workspace.id, "auto")[0]
    assert (found.provider, found.model) == ("openai", "gpt-4o-mini")


def test_selection_by_availability_of_keys(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "m")
    add(workspace, provider="deepseek")
    assert candidates(workspace.id, "auto")[0].provider == "deepseek"


def test_models_are_listed_for_usable_providers_only(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_of(workspace.id) == []
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    add(workspace)
    listed = models_of(workspace.id)
    assert {model.owned_by for model in listed} == {"openai", "local"}
    assert listed[-1].id == "local/smollm2"
    assert all(model.created > 0 for model in listed)


# --- Prices -------------------------------------------------------------------------------------------
def test_cost_is_tokens_times_price_with_the_cached_price_never_rounded() -> None:
    # gpt-4o-mini: 0.15 in, 0.075 cached, 0.60 out, in US dollars per million.
    assert cost_usd("openai", "gpt-4o-mini", Usage(1000, 7, 100)) == Decimal("0.0001467")
    assert cost_usd("openai", "gpt-4o-mini", Usage(0, 1)) == Decimal("0.0000006")
    assert cost_usd("openai", "gpt-4o-mini", Usage()) == 0


def test_more_cached_than_sent_is_no_error() -> None:
    assert cost_usd("openai", "gpt-4o-mini", Usage(10, 0, 99)) == Decimal("0.00000075")


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "nothing"), ("qwen", "qwen-max"), ("nobody", "gpt-4o"), ("openai", "x" * 999)]
)
def test_an_unknown_price_is_none_not_free(provider: str, model: str) -> None:
    assert cost_usd(provider, model, Usage(10, 10)) is None


def test_a_price_list_that_lacks_a_provider_gives_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = PROVIDERS["groq"].__class__(name="gone", wire="openai_chat", prices="gone")
    monkeypatch.setitem(PROVIDERS, "gone", gone)
    assert cost_usd("gone", "m", Usage(1)) is None


def test_the_local_model_is_free() -> None:
    assert cost_usd("local", "smollm2", Usage(10, 10)) == 0


def test_bare_ids_are_known_from_the_price_list() -> None:
    assert provider_of("gpt-4o-2024-08-06") == "openai"
    assert provider_of("smollm2") == "local"
    assert provider_of("gpt-99") is None

"""What is known of models: how they think, what they see, how much they read."""

import pytest

from llm.capabilities import LEVELS, Ability, known_skill_of, skill_of, thinking_of
from llm.ranking import known_window_of, window_of
from llm.registry import LOCAL, PROVIDERS

REGISTERED = [(row.name, model) for row in PROVIDERS.values() for model in row.models]


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("anthropic", "claude-haiku-4-5", Ability(1024, 128_000, zero=True)),
        ("anthropic", "claude-sonnet-4-5-20250929", Ability(1024, 128_000, zero=True)),
        ("gemini", "gemini-2.5-pro", Ability(128, 32_768, dynamic=True)),
        ("gemini", "models/gemini-2.5-pro", Ability(128, 32_768, dynamic=True)),
        ("gemini", "gemini-2.5-flash", Ability(0, 24_576, zero=True, dynamic=True)),
        ("gemini", "gemini-2.5-flash-lite", Ability(512, 24_576, zero=True, dynamic=True)),
        ("openai", "gpt-5", Ability(levels=("minimal", "low", "medium", "high"))),
        ("openai", "GPT-5-mini-2025-08-07", Ability(levels=("minimal", "low", "medium", "high"))),
        ("openai", "o4-mini", Ability(levels=("low", "medium", "high"))),
        ("openai", "o3-pro", Ability(levels=("low", "medium", "high"))),
        ("groq", "openai/gpt-oss-20b", Ability(levels=("low", "medium", "high"))),
    ],
)
def test_how_a_model_thinks_is_known(provider: str, model: str, expected: Ability) -> None:
    assert thinking_of(provider, model) == expected


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-mini"), ("gemini", "gemini-2.0-flash"), ("deepseek", "deepseek-chat"), ("local", "smollm2")],
)
def test_models_that_never_think_are_known(provider: str, model: str) -> None:
    found = thinking_of(provider, model)
    assert found is not None
    assert not found.thinks


@pytest.mark.parametrize(
    ("provider", "model"),
    [("deepseek", "deepseek-reasoner"), ("xai", "grok-4"), ("moonshot", "kimi-k2-thinking"), ("openai", "o1-mini")],
)
def test_models_that_always_think_have_nothing_to_set(provider: str, model: str) -> None:
    found = thinking_of(provider, model)
    assert found is not None
    assert found.thinks
    assert not found.has_range
    assert not found.levels


@pytest.mark.parametrize("model", ["gpt-99", "claude-new", "anything"])
def test_new_models_are_not_known(model: str) -> None:
    assert thinking_of("openai", model) is None
    assert known_skill_of(model) is None
    assert known_window_of("vllm", model) is None


def test_levels_stand_from_little_to_much() -> None:
    for provider, model in REGISTERED:
        ability = thinking_of(provider, model)
        if ability is not None and ability.levels:
            assert list(ability.levels) == sorted(ability.levels, key=LEVELS.index)


@pytest.mark.parametrize(("provider", "model"), REGISTERED)
def test_every_model_of_the_registry_has_a_skill_and_a_window(provider: str, model: str) -> None:
    found = known_skill_of(model)
    assert found is not None
    assert 1 <= found.quality <= 4
    assert window_of(provider, model) >= 2048
    if provider == LOCAL:
        assert found.quality == 1


def test_windows_come_from_the_price_list_then_from_ours() -> None:
    assert window_of("openai", "gpt-4o") == 128_000
    assert window_of("gemini", "gemini-2.5-pro") == 1_048_576
    assert window_of("vllm", "anything") == skill_of("anything").context

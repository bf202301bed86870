"""How much a model thinks: the suffix of its name, levels and budgets, and what each model is sent."""

import pytest

from llm import capabilities
from llm.capabilities import Ability, thinking_of
from llm.messages import Thinking
from llm.thinking import BudgetOutOfRange, LevelNotSupported, fit, level_of, split

SONNET = ("anthropic", "claude-sonnet-4-5")
PRO = ("gemini", "gemini-2.5-pro")
FLASH = ("gemini", "gemini-2.5-flash")
GPT5 = ("openai", "gpt-5")
O3 = ("openai", "o3")
GPT51 = ("openai", "gpt-5.1")
PRO3 = ("gemini", "gemini-3-pro-preview")
FLASH3 = ("gemini", "gemini-3-flash-preview")
OPUS46 = ("anthropic", "claude-opus-4-6")
OPUS47 = ("anthropic", "claude-opus-4-7")
DEEPSEEK = ("deepseek", "deepseek-v4-pro")
GROK = ("xai", "grok-3-mini")


def level(value: str, **given: object) -> Thinking:
    return Thinking(level=value, **given)  # type: ignore[arg-type]


def budget(value: int, **given: object) -> Thinking:
    return Thinking(budget_tokens=value, **given)  # type: ignore[arg-type]


# --- The suffix ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", level("none", is_suffix=True)),
        ("auto", level("auto", is_suffix=True)),
        ("-1", level("auto", is_suffix=True)),
        ("minimal", level("minimal", is_suffix=True)),
        ("low", level("low", is_suffix=True)),
        ("medium", level("medium", is_suffix=True)),
        ("HIGH", level("high", is_suffix=True)),
        (" xhigh ", level("xhigh", is_suffix=True)),
        ("max", level("max", is_suffix=True)),
        ("0", budget(0, is_suffix=True)),
        ("8192", budget(8192, is_suffix=True)),
        ("08192", budget(8192, is_suffix=True)),
        ("999999999", budget(999_999_999, is_suffix=True)),
    ],
)
def test_a_suffix_says_how_much_to_think(value: str, expected: Thinking) -> None:
    found = split(f"openai/gpt-5({value})")
    assert (found.model, found.thinking, found.warning) == ("openai/gpt-5", expected, "")


@pytest.mark.parametrize("value", ["", "-2", "8192.5", "1e3", "+5", "much", "٣", "9" * 99, "hi gh", "high)"])
def test_a_suffix_that_means_nothing_is_taken_off_with_a_warning(value: str) -> None:
    found = split(f"gpt-5({value})")
    assert (found.model, found.thinking) == ("gpt-5", None)
    assert "not recognised" in found.warning


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5(high", "gpt-5)", "gpt-5(high)x", "", "(high"])
def test_a_name_without_a_whole_suffix_stays_as_it_is(name: str) -> None:
    assert split(name) == split(name).__class__(name)


def test_the_last_parenthesis_begins_the_suffix() -> None:
    assert split("odd(name)(low)").model == "odd(name)"


def test_the_familys_name_goes_along() -> None:
    assert split("o3(low)", family="openai").thinking == level("low", family="openai", is_suffix=True)


# --- Budgets as levels --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tokens", "called"),
    [
        (-1, "auto"),
        (0, "none"),
        (1, "minimal"),
        (512, "minimal"),
        (513, "low"),
        (1024, "low"),
        (1025, "medium"),
        (8192, "medium"),
        (8193, "high"),
        (24_576, "high"),
        (24_577, "xhigh"),
        (128_000, "xhigh"),
        (10**9, "xhigh"),
    ],
)
def test_a_budget_has_a_level(tokens: int, called: str) -> None:
    assert level_of(tokens) == called


@pytest.mark.parametrize("model", [SONNET, GPT5, OPUS46, ("vllm", "anything")])
def test_a_budget_below_minus_one_is_refused(model: tuple[str, str]) -> None:
    with pytest.raises(BudgetOutOfRange, match=r"budget -2 out of range \["):
        fit(budget(-2), *model)


# --- What a model is sent -----------------------------------------------------------------------------
ROWS: list[tuple[tuple[str, str], Thinking, Thinking | None]] = [
    # Range only: levels become budgets, and are kept within the range.
    (SONNET, level("minimal"), budget(1024)),
    (SONNET, level("low"), budget(1024)),
    (SONNET, level("medium"), budget(8192)),
    (SONNET, level("high"), budget(24_576)),
    (SONNET, level("xhigh"), budget(32_768)),
    (SONNET, level("max"), budget(128_000)),
    (SONNET, level("MAX"), budget(128_000)),
    (SONNET, level("none"), budget(0)),
    (SONNET, budget(0), budget(0)),
    (SONNET, budget(1), budget(1024)),
    (SONNET, budget(1024), budget(1024)),
    (SONNET, budget(128_000), budget(128_000)),
    (SONNET, budget(128_001), budget(128_000)),
    (SONNET, level("auto"), budget(64_512)),
    (SONNET, budget(-1), budget(64_512)),
    (("anthropic", "claude-haiku-4-5"), level("high"), budget(24_576)),
    (("anthropic", "claude-opus-4-5-20251101"), level("high"), budget(24_576)),
    (PRO, level("none"), budget(128)),
    (PRO, budget(0), budget(128)),
    (PRO, budget(127), budget(128)),
    (PRO, budget(32_769), budget(32_768)),
    (PRO, level("auto"), budget(-1)),
    (PRO, budget(-1), budget(-1)),
    (PRO, level("minimal"), budget(512)),
    (PRO, level("max"), budget(32_768)),
    (FLASH, level("none"), budget(0)),
    (FLASH, budget(0), budget(0)),
    (FLASH, budget(1), budget(1)),
    (FLASH, level("xhigh"), budget(24_576)),
    (FLASH, budget(-1), budget(-1)),
    # List only: budgets become levels, and the nearest one is taken.
    (GPT5, budget(0), level("minimal")),
    (GPT5, level("none"), level("minimal")),
    (GPT5, budget(512), level("minimal")),
    (GPT5, budget(1024), level("low")),
    (GPT5, budget(8192), level("medium")),
    (GPT5, budget(24_576), level("high")),
    (GPT5, budget(24_577), level("high")),
    (GPT5, level("xhigh"), level("high")),
    (GPT5, level("max"), level("high")),
    (GPT5, level("auto"), level("medium")),
    (GPT5, budget(-1), level("medium")),
    (O3, level("minimal"), level("low")),
    (O3, budget(100), level("low")),
    (O3, level("none"), level("low")),
    (("openai", "gpt-5-pro"), level("auto"), level("high")),
    (("openai", "gpt-5-pro"), level("none"), level("high")),
    (GPT51, level("none"), level("none")),
    (GPT51, budget(0), level("none")),
    (GPT51, level("minimal"), level("low")),
    (GROK, level("medium"), level("low")),
    (GROK, level("xhigh"), level("high")),
    (DEEPSEEK, level("low"), level("low")),
    (DEEPSEEK, level("medium"), level("low")),
    (DEEPSEEK, level("none"), level("none")),
    (DEEPSEEK, level("xhigh"), level("high")),
    (DEEPSEEK, level("max"), level("max")),
    (("groq", "openai/gpt-oss-120b"), budget(9000), level("high")),
    # Both: the form that was given stays.
    (PRO3, level("low"), level("low")),
    (PRO3, level("medium"), level("low")),
    (PRO3, level("max"), level("high")),
    (PRO3, level("none"), level("low")),
    (PRO3, budget(5000), budget(5000)),
    (PRO3, budget(50_000), budget(32_768)),
    (PRO3, budget(0), budget(128)),
    (PRO3, level("auto"), budget(-1)),
    (FLASH3, level("medium"), level("medium")),
    (OPUS46, level("none"), level("none")),
    (OPUS46, budget(0), budget(0)),
    (OPUS46, budget(10), budget(1024)),
    (OPUS46, level("max"), level("max")),
    (OPUS46, level("xhigh"), level("high")),
    (OPUS46, level("auto"), budget(-1)),
    (OPUS47, budget(9000), level("high")),
    (OPUS47, level("auto"), level("auto")),
    # Not known: passed on. OpenAI's wires have no word for a budget.
    (("openai", "gpt-99"), level("max"), level("max")),
    (("custom", "mine"), level("wild"), level("wild")),
    (("custom", "mine"), budget(8192), level("medium")),
    (("custom", "mine"), budget(0), level("none")),
    (("custom", "mine"), budget(-1), level("auto")),
    (("gemini", "gemini-99"), budget(8192), budget(8192)),
    (("anthropic", "claude-new"), level("high"), level("high")),
    (("openrouter", "anthropic/claude-sonnet-4.5"), budget(8192), budget(8192)),
    # On or off only.
    (("moonshot", "kimi-k2.6"), level("low"), level("high")),
    (("moonshot", "kimi-k2.6"), level("none"), level("none")),
    (("moonshot", "kimi-k2.6"), budget(-1), level("auto")),
    (("moonshot", "kimi-k3"), level("none"), level("low")),
    (("glm", "glm-4.6"), budget(0), level("none")),
    (("glm", "glm-5.3"), level("none"), level("low")),
    (("zhipu", "glm-5.3-flash"), level("max"), level("max")),
    (("minimax", "MiniMax-M3"), level("none"), level("none")),
    (("minimax", "MiniMax-M2.7"), level("none"), None),
    (("groq", "qwen/qwen3-32b"), budget(0), level("none")),
    (("mistral", "mistral-small-latest"), level("low"), level("high")),
    (("qwen", "qwen-plus"), level("high"), budget(24_576)),
    (("qwen", "qwen-plus"), level("max"), budget(38_912)),
    (("qwen", "qwen-plus"), level("none"), budget(0)),
    (("qwen", "qwen3-235b-a22b-thinking-2507"), level("none"), budget(1)),
    (("qwen", "qwen3-235b-a22b-instruct-2507"), level("high"), None),
    # Known not to think, or to think always as they like.
    (("openai", "gpt-4o"), level("high"), None),
    (("openai", "gpt-4.1-mini"), budget(8192), None),
    (("openrouter", "openai/gpt-4o-mini"), level("high"), None),
    (("anthropic", "claude-3-5-haiku-latest"), level("high"), None),
    (("gemini", "gemini-2.0-flash"), level("none"), None),
    (("deepseek", "deepseek-chat"), level("high"), None),
    (("groq", "llama-3.3-70b-versatile"), level("high"), None),
    (("local", "smollm2"), level("high"), None),
    (("local", "smollm2"), budget(-9), None),
]


@pytest.mark.parametrize(("model", "setting", "sent"), ROWS)
def test_a_setting_becomes_what_the_model_takes(
    model: tuple[str, str], setting: Thinking, sent: Thinking | None
) -> None:
    assert fit(setting, *model) == sent


@pytest.mark.parametrize("setting", [None, Thinking()])
def test_without_a_setting_nothing_is_sent(setting: Thinking | None) -> None:
    assert fit(setting, *SONNET) is None
    assert fit(setting, "custom", "mine") is None


def test_what_is_sent_carries_no_trace_of_where_it_came_from() -> None:
    assert fit(level("high", family="openai", is_suffix=True), *GPT5) == level("high")


@pytest.mark.parametrize(
    ("ability", "sent"),
    [
        (Ability(0, 1, zero=True), budget(0)),
        (Ability(-5, 3), budget(-5)),
        (Ability(100, 300), budget(200)),
        (Ability(100, 301, zero=True), budget(200)),
        (Ability(0, 100, dynamic=True), budget(-1)),
        (Ability(levels=("low", "xhigh")), level("low")),
        (Ability(levels=("minimal", "max"), zero=True), level("minimal")),
        (Ability(levels=("high",), dynamic=True), level("auto")),
        (Ability(100, 300, levels=("low",)), budget(200)),
    ],
)
def test_auto_is_kept_or_becomes_the_middle(ability: Ability, sent: Thinking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_THINKING", (("custom", "made-up", ability),))
    thinking_of.cache_clear()
    try:
        assert fit(level("auto"), "custom", "made-up") == sent
    finally:
        thinking_of.cache_clear()


# --- What is refused ----------------------------------------------------------------------------------
@pytest.mark.parametrize("is_suffix", [True, False])
def test_an_unsupported_level_of_the_same_family_is_refused_with_the_valid_ones(is_suffix: bool) -> None:
    with pytest.raises(LevelNotSupported) as caught:
        fit(level("xhigh", family="openai", is_suffix=is_suffix), *GPT5)
    assert caught.value.status == 400
    assert caught.value.code == "level_not_supported"
    assert caught.value.param == ("model" if is_suffix else "reasoning_effort")
    assert "valid levels: minimal, low, medium, high" in caught.value.message


def test_a_word_that_is_no_level_is_refused_by_models_that_are_known() -> None:
    with pytest.raises(LevelNotSupported, match="valid levels: none, minimal, low, medium, high, xhigh, max"):
        fit(level("banana"), *SONNET)
    with pytest.raises(LevelNotSupported, match="valid levels: none, auto, low, medium, high, xhigh, max"):
        fit(level("banana"), *OPUS47)


@pytest.mark.parametrize(
    ("model", "setting", "message"),
    [
        (SONNET, budget(1023, family="anthropic"), "budget 1023 out of range [1024,128000]"),
        (SONNET, budget(128_001, family="anthropic"), "budget 128001 out of range [1024,128000]"),
        (PRO, budget(1, family="gemini"), "budget 1 out of range [128,32768]"),
        (FLASH, budget(24_577, family="gemini"), "budget 24577 out of range [0,24576]"),
        (PRO3, budget(32_769, family="gemini"), "budget 32769 out of range [128,32768]"),
    ],
)
def test_a_budget_out_of_range_is_refused_to_the_same_family(
    model: tuple[str, str], setting: Thinking, message: str
) -> None:
    with pytest.raises(BudgetOutOfRange) as caught:
        fit(setting, *model)
    assert (caught.value.status, caught.value.code, caught.value.message) == (400, "budget_out_of_range", message)


@pytest.mark.parametrize(
    ("model", "setting", "sent"),
    [
        # Another family's words, a suffix, a budget made of a level, a level made of a budget: fitted, not refused.
        (SONNET, budget(200_000, family="openai"), budget(128_000)),
        (SONNET, budget(200_000, family="anthropic", is_suffix=True), budget(128_000)),
        (SONNET, level("minimal", family="anthropic"), budget(1024)),
        (PRO, level("max", family="gemini"), budget(32_768)),
        (GPT5, budget(99_999, family="openai"), level("high")),
        (GPT5, level("xhigh", family="anthropic"), level("high")),
        (DEEPSEEK, level("medium", family="openai"), level("low")),
        # To think not at all, or as it likes, is everybody's to ask.
        (O3, level("none", family="openai"), level("low")),
        (O3, level("auto", family="openai"), level("medium")),
        (PRO, budget(0, family="gemini"), budget(128)),
        (SONNET, budget(-1, family="anthropic"), budget(64_512)),
    ],
)
def test_what_is_not_refused_is_fitted(model: tuple[str, str], setting: Thinking, sent: Thinking) -> None:
    assert fit(setting, *model) == sent

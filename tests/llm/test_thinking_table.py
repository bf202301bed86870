"""The table of levels and budgets, row by row: what each family is sent for each way to ask."""

import pytest

from llm.capabilities import thinking_of
from llm.messages import Message, Request, Text, Thinking
from llm.thinking import BUDGETS, BudgetOutOfRange, LevelNotSupported, fit, level_of, split
from llm.wires import anthropic_messages, gemini, openai_chat, openai_responses

LEVELS = ("none", "auto", "minimal", "low", "medium", "high", "xhigh", "max")
CLAUDE = ("anthropic", "claude-sonnet-4-5")
PRO = ("gemini", "gemini-2.5-pro")
FLASH = ("gemini", "gemini-2.5-flash")
GPT5 = ("openai", "gpt-5")
GPT51 = ("openai", "gpt-5.1")
CODEX = ("openai", "gpt-5-codex")
GEMINI3 = ("gemini", "gemini-3-pro-preview")
KIMI = ("moonshot", "kimi-k3")


def sent(model: tuple[str, str], value: str) -> str | int | None:
    """The level or the budget that a model is sent for a suffix."""
    found = fit(split(f"m({value})").thinking, *model)
    if found is None:
        return None
    return found.level if found.level is not None else found.budget_tokens


def test_levels_are_these_budgets() -> None:
    expected = (0, -1, 512, 1024, 8192, 24_576, 32_768, 128_000)
    assert dict(zip(LEVELS, expected, strict=True)) == BUDGETS


def test_each_level_but_the_last_comes_back_from_its_budget() -> None:
    assert [level_of(BUDGETS[level]) for level in LEVELS] == [*LEVELS[:-1], "xhigh"]


@pytest.mark.parametrize(
    ("model", "row"),
    [
        # none, auto, minimal, low, medium, high, xhigh, max
        (CLAUDE, (0, 64_512, 1024, 1024, 8192, 24_576, 32_768, 128_000)),
        (PRO, (128, -1, 512, 1024, 8192, 24_576, 32_768, 32_768)),
        (FLASH, (0, -1, 512, 1024, 8192, 24_576, 24_576, 24_576)),
        (GPT5, ("minimal", "medium", "minimal", "low", "medium", "high", "high", "high")),
        (GPT51, ("none", "medium", "low", "low", "medium", "high", "high", "high")),
        (CODEX, ("low", "medium", "low", "low", "medium", "high", "high", "high")),
        (GEMINI3, ("low", -1, "low", "low", "low", "high", "high", "high")),
        (KIMI, ("low", "low", "low", "low", "low", "high", "high", "max")),
        (("deepseek", "deepseek-v4-pro"), ("none", "low", "low", "low", "low", "high", "high", "max")),
        (("qwen", "qwen-plus"), (0, -1, 512, 1024, 8192, 24_576, 32_768, 38_912)),
        (("custom", "mine"), LEVELS),
        (("openai", "gpt-4o"), (None,) * 8),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) and len(value) == 2 else "",
)
def test_thinking_level_rebound_and_clamping(model: tuple[str, str], row: tuple[str | int | None, ...]) -> None:
    assert tuple(sent(model, level) for level in LEVELS) == row


@pytest.mark.parametrize(
    ("model", "row"),
    [
        # 0, 1, 512, 513, 1024, 1025, 8192, 8193, 24576, 24577, 32768, 128000, 128001
        (CLAUDE, (0, 1024, 1024, 1024, 1024, 1025, 8192, 8193, 24_576, 24_577, 32_768, 128_000, 128_000)),
        (PRO, (128, 128, 512, 513, 1024, 1025, 8192, 8193, 24_576, 24_577, 32_768, 32_768, 32_768)),
        (FLASH, (0, 1, 512, 513, 1024, 1025, 8192, 8193, 24_576, 24_576, 24_576, 24_576, 24_576)),
        (GPT5, ("minimal",) * 3 + ("low",) * 2 + ("medium",) * 2 + ("high",) * 6),
        (GPT51, ("none",) + ("low",) * 4 + ("medium",) * 2 + ("high",) * 6),
        (GEMINI3, (128, 128, 512, 513, 1024, 1025, 8192, 8193, 24_576, 24_577, 32_768, 32_768, 32_768)),
        # Unknown to us, and on a wire without a word for budgets.
        (("custom", "mine"), tuple(map(level_of, (0, 1, 512, 513, 1024, 1025, 8192, 8193, 24_576, *(24_577,) * 4)))),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) and len(value) == 2 else "",
)
def test_thinking_budgets_are_clamped_or_become_levels(model: tuple[str, str], row: tuple[str | int, ...]) -> None:
    budgets = (0, 1, 512, 513, 1024, 1025, 8192, 8193, 24_576, 24_577, 32_768, 128_000, 128_001)
    assert tuple(sent(model, str(budget)) for budget in budgets) == row


@pytest.mark.parametrize(("model", "least"), [(CLAUDE, 1024), (PRO, 128), (FLASH, 1), (GPT5, "minimal"), (KIMI, "low")])
def test_thinking_minimal_budget_is_the_models_own(model: tuple[str, str], least: str | int) -> None:
    assert sent(model, "1") == least
    if isinstance(least, int) and least > 1:
        assert fit(Thinking(budget_tokens=least, family=model[0]), *model) == Thinking(budget_tokens=least)
        with pytest.raises(BudgetOutOfRange, match=rf"budget {least - 1} out of range \[{least},\d+\]"):
            fit(Thinking(budget_tokens=least - 1, family=model[0]), *model)


@pytest.mark.parametrize(("model", "most"), [(CLAUDE, 128_000), (PRO, 32_768), (FLASH, 24_576)])
def test_thinking_maximal_budget_is_the_models_own(model: tuple[str, str], most: int) -> None:
    assert sent(model, "999999999") == most
    assert fit(Thinking(budget_tokens=most, family=model[0]), *model) == Thinking(budget_tokens=most)
    with pytest.raises(BudgetOutOfRange, match=rf"budget {most + 1} out of range \[\d+,{most}\]"):
        fit(Thinking(budget_tokens=most + 1, family=model[0]), *model)


@pytest.mark.parametrize(
    ("model", "off"), [(CLAUDE, 0), (FLASH, 0), (PRO, 128), (GPT51, "none"), (GPT5, "minimal"), (CODEX, "low")]
)
def test_thinking_zero_budget_turns_it_off_or_down_to_the_least(model: tuple[str, str], off: str | int) -> None:
    assert sent(model, "0") == sent(model, "none") == off
    for family in ("", model[0], "another"):
        found = fit(Thinking(budget_tokens=0, family=family), *model)
        assert found is not None
        assert off in (found.level, found.budget_tokens)


@pytest.mark.parametrize("model", [CLAUDE, PRO, FLASH, GPT5, GPT51, GEMINI3, KIMI, ("custom", "mine")])
@pytest.mark.parametrize("budget", [-2, -1024])
@pytest.mark.parametrize("family", ["", "openai"])
def test_thinking_negative_budget_is_refused(model: tuple[str, str], budget: int, family: str) -> None:
    with pytest.raises(BudgetOutOfRange, match=f"budget {budget} out of range"):
        fit(Thinking(budget_tokens=budget, family=family), *model)


@pytest.mark.parametrize("model", [CLAUDE, PRO, FLASH, GEMINI3])
def test_thinking_strict_out_of_range_only_for_a_budget_in_the_body_of_the_same_family(model: tuple[str, str]) -> None:
    ability = thinking_of(*model)
    assert ability is not None
    over = ability.maximum + 1
    with pytest.raises(BudgetOutOfRange) as caught:
        fit(Thinking(budget_tokens=over, family=model[0]), *model)
    assert (caught.value.status, caught.value.code) == (400, "budget_out_of_range")
    clamped = Thinking(budget_tokens=ability.maximum)
    assert fit(Thinking(budget_tokens=over, family="another"), *model) == clamped
    assert fit(Thinking(budget_tokens=over), *model) == clamped
    assert fit(Thinking(budget_tokens=over, family=model[0], is_suffix=True), *model) == clamped


@pytest.mark.parametrize(
    ("model", "level", "nearest"),
    [(GPT5, "xhigh", "high"), (CODEX, "minimal", "low"), (GEMINI3, "medium", "low"), (KIMI, "medium", "low")],
)
def test_thinking_level_that_is_not_supported_is_refused_to_its_own_family_and_fitted_for_others(
    model: tuple[str, str], level: str, nearest: str
) -> None:
    with pytest.raises(LevelNotSupported, match="valid levels: ") as caught:
        fit(Thinking(level=level, family=model[0]), *model)
    assert (caught.value.status, caught.value.code) == (400, "level_not_supported")
    assert fit(Thinking(level=level, family="another"), *model) == Thinking(level=nearest)


@pytest.mark.parametrize("model", [PRO, FLASH, GEMINI3, ("anthropic", "claude-opus-4-6"), ("qwen", "qwen-plus")])
@pytest.mark.parametrize("value", ["auto", "-1"])
def test_thinking_auto_on_a_dynamic_model_stays_auto(model: tuple[str, str], value: str) -> None:
    assert sent(model, value) == -1


@pytest.mark.parametrize(("model", "instead"), [(CLAUDE, 64_512), (GPT5, "medium"), (CODEX, "medium"), (KIMI, "low")])
@pytest.mark.parametrize("value", ["auto", "-1"])
def test_thinking_auto_on_a_model_that_is_not_dynamic_is_the_middle(
    model: tuple[str, str], instead: str | int, value: str
) -> None:
    assert sent(model, value) == instead


# --- On the wire --------------------------------------------------------------------------------------
def request(model: tuple[str, str], value: str, **given: int) -> Request:
    thinking = fit(split(f"m({value})").thinking, *model)
    return Request(model[1], (Message("user", (Text("hi"),)),), thinking=thinking, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_each_wire_says_it_in_its_own_words(level: str) -> None:
    chat = openai_chat.body_of(request(GPT51, level), "openai")
    assert chat["reasoning_effort"] == sent(GPT51, level)
    responses = openai_responses.body_of(request(CODEX, level))
    assert responses["reasoning"] == {"effort": sent(CODEX, level)}
    config = gemini.body_of(request(PRO, level))["generationConfig"]["thinkingConfig"]
    assert config == {"thinkingBudget": sent(PRO, level), "includeThoughts": True}
    claude = anthropic_messages.body_of(request(CLAUDE, level, max_tokens=200_000))["thinking"]
    budget = sent(CLAUDE, level)
    assert claude == ({"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"})


@pytest.mark.parametrize("level", ["minimal", "low", "medium", "high", "xhigh", "max", "auto"])
@pytest.mark.parametrize("max_tokens", [None, 1, 1024, 1025, 2000, 9000, 64_000, 200_000])
def test_anthropics_budget_is_kept_below_max_tokens(level: str, max_tokens: int | None) -> None:
    given = {} if max_tokens is None else {"max_tokens": max_tokens}
    body = anthropic_messages.body_of(request(CLAUDE, level, **given))
    assert max_tokens in (None, body["max_tokens"])
    thinking = body.get("thinking")
    if thinking is None:
        # There is no room for the least that can be thought.
        assert body["max_tokens"] <= 1024
    else:
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]

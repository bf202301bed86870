"""How much a model should think: as people say it, and as each model takes it.

A setting is a `Thinking`: a level or a budget in tokens. It comes with the model's name, `model(high)`, or in the
body of a request. `fit` makes of it what a model can be sent; it is pure, and called once per candidate.
"""

import re
from dataclasses import dataclass

from atom.ground.errors import BadRequest
from llm.capabilities import LEVELS, Ability, thinking_of
from llm.messages import Thinking
from llm.registry import PROVIDERS

NONE, AUTO = "none", "auto"
BUDGETS = {
    NONE: 0,
    AUTO: -1,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 128_000,
}
# Up to how many tokens a budget is called what; above the last it is xhigh.
_CALLED = ((512, "minimal"), (1024, "low"), (8192, "medium"), (24_576, "high"))
# Nobody thinks that long, and longer numbers would only be work.
_MAX_DIGITS = 9


class LevelNotSupported(BadRequest):
    code = "level_not_supported"


class BudgetOutOfRange(BadRequest):
    code = "budget_out_of_range"


@dataclass(frozen=True, slots=True)
class Named:
    """A model's name taken apart. `unread` is a suffix that means nothing; it is not part of `model` any more."""

    model: str
    thinking: Thinking | None = None
    unread: str | None = None

    @property
    def warning(self) -> str:
        """What to tell the caller about a suffix that was not read; empty when all was."""
        return "" if self.unread is None else "The thinking suffix of the model was not recognised and was ignored."


def split(model: str, *, family: str = "") -> Named:
    """The name and what its suffix says: from the last `(` to a `)` at the end. `family`: see `Thinking`."""
    if not model.endswith(")") or "(" not in model:
        return Named(model)
    name, _, value = model[:-1].rpartition("(")
    said = value.strip().lower()
    if said == "-1":
        said = AUTO
    if said in BUDGETS:
        return Named(name, Thinking(level=said, family=family, is_suffix=True))
    if re.fullmatch(rf"[0-9]{{1,{_MAX_DIGITS}}}", said):
        return Named(name, Thinking(budget_tokens=int(said), family=family, is_suffix=True))
    return Named(name, unread=value)


def level_of(budget: int) -> str:
    """What a budget is called; BudgetOutOfRange below -1."""
    if budget < -1:
        raise BudgetOutOfRange(f"budget {budget} out of range [-1,{BUDGETS['max']}]", param="model")
    if budget <= 0:
        return AUTO if budget else NONE
    return next((level for most, level in _CALLED if budget <= most), "xhigh")


def fit(setting: Thinking | None, provider: str, model: str) -> Thinking | None:
    """What this model is sent; None when nothing is.

    Raises LevelNotSupported or BudgetOutOfRange for what the model's own family was asked for and does not take.
    """
    if setting is None or (setting.level is None and setting.budget_tokens is None):
        return None
    level = setting.level.lower() if setting.level is not None else None
    ability = thinking_of(provider, model)
    if ability is None:
        return _passed_on(level, setting.budget_tokens, provider)
    if not ability.has_range and not ability.levels:
        return None
    return _Fitting(ability, setting, provider, model).fitted(level)


def _passed_on(level: str | None, budget: int | None, provider: str) -> Thinking:
    """As it came; a provider without a word for budgets gets the level that the budget is called."""
    if level is None and budget is not None:
        row = PROVIDERS.get(provider)
        called = level_of(budget)
        if row is not None and not row.takes_budgets:
            return Thinking(level=called)
        return Thinking(budget_tokens=budget)
    return Thinking(level=level)


class _Fitting:
    """One setting on its way to one model."""

    def __init__(self, ability: Ability, setting: Thinking, provider: str, model: str) -> None:
        self._ability = ability
        self._setting = setting
        self._model = model
        # Asked for in the words of the model's own family, which is held to them. Both of OpenAI's wires are one
        # provider here, so a family is a provider.
        self._is_own = setting.family == provider

    def fitted(self, level: str | None) -> Thinking:
        if level is not None and level not in BUDGETS:
            raise self._not_supported(level)
        budget = BUDGETS[level] if level is not None else self._setting.budget_tokens or 0
        if budget < -1:
            raise self._out_of_range(budget)
        by_level = not self._ability.has_range or (level is not None and bool(self._ability.levels))
        if budget == 0:
            return self._zero(by_level)
        if budget == -1:
            return self._auto(by_level)
        if by_level:
            # A level that was made of a budget is no word of the caller's.
            return Thinking(level=self._level(level or level_of(budget), is_strict=self._is_own and level is not None))
        is_strict = self._is_own and level is None and not self._setting.is_suffix
        return Thinking(budget_tokens=self._budget(budget, is_strict=is_strict))

    def _zero(self, by_level: bool) -> Thinking:
        if by_level:
            return Thinking(level=NONE if self._ability.zero else self._ability.levels[0])
        return Thinking(budget_tokens=0 if self._ability.zero else self._ability.minimum)

    def _auto(self, by_level: bool) -> Thinking:
        found = self._ability
        if found.dynamic:
            return Thinking(budget_tokens=-1) if found.has_range else Thinking(level=AUTO)
        if not found.has_range:
            return Thinking(level=self._level("medium", is_strict=False))
        middle = (found.minimum + found.maximum) // 2
        if middle > 0:
            return Thinking(budget_tokens=middle)
        return self._zero(by_level)

    def _level(self, level: str, *, is_strict: bool) -> str:
        if level in self._ability.levels:
            return level
        if is_strict:
            raise self._not_supported(level)
        place = LEVELS.index(level)
        # The levels stand from little to much, so the first of two equally near ones is the lower.
        return min(self._ability.levels, key=lambda one: abs(LEVELS.index(one) - place))

    def _budget(self, budget: int, *, is_strict: bool) -> int:
        found = self._ability
        if is_strict and not found.minimum <= budget <= found.maximum:
            raise self._out_of_range(budget)
        return min(max(budget, found.minimum), found.maximum)

    def _not_supported(self, level: str) -> LevelNotSupported:
        words = [*([NONE] if self._ability.zero else []), *([AUTO] if self._ability.dynamic else [])]
        valid = ", ".join([*words, *(self._ability.levels or LEVELS)])
        message = f"level '{level}' not supported by {self._model}, valid levels: {valid}"
        return LevelNotSupported(message, param="model" if self._setting.is_suffix else "reasoning_effort")

    def _out_of_range(self, budget: int) -> BudgetOutOfRange:
        found = self._ability
        least, most = (found.minimum, found.maximum) if found.has_range else (-1, BUDGETS["max"])
        return BudgetOutOfRange(f"budget {budget} out of range [{least},{most}]", param="thinking")

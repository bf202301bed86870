"""Which model suits a request: what it needs, what each model can, what it would cost. Pure: no query, no call."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, TypeAlias

from llm.capabilities import known_skill_of, skill_of, thinking_of
from llm.catalog import EMPTY, Catalog
from llm.complexity import Complexity, classify
from llm.context import ANSWER_TOKENS, tokens_of, tokens_of_tools
from llm.events import Usage
from llm.messages import Image, Request
from llm.prices import context_window_of, priced

# `auto` is the cheapest that is good enough, at the provider that is preferred for the task before all others;
# `cheap` is the cheapest anywhere; `best` the best, then the cheapest.
Goal: TypeAlias = Literal["auto", "cheap", "best"]
# In a conversation that goes on, most of the input was sent before and costs the cached price.
CACHED_SHARE = 0.75
# With less than this part of its rate left, a model is spared while others can answer.
SPARED_BELOW = 0.1


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request asks of a model. Tokens are guesses, see `llm.context`."""

    complexity: Complexity = Complexity.SIMPLE
    sees: bool = False
    tools: bool = False
    json: bool = False
    thinks: bool = False
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = ANSWER_TOKENS

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Standing:
    """How an upstream stands just now. `rate_left`: the part of its rate that is left; 0 is too little for the call."""

    is_healthy: bool = True
    rate_left: float = 1.0

    @property
    def is_down(self) -> bool:
        return not self.is_healthy or self.rate_left <= 0


WELL = Standing()
# By provider and model.
Standings: TypeAlias = Mapping[tuple[str, str], Standing]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A model and how it fares. `dropped`: why it is not among the candidates; empty when it is.

    A last resort is dropped for its quality only: it is asked when nobody better answers. One that is down now is asked
    after all others.
    """

    provider: str
    model: str
    quality: int
    context_window: int
    cost_usd: Decimal | None
    score: float
    dropped: tuple[str, ...] = ()
    is_last_resort: bool = False
    standing: Standing = WELL

    @property
    def held_back(self) -> str:
        """Why it is asked after the others, though it could answer; empty when it is not."""
        if not self.standing.is_healthy:
            return "its breaker is open"
        if self.standing.rate_left <= 0:
            return "its rate is used up"
        return "its rate is nearly used up" if self.standing.rate_left < SPARED_BELOW else ""

    @property
    def is_able(self) -> bool:
        return not self.dropped or self.is_last_resort

    @property
    def has_price(self) -> bool:
        return self.cost_usd is not None


def needs_of(request: Request) -> Needs:
    """What this request asks of a model."""
    parts = [part for message in request.messages for part in message.parts]
    wish = request.thinking
    given = tokens_of(request.messages) + tokens_of_tools(request)
    goes_on = any(message.role == "assistant" for message in request.messages)
    return Needs(
        complexity=classify(request),
        sees=any(isinstance(part, Image) for part in parts),
        tools=bool(request.tools),
        json=(request.response_format or {}).get("type") in ("json_object", "json_schema"),
        thinks=wish is not None and wish.level != "none" and wish.budget_tokens != 0,
        input_tokens=given,
        cached_tokens=int(given * CACHED_SHARE) if goes_on else 0,
        output_tokens=request.max_tokens or ANSWER_TOKENS,
    )


def preferred_for(needs: Needs) -> str:
    """The provider whose models are known to be good at what is asked."""
    if needs.sees:
        return "gemini"
    return "anthropic" if needs.complexity >= Complexity.COMPLEX else "openai"


def window_of(provider: str, model: str) -> int:
    """The model's context window in tokens: the price list's, else ours."""
    return known_window_of(provider, model) or skill_of(model).context


def known_window_of(provider: str, model: str) -> int | None:
    """The same; None for a model that nobody knows, which is sent what there is."""
    skill = known_skill_of(model)
    return context_window_of(provider, model) or (skill.context if skill else None)


def rank(
    models: Iterable[tuple[str, str]],
    needs: Needs,
    goal: Goal = "auto",
    *,
    catalog: Catalog = EMPTY,
    standings: Standings | None = None,
) -> list[Ranked]:
    """All these (provider, model), best first, then those that are dropped, each with the reasons.

    A quality or a window that no model has is not insisted on: the best there is will do.
    """
    known = standings or {}
    rows = [_weighed(one, needs, goal, catalog, known.get(one, WELL)) for one in models]
    rows = _sifted(rows, lambda row: _lacks(row, needs))
    most = max((row.context_window for row in rows if not row.dropped), default=0)
    room = min(needs.total_tokens, most)
    rows = _sifted(rows, lambda row: _too_small(row, room))
    best = max((row.quality for row in rows if not row.dropped), default=1)
    floor = 1 if goal == "cheap" else min(int(needs.complexity), best)
    rows = [row if row.dropped else _held_to(row, floor) for row in rows]
    return sorted(rows, key=_place)


def _weighed(named: tuple[str, str], needs: Needs, goal: Goal, catalog: Catalog, standing: Standing) -> Ranked:
    provider, model = named
    usage = Usage(needs.input_tokens, needs.output_tokens, needs.cached_tokens)
    cost = priced(provider, model, usage, catalog)
    quality = skill_of(model).quality
    # Between 0 and 1, more for less money; what has no price is not free, so it comes after all that have one.
    thrift = 0.0 if cost is None else float(1 / (1 + 1000 * cost))
    score = thrift
    if goal == "best":
        score += quality
    elif goal == "auto" and provider == preferred_for(needs):
        score += 1
    # From a tenth of its rate on, it falls behind the others.
    score -= 2 * max(0.0, 1 - standing.rate_left / SPARED_BELOW)
    return Ranked(provider, model, quality, window_of(provider, model), cost, score, standing=standing)


def _sifted(rows: list[Ranked], reasons_of: Callable[[Ranked], tuple[str, ...]]) -> list[Ranked]:
    """The rows, those with reasons against them marked as dropped; what was dropped before stays so."""
    return [row if row.dropped else replace(row, dropped=reasons_of(row)) for row in rows]


def _lacks(row: Ranked, needs: Needs) -> tuple[str, ...]:
    skill = skill_of(row.model)
    ability = thinking_of(row.provider, row.model)
    lacking = {
        "does not see images": needs.sees and not skill.sees,
        "calls no tools": needs.tools and not skill.tools,
        "cannot be held to JSON": needs.json and not skill.json,
        "does not think": needs.thinks and ability is not None and not ability.thinks,
    }
    return tuple(reason for reason, is_so in lacking.items() if is_so)


def _too_small(row: Ranked, room: int) -> tuple[str, ...]:
    return (f"its context window of {row.context_window} tokens is too small",) if row.context_window < room else ()


def _held_to(row: Ranked, floor: int) -> Ranked:
    if row.quality >= floor:
        return row
    return replace(row, dropped=(f"quality {row.quality} is below {floor}",), is_last_resort=True)


def _place(row: Ranked) -> tuple[bool, bool, int, float]:
    """Able ones first, by their score; then last resorts, by their quality; then those that are out."""
    return (not row.is_able, row.is_last_resort, -row.quality if row.is_last_resort else 0, -row.score)

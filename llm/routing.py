"""From what a caller names as `model` to whom to call, in order."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias, get_args
from uuid import UUID

from atom.ground.errors import ModelNotAllowed, ModelNotFound
from llm.capabilities import known_skill_of
from llm.catalog import EMPTY, Catalog, catalog_of
from llm.context import fit_context
from llm.endpoints import Unusable, Usable, endpoints_of, usable
from llm.errors import NoProvider
from llm.keyring import OpenKey, open_keys
from llm.messages import Endpoint, Image, Message, Part, Request, Text, Thinking, Thought
from llm.prices import MAX_MODEL_CHARS, provider_of
from llm.ranking import WELL, Goal, Needs, Ranked, Standing, Standings, known_window_of, needs_of, rank
from llm.registry import LOCAL, PROVIDERS, Provider
from llm.thinking import fit, split

AUTO = "auto"
# What a model that does not see reads where there was nothing but an image.
NOT_SEEN = "(an image that this model cannot see)"
NOT_CONFIGURED = "No model is configured. Set OPENAI_API_KEY (or another provider's), or add a provider key."


NOT_ALLOWED = "This token may not use it."


@dataclass(frozen=True, slots=True)
class Candidate:
    """One call that could be made. `key_id` is None for the environment's key.

    `thinking` is what the suffix of its name asked for.
    """

    provider: str
    wire: str
    model: str
    endpoint: Endpoint
    key_id: UUID | None
    thinking: Thinking | None = None


StandingOf: TypeAlias = Callable[[Candidate], Standing]
# The only models that a caller may use, as `provider/model`; None: all.
Allowed = Set[str] | None


@dataclass(frozen=True, slots=True)
class Explained:
    """Why `choose` chooses as it does: `meant` is what the name stands for, `rows` are best first.

    Without anybody `chosen`, `error` is what a call would be refused with.
    """

    meant: str
    needs: Needs
    rows: tuple[Ranked, ...]
    chosen: tuple[Candidate, ...] = ()
    error: NoProvider | None = None


def candidates(workspace_id: UUID, model: str, *, request: Request | None = None) -> list[Candidate]:
    """Whom to call for `provider/model`, a bare model id, an alias or `auto`; never empty.

    Raises ModelNotFound for names that mean nothing, NoProvider (with what to set) when nothing is configured.
    May query the database: call it through `in_db`.
    """
    return choose(open_keys(workspace_id), model, request=request, catalog=catalog_of(workspace_id))


def choose(
    keys: Sequence[OpenKey],
    model: str,
    *,
    request: Request | None = None,
    catalog: Catalog = EMPTY,
    standing_of: StandingOf | None = None,
    prefer: str | None = None,
    allowed: Allowed = None,
) -> list[Candidate]:
    """`candidates` for keys that are at hand; no query.

    With `request`, `auto` looks at what is asked: for each provider the model that suits best, the best first; without
    it, the default models in the registry's order. `standing_of`: those that are down come last. `prefer` is the
    provider (or `provider/model`) that a session is used to; it comes first while it is healthy and good enough. Raises
    also ModelNotAllowed, when nothing that the name means is among `allowed`.
    """
    name, thinking = meaning(model, catalog)
    goal = goal_of(name)
    stands = standing_of or _well
    if goal is None:
        found = _named_by(keys, name, allowed)
    else:
        found = _automatic(keys, goal, request, catalog, standing_of=stands, prefer=prefer, allowed=allowed)
    if thinking is not None:
        found = [replace(one, thinking=thinking) for one in found]
    return sorted(found, key=lambda one: (stands(one).is_down, goal is not None and not is_preferred(one, prefer)))


def fitted(request: Request, candidate: Candidate) -> Request:
    """What this candidate is sent: its own model, as much thinking as it takes, the parts that it can take, and what
    its window holds.

    How much to think is said by the suffix of the name that the caller gave, else of the name in an agent's list,
    else by the body. Raises LevelNotSupported, BudgetOutOfRange, ContextTooLong.
    """
    wish = request.thinking
    if candidate.thinking is not None and (wish is None or not wish.is_suffix):
        wish = candidate.thinking
    thinking = fit(wish, candidate.provider, candidate.model)
    window = known_window_of(candidate.provider, candidate.model)
    name = f"{candidate.provider}/{candidate.model}"
    messages = tuple(_taken(message, candidate, name) for message in request.messages)
    request = replace(request, model=candidate.model, thinking=thinking, messages=messages)
    return fit_context(request, window, name)


def _taken(message: Message, candidate: Candidate, name: str) -> Message:
    """The message without what this model cannot take: images if it does not see, another model's sealed thoughts."""
    skill = known_skill_of(candidate.model)
    is_blind = skill is not None and not skill.sees

    def is_taken(part: Part) -> bool:
        return not (is_blind and isinstance(part, Image)) and not (isinstance(part, Thought) and part.maker != name)

    parts = tuple(part for part in message.parts if is_taken(part))
    if len(parts) == len(message.parts):
        return message
    # Providers refuse a message without anything in it.
    return replace(message, parts=parts or (Text(NOT_SEEN),))


def meaning(model: str, catalog: Catalog) -> tuple[str, Thinking | None]:
    """The name behind an alias, and how much to think by its suffix: the caller's, else the alias's own."""
    asked = split(model)
    if asked.model not in catalog.aliases:
        return asked.model, asked.thinking
    target = split(catalog.aliases[asked.model])
    return target.model, asked.thinking or target.thinking


def goal_of(name: str) -> Goal | None:
    """What to choose by for `auto` and its words; None for the name of a model. ModelNotFound for other words."""
    if name == AUTO:
        return "auto"
    prefix, colon, word = name.partition(":")
    if prefix != AUTO or not colon:
        return None
    for goal in get_args(Goal):
        if word == goal != AUTO:
            found: Goal = goal
            return found
    raise ModelNotFound(f"There is no '{name}': it is auto, auto:cheap or auto:best.", param="model")


def explain(
    keys: Sequence[OpenKey],
    model: str,
    *,
    request: Request,
    catalog: Catalog = EMPTY,
    standing_of: StandingOf | None = None,
    allowed: Allowed = None,
) -> Explained:
    """Whom `choose` chooses, how every model that could be meant fares, and why not the others. Calls nothing.

    Raises ModelNotFound, ModelNotAllowed.
    """
    name, thinking = meaning(model, catalog)
    request = replace(request, thinking=thinking or request.thinking)
    needs, goal = needs_of(request), goal_of(name)
    if goal is None:
        row, bare_name = _named(name)
        # An explicit choice is obeyed, whatever it lacks.
        models = [(row.name, bare_name)]
        ranked = rank(models, needs, catalog=catalog, standings=_standings(models, keys, standing_of or _well))
        rows = [replace(one, dropped=()) for one in ranked]
        others: list[Ranked] = []
    else:
        models = _models_of(_askable(keys, allowed), allowed)
        rows = rank(models, needs, goal, catalog=catalog, standings=_standings(models, keys, standing_of or _well))
        others = rank([one for one in _models_of(PROVIDERS) if one not in models], needs, goal, catalog=catalog)
    try:
        found = choose(keys, model, request=request, catalog=catalog, standing_of=standing_of, allowed=allowed)
        chosen, error = tuple(found), None
    except NoProvider as exc:
        chosen, error = (), exc
    if not chosen and goal is None:
        rows, others = [], rows
    why = {name: _why_not(PROVIDERS[name], keys) for name in {row.provider for row in others}}
    out = [
        replace(
            row,
            dropped=(why[row.provider] if _may_use(allowed, row.provider, row.model) else NOT_ALLOWED,),
            is_last_resort=False,
        )
        for row in others
    ]
    return Explained(name, needs, (*rows, *out), chosen, error)


# --- Models that were named -----------------------------------------------------------------------------
def _named_by(keys: Sequence[OpenKey], model: str, allowed: Allowed) -> list[Candidate]:
    row, name = _named(model)
    if not _may_use(allowed, row.name, name):
        raise ModelNotAllowed(f"This token may not use the model '{row.name}/{name}'.", param="model")
    found = endpoints_of(row, keys)
    chosen = [_candidate(row, name, one) for one in found if isinstance(one, Usable)]
    if not chosen:
        raise NoProvider(_reasons(found))
    return chosen


def _named(model: str) -> tuple[Provider, str]:
    if not model or len(model) > MAX_MODEL_CHARS:
        raise ModelNotFound("There is no such model.", param="model")
    prefix, slash, name = model.partition("/")
    if slash:
        if prefix not in PROVIDERS or not name:
            raise ModelNotFound(f"There is no model '{model}': '{prefix}' is not a known provider.", param="model")
        return PROVIDERS[prefix], name
    provider = provider_of(model)
    if provider is None:
        raise ModelNotFound(f"There is no model '{model}'. Write provider/model to pass a new id on.", param="model")
    return PROVIDERS[provider], model


# --- Models that are chosen -----------------------------------------------------------------------------
def _automatic(
    keys: Sequence[OpenKey],
    goal: Goal,
    request: Request | None,
    catalog: Catalog,
    *,
    standing_of: StandingOf,
    prefer: str | None,
    allowed: Allowed,
) -> list[Candidate]:
    """One model of each provider that is usable, best first, with all its keys; a second where the first is down."""
    names = _askable(keys, allowed)
    if not names:
        if _askable(keys):
            raise ModelNotAllowed("This token may use none of the models that are configured here.", param="model")
        raise NoProvider(NOT_CONFIGURED)
    models = _models_of(names, allowed)
    if request is None and goal == "auto":
        first: dict[str, str] = {}
        for provider, model in models:
            first.setdefault(provider, model)
        best = list(first.items())
    else:
        needs = Needs() if request is None else needs_of(request)
        ranked = rank(models, needs, goal, catalog=catalog, standings=_standings(models, keys, standing_of))
        best = _best_of(ranked, prefer)
    rows = [(PROVIDERS[name], model) for name, model in best]
    return [_candidate(row, model, way) for row, model in rows for way in usable(row, keys)]


def _askable(keys: Sequence[OpenKey], allowed: Allowed = None) -> list[str]:
    """The usable providers with models that `auto` knows and that are allowed, in the registry's order.

    The demo model stands in for nobody: it would answer where an error tells more.
    """
    names = [row.name for row in PROVIDERS.values() if _models_of([row.name], allowed) and usable(row, keys)]
    return [name for name in names if name != LOCAL] or names


def _models_of(names: Iterable[str], allowed: Allowed = None) -> list[tuple[str, str]]:
    return [(name, model) for name in names for model in PROVIDERS[name].models if _may_use(allowed, name, model)]


def _may_use(allowed: Allowed, provider: str, model: str) -> bool:
    return allowed is None or f"{provider}/{model}" in allowed


def _standings(models: Iterable[tuple[str, str]], keys: Sequence[OpenKey], standing_of: StandingOf) -> Standings:
    """How each model stands: as well as it does with any of its keys."""
    if standing_of is _well:
        return {}
    ways = {name: usable(PROVIDERS[name], keys) for name in {provider for provider, _ in models}}
    return {
        (provider, model): max(
            (standing_of(_candidate(PROVIDERS[provider], model, way)) for way in ways[provider]),
            key=lambda one: (not one.is_down, one.rate_left),
            default=WELL,
        )
        for provider, model in models
    }


def _best_of(ranked: Sequence[Ranked], prefer: str | None) -> list[tuple[str, str]]:
    """Each provider's best model, the best provider first, then stand-ins from the same providers for what is down.

    A provider with a model that is down is likely to be down, so the others go before its stand-in. Raises NoProvider
    when no model can do what is asked.
    """
    able = [row for row in ranked if row.is_able]
    if not able:
        why = "; ".join(f"{row.provider}/{row.model} {' and '.join(row.dropped)}" for row in ranked[:5])
        raise NoProvider(f"No model that is configured can do what is asked: {why}.")
    # The model that a session is used to is the best of its provider while it is up to the task.
    used_to = [row for row in able if _name(row) == prefer and not row.dropped and not row.standing.is_down]
    best = {row.provider: row for row in reversed([*used_to, *able])}
    first = [best[name] for name in dict.fromkeys(row.provider for row in able)]
    down = {row.provider for row in first if row.standing.is_down}
    stand_ins = {row.provider: row for row in reversed(able) if row.provider in down and not row.standing.is_down}
    return [(row.provider, row.model) for row in (*first, *stand_ins.values())]


def _name(row: Ranked) -> str:
    return f"{row.provider}/{row.model}"


def _candidate(row: Provider, model: str, found: Usable) -> Candidate:
    return Candidate(row.name, row.wire_of(model), model, found.endpoint, found.key_id)


def _well(_: Candidate) -> Standing:
    return WELL


def is_preferred(candidate: Candidate, prefer: str | None) -> bool:
    return prefer in (candidate.provider, f"{candidate.provider}/{candidate.model}")


def _why_not(row: Provider, keys: Sequence[OpenKey]) -> str:
    """Why a provider is not asked at all."""
    return _reasons(endpoints_of(row, keys)) or "The demo model stands in for nobody."


def _reasons(found: Sequence[Usable | Unusable]) -> str:
    return " ".join(one.reason for one in found if isinstance(one, Unusable))

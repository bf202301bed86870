"""Reads of models: what can be called at which price, and why `auto` chooses whom. From sync code."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import QuerySet

from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from llm import breaker, catalog, keyring, routing
from llm.capabilities import skill_of
from llm.catalog import Catalog
from llm.endpoints import usable
from llm.events import Usage
from llm.messages import Request
from llm.models import ModelAlias, ModelPrice
from llm.prices import priced
from llm.ranking import window_of
from llm.registry import PROVIDERS
from llm.routing import Explained
from llm.shared import from_sync
from llm.standing import standings_of

# Prices are per million, but some lists ask more for calls of more than 128,000 tokens.
_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model that can be called; prices as text in US dollars per million tokens, None where none is known."""

    model: str
    provider: str
    quality: int
    context_window: int
    sees: bool
    input_usd_per_million: str | None
    output_usd_per_million: str | None
    cached_usd_per_million: str | None

    @property
    def has_price(self) -> bool:
        return self.input_usd_per_million is not None


def models_and_prices(principal: Principal) -> list[PricedModel]:
    """The models that the registry or the workspace's prices name, of providers that it can call; those only that
    the principal may use.
    """
    workspace_id, allowed = principal.workspace_id, principal.models
    keys, own = keyring.open_keys(workspace_id), catalog.catalog_of(workspace_id)
    rows = []
    for row in PROVIDERS.values():
        if usable(row, keys):
            rows += [
                _priced_model(row.name, model, own) for model in dict.fromkeys((*row.models, *_own(row.name, own)))
            ]
    return [row for row in rows if allowed is None or row.model in allowed]


def aliases_of(principal: Principal) -> QuerySet[ModelAlias]:
    return ModelAlias.objects.filter(workspace_id=principal.workspace_id)


def get_alias(principal: Principal, alias_id: UUID) -> ModelAlias:
    found = aliases_of(principal).filter(pk=alias_id).first()
    if found is None:
        raise NotFound("There is no such alias.")
    return found


def prices_of(principal: Principal) -> QuerySet[ModelPrice]:
    return ModelPrice.objects.filter(workspace_id=principal.workspace_id)


def get_price(principal: Principal, price_id: UUID) -> ModelPrice:
    found = prices_of(principal).filter(pk=price_id).first()
    if found is None:
        raise NotFound("There is no such price.")
    return found


def explained(principal: Principal, request: Request) -> Explained:
    """Whom a call of this request would go to, and why. Raises ModelNotFound, ModelNotAllowed."""
    workspace_id = principal.workspace_id
    opened = from_sync(breaker.opened(workspace_id))
    return routing.explain(
        keyring.open_keys(workspace_id),
        request.model,
        request=request,
        catalog=catalog.catalog_of(workspace_id),
        standing_of=standings_of(workspace_id, request, opened),
        allowed=principal.models,
    )


def _own(provider: str, own: Catalog) -> Iterator[str]:
    for name in own.prices:
        prefix, _, model = name.partition("/")
        if prefix == provider:
            yield model


def _priced_model(provider: str, model: str, own: Catalog) -> PricedModel:
    counts = (Usage(_COUNTED), Usage(0, _COUNTED), Usage(_COUNTED, 0, _COUNTED))
    given, made, cached = (_per_million(priced(provider, model, usage, own)) for usage in counts)
    skill = skill_of(model)
    return PricedModel(
        model=f"{provider}/{model}",
        provider=provider,
        quality=skill.quality,
        context_window=window_of(provider, model),
        sees=skill.sees,
        input_usd_per_million=given,
        output_usd_per_million=made,
        cached_usd_per_million=cached,
    )


def _per_million(cost: Decimal | None) -> str | None:
    return None if cost is None else format((cost * (1_000_000 // _COUNTED)).normalize(), "f")

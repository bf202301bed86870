"""What a call costs, how much a model reads, and which bare model ids exist.

From the price list that ships with genai-prices; what a workspace says of a model's price itself comes first.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from genai_prices import Usage as PricedUsage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices
from genai_prices.types import Provider as PriceList

from llm import catalog
from llm.catalog import Catalog, Price
from llm.events import Usage
from llm.registry import LOCAL, PROVIDERS

# Longer is no model's name, and would only fill the memory of look-ups.
MAX_MODEL_CHARS = 200
# Prices are for so many tokens.
MILLION = 1_000_000


def cost_usd(provider: str, model: str, usage: Usage, *, workspace_id: UUID | None = None) -> Decimal | None:
    """US dollars, never rounded; None where no price is known. With the workspace's prices as last read; no query."""
    return priced(provider, model, usage, catalog.last_known(workspace_id))


def priced(provider: str, model: str, usage: Usage, own: Catalog) -> Decimal | None:
    """`cost_usd` by a catalog at hand, whose price counts first. The local model is free without one."""
    # A provider that reports more cached than sent tokens is taken at its word for what it sent.
    cached = min(usage.cached_tokens, usage.input_tokens)
    price = own.prices.get(f"{provider}/{model}")
    if price is not None:
        return _by_own_price(price, usage, cached)
    if provider == LOCAL:
        return Decimal(0)
    found = _listed(provider, model)
    if found is None:
        return None
    price_list, row = found
    now = datetime.now(UTC)
    flat = _flat(row.get_prices(now))
    if flat is not None:
        return _by_own_price(flat, usage, cached)
    return row.calc_price(_counted(usage, cached), price_list, genai_request_timestamp=now).total_price


def context_window_of(provider: str, model: str) -> int | None:
    """How many tokens a model reads and writes in one call; None where the list does not say."""
    found = _listed(provider, model)
    return None if found is None else found[1].context_window


@lru_cache(maxsize=4096)
def provider_of(model: str) -> str | None:
    """The provider of a bare model id: the first row of the registry that lists it; None if nobody does."""
    for row in PROVIDERS.values():
        if model in row.models or _listed(row.name, model) is not None:
            return row.name
    return None


@lru_cache(maxsize=4096)
def _listed(provider: str, model: str) -> tuple[PriceList, ModelInfo] | None:
    row = PROVIDERS.get(provider)
    if row is None or not row.prices or len(model) > MAX_MODEL_CHARS:
        return None
    price_list = next((found for found in get_snapshot().providers if found.id == row.prices), None)
    if price_list is None:
        return None
    found = price_list.find_model(model)
    return None if found is None else (price_list, found)


def _counted(usage: Usage, cached: int) -> PricedUsage:
    return PricedUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=cached)


# By the identity of the row that the list holds for as long as the process lives.
_FLAT: dict[int, tuple[ModelPrice, Price | None]] = {}


def _flat(row: ModelPrice) -> Price | None:
    """The row as a price for each token, found by asking the list itself, which takes its time for every question.

    None for a row whose prices change with the size of the call, or that has one for the call itself.
    """
    known = _FLAT.get(id(row))
    if known is None:
        said = {name: value for name, value in vars(row).items() if value is not None}
        is_flat = "requests_kcount" not in said and not any(isinstance(one, TieredPrices) for one in said.values())
        known = _FLAT[id(row)] = row, _probed(row) if is_flat else None
    return known[1]


def _probed(row: ModelPrice) -> Price:
    def price_of(usage: Usage) -> Decimal:
        return row.calc_price(_counted(usage, usage.cached_tokens))["total_price"]

    return Price(
        input=price_of(Usage(input_tokens=MILLION)),
        output=price_of(Usage(output_tokens=MILLION)),
        cached=price_of(Usage(input_tokens=MILLION, cached_tokens=MILLION)),
    )


def _by_own_price(own: Price, usage: Usage, cached: int) -> Decimal:
    whole = (usage.input_tokens - cached) * own.input + cached * own.cached + usage.output_tokens * own.output
    return whole / MILLION

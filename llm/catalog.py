"""What a workspace says of models itself, its prices and aliases, remembered for a second as its keys are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from llm.models import ModelAlias, ModelPrice

REMEMBER_S = 1.0
REMEMBER_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal


@dataclass(frozen=True, slots=True)
class Catalog:
    """`prices` by `provider/id`; `aliases` from the workspace's names to what they mean."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


EMPTY = Catalog()
_remembered: dict[UUID, tuple[float, Catalog]] = {}


def recalled(workspace_id: UUID) -> Catalog | None:
    """The catalog if it was read within the last second; no query."""
    found = _remembered.get(workspace_id)
    return found[1] if found and found[0] > time.monotonic() else None


def last_known(workspace_id: UUID | None) -> Catalog:
    """The catalog as it was last read here, however long ago: each call reads it before it costs anything."""
    found = _remembered.get(workspace_id) if workspace_id is not None else None
    return found[1] if found else EMPTY


def catalog_of(workspace_id: UUID) -> Catalog:
    """The catalog. May query the database: call it through `in_db`."""
    known = recalled(workspace_id)
    if known is not None:
        return known
    found = Catalog(
        prices={row.model: _price(row) for row in ModelPrice.objects.filter(workspace_id=workspace_id)},
        aliases=dict(ModelAlias.objects.filter(workspace_id=workspace_id).values_list("alias", "model")),
    )
    _remembered.pop(workspace_id, None)
    if len(_remembered) >= REMEMBER_MOST:
        # The one that was read longest ago; calls that go on still need the others.
        del _remembered[next(iter(_remembered))]
    _remembered[workspace_id] = (time.monotonic() + REMEMBER_S, found)
    return found


def forget(workspace_id: UUID) -> None:
    """After a change: read anew at the next call here, within REMEMBER_S elsewhere."""
    known = _remembered.get(workspace_id)
    if known is not None:
        _remembered[workspace_id] = (0.0, known[1])


def _price(row: ModelPrice) -> Price:
    cached = row.cached_usd_per_million
    return Price(
        input=row.input_usd_per_million,
        output=row.output_usd_per_million,
        cached=row.input_usd_per_million if cached is None else cached,
    )

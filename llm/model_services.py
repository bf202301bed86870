"""A workspace's prices and aliases of models: set and removed."""

import re
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from atom.ground import audit
from atom.ground.errors import BadRequest
from llm import catalog
from llm.models import ModelAlias, ModelPrice
from llm.prices import MAX_MODEL_CHARS
from llm.registry import PROVIDERS

# An alias must look like no `provider/id`, no `auto:word` and no thinking suffix.
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def set_price(
    *,
    workspace_id: UUID,
    model: str,
    input_usd_per_million: Decimal,
    output_usd_per_million: Decimal,
    cached_usd_per_million: Decimal | None = None,
    by: str,
) -> tuple[ModelPrice, bool]:
    """The workspace's price of `provider/id`, and whether it is a new one. BadRequest for another name."""
    provider, _, name = model.partition("/")
    if provider not in PROVIDERS or not name or len(name) > MAX_MODEL_CHARS:
        raise BadRequest("A price belongs to a model written as provider/id, of a known provider.", param="model")
    prices = (input_usd_per_million, output_usd_per_million, cached_usd_per_million)
    if any(price is not None and not price >= 0 for price in prices):
        raise BadRequest("A price is 0 or more US dollars per million tokens.")
    values = {
        "input_usd_per_million": input_usd_per_million,
        "output_usd_per_million": output_usd_per_million,
        "cached_usd_per_million": cached_usd_per_million,
    }
    with transaction.atomic():
        row, is_new = ModelPrice.objects.update_or_create(workspace_id=workspace_id, model=model, defaults=values)
        told = {key: None if value is None else str(value) for key, value in values.items()}
        audit.append(workspace_id=workspace_id, actor=by, event="model_price.set", details={"model": model, **told})
    catalog.forget(workspace_id)
    return row, is_new


def delete_price(*, price: ModelPrice, by: str) -> None:
    """The price list's price counts again."""
    with transaction.atomic():
        details = {"model": price.model}
        audit.append(workspace_id=price.workspace_id, actor=by, event="model_price.deleted", details=details)
        price.delete()
    catalog.forget(price.workspace_id)


def set_alias(*, workspace_id: UUID, alias: str, model: str, by: str) -> tuple[ModelAlias, bool]:
    """The workspace's own name for a model, and whether it is a new one. BadRequest for what cannot be a name."""
    if not _ALIAS.fullmatch(alias) or alias == "auto":
        raise BadRequest(
            "An alias is made of letters, digits, dot, dash and underscore, and is not 'auto'.", param="alias"
        )
    if not model or model == alias or len(model) > MAX_MODEL_CHARS:
        raise BadRequest("An alias needs the model that it stands for.", param="model")
    with transaction.atomic():
        row, is_new = ModelAlias.objects.update_or_create(
            workspace_id=workspace_id, alias=alias, defaults={"model": model}
        )
        details = {"alias": alias, "model": model}
        audit.append(workspace_id=workspace_id, actor=by, event="model_alias.set", details=details)
    catalog.forget(workspace_id)
    return row, is_new


def delete_alias(*, alias: ModelAlias, by: str) -> None:
    details = {"alias": alias.alias, "model": alias.model}
    with transaction.atomic():
        audit.append(workspace_id=alias.workspace_id, actor=by, event="model_alias.deleted", details=details)
        alias.delete()
    catalog.forget(alias.workspace_id)

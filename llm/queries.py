"""Reads of keys and of the models that a workspace can use."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import QuerySet

from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from llm import breaker, keyring
from llm.breaker import Status
from llm.endpoints import usable
from llm.models import ProviderKey
from llm.registry import PROVIDERS
from llm.shared import from_sync

# The wire demands a date for each model and providers disagree about it: the date of this registry.
LISTED_AT = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A row of `/v1/models`; `created` in Unix seconds."""

    id: str
    owned_by: str
    created: int = LISTED_AT


def keys_of(principal: Principal) -> QuerySet[ProviderKey]:
    return ProviderKey.objects.filter(workspace_id=principal.workspace_id)


def get_key(principal: Principal, key_id: UUID) -> ProviderKey:
    found = keys_of(principal).filter(pk=key_id).first()
    if found is None:
        raise NotFound("There is no such provider key.")
    return found


def models_of(workspace_id: UUID, allowed: Collection[str] | None = None) -> list[ServedModel]:
    """The models of every provider that this workspace can call: the registry's, or, for a token with a list, those
    of the list. Call through `in_db`.
    """
    keys = keyring.open_keys(workspace_id)
    found: list[ServedModel] = []
    for row in PROVIDERS.values():
        names = [f"{row.name}/{model}" for model in row.models]
        if allowed is not None:
            names = sorted(name for name in allowed if name.partition("/")[0] == row.name)
        if names and usable(row, keys):
            found += [ServedModel(id=name, owned_by=row.name) for name in names]
    return found


def breakers_of(principal: Principal) -> list[Status]:
    """The breakers that this workspace's calls meet and that have seen a failure. From sync code."""
    return from_sync(breaker.statuses(principal.workspace_id))

"""Where a provider is called and with which key: the workspace's keys first, then the environment's."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from atom.ground.http import ForbiddenAddress, guard
from llm.http import deadlines
from llm.keyring import OpenKey
from llm.messages import Endpoint
from llm.registry import LOCAL, Provider


@dataclass(frozen=True, slots=True)
class Usable:
    """An endpoint, and the workspace's key behind it (None: the environment's)."""

    endpoint: Endpoint
    key_id: UUID | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a key or the environment does not help, and what would."""

    reason: str


def endpoints_of(row: Provider, keys: Iterable[OpenKey]) -> list[Usable | Unusable]:
    """All that is configured for a provider, in the order of use."""
    return [*_of_keys(row, keys), _of_environment(row)]


def usable(row: Provider, keys: Iterable[OpenKey]) -> list[Usable]:
    return [found for found in endpoints_of(row, keys) if isinstance(found, Usable)]


def is_in_environment(row: Provider) -> bool:
    """Whether the environment has a key for it, or the address of one that needs no key."""
    return bool(os.environ.get(row.key_env, "").strip() or (not row.needs_key and os.environ.get(row.base_url_env)))


def _of_keys(row: Provider, keys: Iterable[OpenKey]) -> Iterator[Usable | Unusable]:
    for key in keys:
        if key.provider != row.name:
            continue
        if key.secret is None:
            yield Unusable(f"The key '{key.name}' for {row.name} no longer opens: enter its secret again.")
            continue
        address = key.base_url or os.environ.get(row.base_url_env) or row.base_url
        yield _checked(row, address, key.secret, key.id)


def _of_environment(row: Provider) -> Usable | Unusable:
    secret = os.environ.get(row.key_env, "").strip()
    if row.needs_key and not secret:
        return Unusable(f"Set {row.key_env} or add a provider key for {row.name}.")
    return _checked(row, os.environ.get(row.base_url_env) or row.base_url, secret, None)


def _checked(row: Provider, address: str, secret: str, key_id: UUID | None) -> Usable | Unusable:
    if not address:
        if row.name == LOCAL:
            return Unusable("The local model is not running: start Atom with `make up`.")
        return Unusable(f"Set {row.base_url_env} or add a provider key with a base URL for {row.name}.")
    # The supervisor's own model is on loopback by design; nobody else's address can come in under its name.
    if row.name != LOCAL:
        try:
            guard(address, settings.ATOM_ALLOWED_PROVIDER_HOSTS)
        except ForbiddenAddress:
            return Unusable(
                f"Add the host of {row.name}'s base URL to ATOM_ALLOWED_PROVIDER_HOSTS if it may be called."
            )
    endpoint = Endpoint(provider=row.name, base_url=address, secret=secret, deadlines=deadlines())
    return Usable(endpoint, key_id)

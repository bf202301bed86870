"""The smoke matrix: one word to the cheapest model of every provider that has a key, with each of its keys."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from llm import catalog, http, keyring
from llm.catalog import EMPTY, Catalog
from llm.endpoints import Unusable, Usable, endpoints_of, is_in_environment
from llm.models import ProviderKey
from llm.probe import cheapest_model, probe
from llm.registry import PROVIDERS, Provider

# These are in the table also without a key.
BY_DEFAULT = ("openai", "anthropic", "gemini", "deepseek", "moonshot", "qwen")
WITHIN_S = 5.0
# So many are asked at a time: a slow provider does not hold up the others.
AT_ONCE = 8

OK, NO_KEY = "ok", "no key"
NO_AUTH = "none"

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `status` is `ok` (2xx), `no key`, or the error's code; `error` is in our words."""

    provider: str
    key: str
    model: str
    auth: str
    status: str
    latency_ms: int | None = None
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Nothing to complain about: it works, or nobody gave it a key."""
        return self.status in (OK, NO_KEY)


@dataclass(frozen=True, slots=True)
class _Case:
    """One call to make; or, with something unusable, the reason why not."""

    provider: Provider
    key: str
    way: Usable | Unusable
    own: Catalog


def cases() -> list[_Case]:
    """What there is to ask: the environment's keys, then each workspace's, in the registry's order."""
    keys = list(ProviderKey.objects.filter(is_enabled=True).select_related("workspace").order_by("priority"))
    # One workspace's prices say nothing about what is cheapest in another.
    catalogs: dict[UUID, Catalog] = {one.workspace_id: catalog.catalog_of(one.workspace_id) for one in keys}
    found: list[_Case] = []
    for row in PROVIDERS.values():
        of_row = list(_of_environment(row))
        for key in keys:
            if key.provider == row.name:
                way = endpoints_of(row, [keyring.opened(key)])[0]
                of_row.append(_Case(row, f"{key.workspace.name}: {key.name}", way, catalogs[key.workspace_id]))
        if not of_row and row.name in BY_DEFAULT:
            of_row.append(_Case(row, "", Unusable(NO_KEY), EMPTY))
        found += of_row
    return found


async def run(found: list[_Case], told: Told) -> list[Row]:
    """The table's rows, in the order of the cases; closes this event loop's client."""
    gate, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(case: _Case) -> Row:
        nonlocal done
        async with gate:
            row = await _asked(case)
        done += 1
        told(done, len(found))
        return row

    told(0, len(found))
    return await http.and_close(asyncio.gather(*map(one, found)))


def _of_environment(row: Provider) -> Iterator[_Case]:
    if is_in_environment(row):
        yield _Case(row, "environment", endpoints_of(row, [])[0], EMPTY)


async def _asked(case: _Case) -> Row:
    row = case.provider
    if isinstance(case.way, Unusable):
        model = cheapest_model(row, case.own) or ""
        if not case.key:
            return Row(row.name, "", model, row.auth, NO_KEY, error=f"Set {row.key_env} or add a provider key.")
        return Row(row.name, case.key, model, row.auth, "unusable_key", error=case.way.reason)
    auth = row.auth if case.way.endpoint.secret else NO_AUTH
    found = await probe(row, case.way, own=case.own, within_s=WITHIN_S)
    return Row(row.name, case.key, found.model, auth, found.code or OK, found.latency_ms, found.error)

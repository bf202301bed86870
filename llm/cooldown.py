"""A key that was refused or limited rests for a while, in all processes: others go before it.

A `Retry-After` of the provider is kept to: until then the key is not used at all. Without one the key goes last, so
that the only key there is gets its chance.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from llm.errors import KeyRefused, LLMError, RateLimited
from llm.shared import asked

REFUSED_S = 60
LIMITED_S = 5
# No provider's word keeps a key away for longer.
MOST_S = 3600
# What a rest is in the store: told by the provider after a limit or a refusal, or our own guess.
_TOLD_LIMITED, _TOLD_REFUSED, _GUESSED = b"told", b"refused", b"guessed"


@dataclass(frozen=True, slots=True)
class Rest:
    """How much longer, in seconds, whether the provider itself said so, and whether it had refused the key."""

    left_s: int
    is_told: bool
    is_refused: bool = False


def name_of(provider: str, key_id: UUID | None) -> str:
    """A key's name here; the environment has one key for each provider."""
    return f"atom:cooldown:{key_id}" if key_id else f"atom:cooldown:environment:{provider}"


async def cool(name: str, error: LLMError) -> None:
    """Rest after a refusal (401, 402, 403) or a limit (429); other errors are no fault of the key."""
    if not isinstance(error, KeyRefused | RateLimited):
        return
    told = error.retry_after_s
    is_refused = isinstance(error, KeyRefused)
    seconds = min(MOST_S, told if told is not None else REFUSED_S if is_refused else LIMITED_S)
    kind = _GUESSED if told is None else _TOLD_REFUSED if is_refused else _TOLD_LIMITED
    if seconds > 0:
        await asked(lambda client: client.set(name, kind, ex=seconds))


async def wake(name: str) -> None:
    """The key works."""
    await asked(lambda client: client.delete(name))


async def rests(names: Collection[str]) -> dict[str, Rest]:
    """Those of the keys that rest now; none when the store is away."""
    wanted = list(dict.fromkeys(names))
    kept: Any = await asked(lambda client: client.mget(wanted))
    found: dict[str, Rest] = {}
    for name, value in zip(wanted, kept or (), strict=False):
        if value is not None:
            # mypy finds no type for a lambda's default.
            left_ms = await asked(lambda client, name=name: client.pttl(name))  # type: ignore[misc]
            found[name] = Rest(
                left_s=max(1, math.ceil((left_ms or 0) / 1000)),
                is_told=value != _GUESSED,
                is_refused=value == _TOLD_REFUSED,
            )
    return found

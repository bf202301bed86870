"""A key that was refused or limited rests for a while, in all processes: others go before it.

A `Retry-After` of the provider is kept to: until then the key is not used at all. Without one the key goes last, so
that the only key there is gets its chance.
"""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from atom.ground.together import together
from llm.errors import KeyRefused, LLMError, RateLimited
from llm.shared import asked

REFUSED_S = 60
LIMITED_S = 5
# No provider's word keeps a key away for longer.
MOST_S = 3600
# For so long a process remembers whether a key rests; of its own calls it knows at once.
REMEMBER_S = 0.1
REMEMBER_MOST = 10_000
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
        _looked.pop(name, None)


async def wake(name: str) -> None:
    """The key works."""
    await asked(lambda client: client.delete(name))
    _looked.pop(name, None)


# Until when (monotonic) it is remembered, and how the key rests.
_looked: dict[str, tuple[float, Rest | None]] = {}


def forget() -> None:
    """Ask the store again about every key."""
    _looked.clear()


async def rests(names: Collection[str]) -> dict[str, Rest]:
    """Those of the keys that rest now; none when the store is away."""
    now = time.monotonic()
    found = {name: _looked.get(name) for name in names}
    known = {name: one[1] for name, one in found.items() if one is not None and one[0] > now}
    unknown = tuple(name for name in found if name not in known)
    if unknown:
        known |= await together((rests, unknown), lambda: _look_up(unknown))
    return {name: rest for name, rest in known.items() if rest is not None}


async def _look_up(names: Sequence[str]) -> dict[str, Rest | None]:
    found = await _rests_now(names)
    if len(_looked) + len(names) > REMEMBER_MOST:
        _looked.clear()
    until = time.monotonic() + REMEMBER_S
    _looked.update({name: (until, rest) for name, rest in found.items()})
    return found


async def _rests_now(names: Sequence[str]) -> dict[str, Rest | None]:
    kept: Any = await asked(lambda client: client.mget(names))
    found: dict[str, Rest | None] = dict.fromkeys(names)
    for name, value in zip(names, kept or (), strict=False):
        if value is not None:
            # mypy finds no type for a lambda's default.
            left_ms = await asked(lambda client, name=name: client.pttl(name))  # type: ignore[misc]
            found[name] = Rest(
                left_s=max(1, math.ceil((left_ms or 0) / 1000)),
                is_told=value != _GUESSED,
                is_refused=value == _TOLD_REFUSED,
            )
    return found

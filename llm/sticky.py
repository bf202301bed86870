"""Who served a conversation last, kept for as long as a provider may still have its beginning in a cache."""

from dataclasses import dataclass
from uuid import UUID

import orjson

from llm.shared import asked

# Providers keep prompts for minutes to an hour; nothing is lost by asking another one later.
KEEP_S = 3600


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Who answered, with which key, when these models were asked for."""

    models: tuple[str, ...]
    provider: str
    model: str
    key_id: UUID | None


async def recall(session_id: UUID) -> ServedBy | None:
    """Who served this session last; None when that is long ago, or the store is away."""
    raw = await asked(lambda client: client.get(_name(session_id)))
    if raw is None:
        return None
    models, provider, model, key_id = orjson.loads(raw)
    return ServedBy(tuple(models), provider, model, UUID(key_id) if key_id else None)


async def remember(session_id: UUID, served: ServedBy) -> None:
    raw = orjson.dumps([served.models, served.provider, served.model, served.key_id])
    await asked(lambda client: client.set(_name(session_id), raw, ex=KEEP_S))


def _name(session_id: UUID) -> str:
    return f"atom:served:{session_id}"

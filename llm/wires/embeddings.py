"""OpenAI's embeddings, `POST {base_url}/embeddings`: passed through to the providers of its wire.

https://platform.openai.com/docs/api-reference/embeddings. The vectors are no part of a conversation, so this wire
yields its finish only and keeps them.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from atom.ground.http import GuardedClient
from llm.errors import BadResponse, RequestRefused
from llm.events import Event, Finished, Meter, Usage
from llm.messages import Endpoint, Request
from llm.registry import PROVIDERS
from llm.wires.shapes import count_of
from llm.wires.transport import post_json

WIRE = "openai_chat"


class Embedding:
    """One request for vectors, as a `llm.wires.Wire`; `vectors` is what the provider sent, once it has."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.vectors: list[dict[str, Any]] = []
        self._fields = dict(fields)

    async def __call__(
        self, request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
    ) -> AsyncGenerator[Event, None]:
        if PROVIDERS[endpoint.provider].wire != WIRE:
            raise RequestRefused(f"{endpoint.provider} has no embeddings on this wire.")
        headers = {"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
        body = {**self._fields, "model": request.model}
        found = await post_json(f"{endpoint.base_url.rstrip('/')}/embeddings", body, headers, endpoint, client)
        rows = found.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get("embedding") for row in rows):
            raise BadResponse(f"{endpoint.provider} sent an answer without embeddings.")
        said = found.get("usage")
        meter.usage = Usage(input_tokens=count_of(said.get("prompt_tokens"))) if isinstance(said, dict) else None
        self.vectors = rows
        yield Finished("stop", meter.usage or Usage())

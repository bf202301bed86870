"""Reading event streams in tests, with a real HTTP client."""

import json
from collections.abc import Iterator
from typing import Any

import httpx


def sse_events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The `data:` of each frame as JSON (with the frame's `id` as `_id`); `[DONE]` comes as {"done": True}."""
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
            continue
        if "data" in frame:
            data = {"done": True} if frame["data"] == "[DONE]" else json.loads(frame["data"])
            yield {**data, "_id": frame["id"]} if "id" in frame else data
        frame = {}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event.get("type") == "text_delta")

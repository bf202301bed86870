"""`/v1/models` as clients of Anthropic's wire read it; they are known by their headers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest

from llm.queries import ServedModel


def is_asked_by_anthropic(request: HttpRequest) -> bool:
    """The official client sends its version of the wire; command-line agents at least their name."""
    return "anthropic-version" in request.headers or request.headers.get("User-Agent", "").startswith("claude-cli")


def model_json(model: ServedModel) -> dict[str, Any]:
    created = datetime.fromtimestamp(model.created, UTC)
    return {"type": "model", "id": model.id, "display_name": model.id, "created_at": created.isoformat()}


def list_json(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {
        "data": [model_json(model) for model in models],
        "has_more": False,
        "first_id": models[0].id if models else None,
        "last_id": models[-1].id if models else None,
    }

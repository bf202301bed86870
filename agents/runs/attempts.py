"""What a run's calls to models used: each written once, however often it is handed in, and summed up in the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from django.db.models import Count, Q, Sum

from agents.fields import MOST_USD, summed, total_of
from agents.models import Attempt, Run
from llm import attempts as calls
from llm.events import NO_USAGE, Usage

# Each attempt with its place in the run, counted from 0.
Tried: TypeAlias = Sequence[tuple[int, calls.Attempt]]
# What may still change while an attempt goes on.
OUTCOME = [
    "outcome", "message", "duration_s", "time_to_first_token_s", "has_usage", "input_tokens", "output_tokens",
    "cached_tokens", "reasoning_tokens", "cost_usd",
]  # fmt: skip
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Served:
    """Who served so far, and what it took; doors put it into headers, the run into its row."""

    provider: str = ""
    model: str = ""
    attempts: int = 0
    usage: Usage = NO_USAGE
    cost: Decimal | None = Decimal(0)
    first_token_s: float | None = None

    def add(self, one: calls.Attempt) -> None:
        """What an attempt used; once a price is unknown, the cost of the whole is."""
        self.usage += one.usage
        self.cost = None if self.cost is None or one.cost_usd is None else self.cost + one.cost_usd


def keep_attempts(run: Run, tried: Tried) -> None:
    """Write the attempts down, and what the whole run used. In the caller's transaction, with the run locked.

    One that is there already is replaced: what a process says last of its own call is what became of it.
    """
    rows = [attempt_row(run, place, one) for place, one in tried]
    Attempt.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["request_id", "place"], update_fields=OUTCOME
    )
    called = Q(was_called=True)
    found = Attempt.objects.filter(request_id=run.pk).aggregate(
        calls=Count("pk", filter=called),
        unpriced=Count("pk", filter=Q(cost_usd=None)),
        **{name: Sum(name) for name in TOKENS},
        **summed("cost_usd"),
    )
    run.attempts = found["calls"]
    for name in TOKENS:
        setattr(run, name, found[name] or 0)
    run.cost_usd = None if found["unpriced"] else total_of(found, "cost_usd")
    run.save(update_fields=["attempts", *TOKENS, "cost_usd"])


def attempt_row(run: Run, place: int, one: calls.Attempt) -> Attempt:
    """The ledger's row, not saved yet."""
    return Attempt(
        workspace_id=run.workspace_id,
        run_id=run.pk,
        request_id=run.pk,
        place=place,
        agent_id=run.agent_id,
        session_id=run.session_id,
        user_id=run.user_id,
        token_id=run.token_id,
        provider=one.provider,
        model=one.model,
        key_id=one.key_id,
        outcome=one.outcome,
        message=one.message,
        streamed=one.streamed,
        was_called=one.was_called,
        started_at=one.started_at,
        duration_s=one.duration_s,
        time_to_first_token_s=one.time_to_first_token_s,
        has_usage=one.has_usage,
        input_tokens=one.usage.input_tokens,
        output_tokens=one.usage.output_tokens,
        cached_tokens=one.usage.cached_tokens,
        reasoning_tokens=one.usage.reasoning_tokens,
        # What is more than any call can cost is a slip in a price, and no cost that one could add up.
        cost_usd=one.cost_usd if one.cost_usd is None or one.cost_usd <= MOST_USD else None,
    )


def encode(tried: Tried) -> bytes:
    """For the store, in case the process dies before it can write to the database."""
    return orjson.dumps(list(tried), default=str)


def decode(raw: bytes) -> list[tuple[int, calls.Attempt]]:
    """What `encode` wrote."""
    return [(place, _attempt(found)) for place, found in orjson.loads(raw)]


def _attempt(found: dict[str, Any]) -> calls.Attempt:
    given = {
        **found,
        "key_id": UUID(found["key_id"]) if found["key_id"] else None,
        "started_at": datetime.fromisoformat(found["started_at"]),
        "usage": Usage(**found["usage"]),
        "cost_usd": None if found["cost_usd"] is None else Decimal(found["cost_usd"]),
    }
    return calls.Attempt(**given)

"""What a call may cost, announced before it goes out; what it did cost, told when it has ended."""

from decimal import Decimal
from typing import Protocol
from uuid import UUID

from llm.context import tokens_of, tokens_of_tools
from llm.events import Usage
from llm.messages import Request
from llm.prices import cost_usd

# What an answer may take where the caller named no limit.
ANSWER_TOKENS = 4_096


class Hold(Protocol):
    """Money set aside for one call."""

    async def settle(self, cost_usd: Decimal) -> None:
        """What the call cost in the end; 0 for one that failed. Never raises: the answer has been given."""
        ...


class Purse(Protocol):
    """Who pays for the calls of one run."""

    async def reserve(self, model: str, estimate_usd: Decimal) -> Hold | None:
        """Set `estimate_usd` aside for a call to `model` (`provider/id`). Raises OverBudget.

        None where nobody counts.
        """
        ...


def estimate_usd(provider: str, model: str, request: Request, *, workspace_id: UUID) -> Decimal | None:
    """The most that the call is likely to cost; None where no price is known, 0 for a model that is free."""
    usage = Usage(
        input_tokens=tokens_of(request.messages) + tokens_of_tools(request),
        output_tokens=(request.max_tokens or ANSWER_TOKENS) * request.answers,
    )
    return cost_usd(provider, model, usage, workspace_id=workspace_id)

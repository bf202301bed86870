"""Reserving in a call's budgets before it goes out, and settling when it has ended."""

import asyncio
import random
import time
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from agents.gate import Spender
from atom.ground.database import in_db, in_db_once
from atom.ground.store import store
from governance.budgets import counters, ledger
from governance.budgets.counters import Counter, dollars, units
from governance.budgets.queries import spending_under
from governance.budgets.snapshot import LIMITS, Limit
from llm.catalog import catalog_of
from llm.errors import OverBudget
from llm.events import Usage
from llm.prices import priced

log = structlog.get_logger(__name__)

# How long a call waits for what other calls hold, when enough would be left without them.
PATIENCE_S = 5.0
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.25
# A hold outlives the longest call by this much, and then falls away: its process has died.
GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class BudgetHold:
    """What one call holds in each of its budgets, in the windows in which it began."""

    id: str
    workspace_id: UUID
    model: str
    limits: tuple[Limit, ...]
    counters: tuple[Counter, ...]

    async def settle(self, cost_usd: Decimal) -> None:
        """Count what the call cost. Should the store be away, the ledger makes up for it later."""
        try:
            cost = units(cost_usd)
            used_up = await counters.settle(store(), self.counters, hold=self.id, cost=cost, model=self.model)
            for place in used_up:
                limit, counter = self.limits[place], self.counters[place]
                await in_db(ledger.record_used_up, self.workspace_id, limit, counter.window)
        except (RedisError, DatabaseError, OSError):
            log.exception("budget_not_settled", hold=self.id, cost_usd=str(cost_usd))


async def reserve(spender: Spender, model: str, estimate_usd: Decimal) -> BudgetHold | None:
    """Set `estimate_usd` for a call to `model` (`provider/id`) aside in every budget that counts `spender`.

    None when no budget does. A call is let through while anything is left, so that a budget is overspent by one call
    at most. Where only the holds of other calls stand in the way, it waits for them a little. Raises OverBudget.
    """
    limits = await _limits_of(spender)
    if not limits:
        return None
    until, pause_s = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
    hold_id = f"{spender.run_id}:{uuid4().hex}"
    while True:
        now = timezone.now()
        wanted = tuple(limit.counter(now) for limit in limits)
        answer = await counters.reserve(
            store(),
            wanted,
            hold=hold_id,
            amount=units(estimate_usd),
            model=model,
            hold_s=settings.ATOM_TOTAL_TIMEOUT + GRACE_S,
        )
        if answer.word == "held":
            return BudgetHold(hold_id, spender.workspace_id, model, limits, wanted)
        limit, counter = limits[answer.place], wanted[answer.place]
        if answer.word == "unknown":
            await in_db(ledger.begin, spender.workspace_id, limit, now)
            continue
        is_spent = answer.spent >= counter.limit
        if is_spent or time.monotonic() >= until:
            raise _refusal(limit, answer.spent, is_spent=is_spent)
        # Not all at the same moment.
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def require_left(spender: Spender) -> None:
    """Raise OverBudget when a hard budget of this spender is spent. One of nothing, of which nothing was spent, is not:
    who lives on free models has that.
    """
    for limit in LIMITS.get(spender.workspace_id):
        if limit.is_hard and limit.counts(spender):
            spent = spending_under(spender.workspace_id, limit).spent_usd
            if spent and spent >= limit.limit_usd:
                raise _refusal(limit, units(spent), is_spent=True)


def is_free(name: str, workspace_id: UUID) -> bool:
    """Whether calls to the model `provider/id` are known to cost nothing."""
    provider, _, model = name.partition("/")
    return priced(provider, model, Usage(1, 1), catalog_of(workspace_id)) == 0


async def _limits_of(spender: Spender) -> tuple[Limit, ...]:
    known = LIMITS.recalled(spender.workspace_id)
    if known is None:
        known = await in_db_once(LIMITS.get, spender.workspace_id)
    return tuple(limit for limit in known if limit.counts(spender))


def _refusal(limit: Limit, spent: int, *, is_spent: bool) -> OverBudget:
    """Which budget it was, what is used, and when it begins anew."""
    ends_at = limit.window(timezone.now()).ends_at
    said = f"The budget of {_plain(limit.limit_usd)} USD {_per(limit.period)} for {limit.spender}"
    until = f"It begins anew at {ends_at:%Y-%m-%d %H:%M} UTC." if ends_at else "It does not begin anew by itself."
    why = f"is used up. {until}" if is_spent else "is held by calls in progress; try again in a moment."
    return OverBudget(
        f"{said} {why}",
        details={
            "budget_id": limit.budget_id,
            "scope": limit.scope,
            "period": limit.period,
            "limit_usd": _plain(limit.limit_usd),
            "spent_usd": _plain(dollars(spent)),
            "resets_at": ends_at,
        },
        retry_after_s=None if is_spent else 1,
    )


def _per(period: str) -> str:
    return "in total" if period == "total" else f"a {period}"


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"

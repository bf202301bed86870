"""Reads of budgets, always for somebody, with what they have spent."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from atom.ground.store import sync_store
from governance.budgets import counters, ledger
from governance.budgets.counters import dollars
from governance.budgets.snapshot import Limit, limit_of
from governance.models import Budget


@dataclass(frozen=True, slots=True)
class Spending:
    """Of one budget in its present window. `resets_at` is None for one without a period."""

    spent_usd: Decimal
    reserved_usd: Decimal
    resets_at: datetime | None


def budgets_of(principal: Principal) -> QuerySet[Budget]:
    principal.require("admin")
    rows = Budget.objects.filter(workspace_id=principal.workspace_id)
    return rows.select_related("agent", "token", "session")


def get_budget(principal: Principal, budget_id: UUID) -> Budget:
    found = budgets_of(principal).filter(pk=budget_id).first()
    if found is None:
        raise NotFound("There is no such budget.")
    return found


def spending_of(budget: Budget) -> Spending:
    """By the store's counter; by the ledger where the store has none or is away."""
    return spending_under(budget.workspace_id, limit_of(budget))


def spending_under(workspace_id: UUID, limit: Limit) -> Spending:
    """The same for a budget that is in a snapshot."""
    now = timezone.now()
    window = limit.window(now)
    try:
        counted = counters.read(sync_store(), limit.counter(now))
    except RedisError:
        counted = None
    if counted is not None:
        return Spending(dollars(counted[0]), dollars(counted[1]), window.ends_at)
    return Spending(ledger.spent_usd(workspace_id, limit, window), Decimal(0), window.ends_at)

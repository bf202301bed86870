"""A workspace's budgets, remembered for a second: a call must not wait for a query."""

import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from agents.gate import Spender
from governance.budgets.counters import Counter, units
from governance.budgets.windows import Window, window_of
from governance.models import Budget, BudgetScope

REMEMBER_S = 1.0
REMEMBER_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget as a call meets it. `spender` names whose it is, for people."""

    budget_id: UUID
    scope: str
    target_id: UUID | None
    spender: str
    period: str
    limit_usd: Decimal
    is_hard: bool

    def counts(self, spender: Spender) -> bool:
        """Is what this spender spends bounded by it?"""
        match self.scope:
            case BudgetScope.AGENT:
                return self.target_id == spender.agent_id
            case BudgetScope.TOKEN:
                return self.target_id == spender.token_id
            case BudgetScope.SESSION:
                return self.target_id == spender.session_id
        return True

    def window(self, now: datetime) -> Window:
        return window_of(self.period, now)

    def counter(self, now: datetime) -> Counter:
        return Counter(self.budget_id, self.window(now).name, units(self.limit_usd), self.is_hard)


_remembered: dict[UUID, tuple[float, tuple[Limit, ...]]] = {}


def recalled(workspace_id: UUID) -> tuple[Limit, ...] | None:
    """The budgets if they were read within the last second; no query."""
    found = _remembered.get(workspace_id)
    return found[1] if found and found[0] > time.monotonic() else None


def limits_of(workspace_id: UUID) -> tuple[Limit, ...]:
    """The workspace's budgets, hard ones first."""
    known = recalled(workspace_id)
    if known is not None:
        return known
    rows = Budget.objects.filter(workspace_id=workspace_id).select_related("agent", "token")
    limits = tuple(limit_of(row) for row in rows.order_by("-is_hard", "limit_usd"))
    if len(_remembered) >= REMEMBER_MOST:
        _remembered.clear()
    _remembered[workspace_id] = (time.monotonic() + REMEMBER_S, limits)
    return limits


def limit_of(row: Budget) -> Limit:
    return Limit(
        budget_id=row.id,
        scope=row.scope,
        target_id=row.target_id,
        spender=row.spender,
        period=row.period,
        limit_usd=row.limit_usd,
        is_hard=row.is_hard,
    )


def forget(workspace_id: UUID) -> None:
    """After a change: at once in this process, within REMEMBER_S elsewhere."""
    _remembered.pop(workspace_id, None)

"""A workspace's budgets as a snapshot: a call must not wait for a query."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from agents.gate import Spender
from atom.ground.snapshots import Snapshots
from governance.budgets.counters import Counter, units
from governance.budgets.windows import Window, window_of
from governance.models import Budget, BudgetScope


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


def _load(workspace_id: UUID) -> tuple[Limit, ...]:
    """The workspace's budgets, hard ones first."""
    rows = Budget.objects.filter(workspace_id=workspace_id).select_related("agent", "token")
    return tuple(limit_of(row) for row in rows.order_by("-is_hard", "limit_usd"))


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


LIMITS = Snapshots("budgets", _load)

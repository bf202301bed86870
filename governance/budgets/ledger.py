"""What a budget has spent according to the ledger, for counters that the store does not have."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from django.db.models import QuerySet
from django.utils import timezone

from agents.fields import summed, total_of
from agents.models import Attempt
from atom.ground import audit, journal
from atom.ground.store import sync_store
from governance.budgets import counters
from governance.budgets.counters import units
from governance.budgets.snapshot import Limit, limit_of
from governance.budgets.windows import Window
from governance.models import Budget, BudgetScope

log = structlog.get_logger(__name__)

_FIELDS = {
    BudgetScope.AGENT.value: "agent_id",
    BudgetScope.TOKEN.value: "token_id",
    BudgetScope.SESSION.value: "session_id",
}


def spent_usd(workspace_id: UUID, limit: Limit, window: Window) -> Decimal:
    """What the calls that began in this window cost, as far as their prices are known."""
    rows = Attempt.objects.filter(workspace_id=workspace_id, **_targets(limit))
    return total_of(_within(rows, window).aggregate(**summed("cost_usd")), "cost_usd")


def begin(workspace_id: UUID, limit: Limit, now: datetime) -> None:
    """Let the store's counter say at least what the ledger says."""
    journal.settle()
    spent = spent_usd(workspace_id, limit, limit.window(now))
    counters.lift(sync_store(), limit.counter(now), units(spent))


def rebuild() -> int:
    """Every budget's counter again, in all workspaces; gives how many. At the start, and now and then."""
    now = timezone.now()
    count = 0
    for row in Budget.objects.select_related("agent", "token").iterator():
        begin(row.workspace_id, limit_of(row), now)
        count += 1
    return count


def record_used_up(workspace_id: UUID, limit: Limit, window: str) -> None:
    """A budget has been used up just now: into the log and the audit trail."""
    event = "budget.used_up" if limit.is_hard else "budget.soft_limit_reached"
    log.warning(event.replace(".", "_"), budget_id=str(limit.budget_id), window=window)
    audit.append(
        workspace_id=workspace_id,
        actor="atom",
        event=event,
        details={
            "budget": limit.budget_id,
            "scope": limit.scope,
            "target": limit.target_id,
            "period": limit.period,
            "window": window,
            "limit_usd": str(limit.limit_usd),
        },
    )


def _targets(limit: Limit) -> dict[str, UUID | None]:
    field = _FIELDS.get(limit.scope)
    return {field: limit.target_id} if field else {}


def _within(rows: QuerySet[Attempt], window: Window) -> QuerySet[Attempt]:
    if window.starts_at is None:
        return rows
    return rows.filter(started_at__gte=window.starts_at, started_at__lt=window.ends_at)

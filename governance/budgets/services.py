"""Budgets: made, changed, removed."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from atom.ground import audit
from atom.ground.errors import BadRequest
from atom.ground.principal import Principal
from governance.budgets.snapshot import LIMITS
from governance.models import Budget, BudgetScope

# What a scope needs to be told apart from others of its kind.
_NAMED = (BudgetScope.AGENT, BudgetScope.TOKEN, BudgetScope.SESSION)


@transaction.atomic
def create_budget(
    *, principal: Principal, scope: str, period: str, limit_usd: Decimal, is_hard: bool = True, **target: Any
) -> Budget:
    """A new budget. `target` is the `agent`, `token` or `session` (a row of the workspace) that the scope names.

    Raises Forbidden, and BadRequest when the scope and what is given beside it do not belong together.
    """
    principal.require("admin")
    given = {name: row for name, row in target.items() if row is not None}
    for name in _NAMED:
        if name == scope and name not in given:
            raise BadRequest(f"A budget of the scope '{scope}' needs the {name} that it is for.", param=name)
        if name != scope and name in given:
            raise BadRequest(f"A budget of the scope '{scope}' takes no {name}.", param=name)
    LIMITS.changing(principal.workspace_id)
    budget = Budget.objects.create(
        workspace_id=principal.workspace_id, scope=scope, period=period, limit_usd=limit_usd, is_hard=is_hard, **given
    )
    _record(budget, "budget.created", principal)
    return budget


@transaction.atomic
def change_budget(
    *, budget: Budget, principal: Principal, limit_usd: Decimal | None = None, is_hard: bool | None = None
) -> Budget:
    """Another limit, or hard instead of soft. In force at once here, within a second everywhere."""
    principal.require("admin")
    LIMITS.changing(budget.workspace_id)
    before = str(budget.limit_usd)
    if limit_usd is not None:
        budget.limit_usd = limit_usd
    if is_hard is not None:
        budget.is_hard = is_hard
    budget.save(update_fields=["limit_usd", "is_hard"])
    _record(budget, "budget.changed", principal, limit_usd_before=before)
    return budget


@transaction.atomic
def delete_budget(*, budget: Budget, principal: Principal) -> None:
    principal.require("admin")
    LIMITS.changing(budget.workspace_id)
    _record(budget, "budget.deleted", principal)
    budget.delete()


def _record(budget: Budget, event: str, principal: Principal, **more: str) -> None:
    details = {
        "budget": budget.id,
        "scope": budget.scope,
        "target": budget.target_id,
        "period": budget.period,
        "limit_usd": str(budget.limit_usd),
        "hard": budget.is_hard,
        **more,
    }
    audit.append(workspace_id=budget.workspace_id, actor=principal.username, event=event, details=details)

"""*Always allow*: grants that turn a question into a yes, for one agent and action, within bounds, for a while.

A bound says what one argument may be: `{"equals": v}`, `{"one_of": [..]}`, `{"min": n, "max": n}` (one of them is
enough) or `{"any": true}`. An argument without a bound is not covered, so a grant never allows more than it names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from agents.gate import Action, Decision
from agents.models import Agent
from atom.ground import audit
from atom.ground.errors import BadRequest, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.snapshots import Snapshots
from governance.digest import digest
from governance.matrix import Ruling
from governance.models import Approval, Grant
from governance.policies.facts import normal_action

LONGEST = timedelta(days=90)
MOST_BOUNDS = 50
_KINDS = ({"equals"}, {"one_of"}, {"min"}, {"max"}, {"min", "max"}, {"any"})


@dataclass(frozen=True, slots=True)
class Allowed:
    """A grant as the gate asks it."""

    id: UUID
    agent_id: UUID
    action: str
    bounds: Mapping[str, Mapping[str, Any]]
    expires_at: datetime

    def covers(self, action: Action, now: datetime) -> bool:
        return (
            self.expires_at > now
            and self.agent_id == action.agent_id
            and self.action == normal_action(action.name)
            and action.arguments.keys() <= self.bounds.keys()
            and all(is_within(value, self.bounds[name]) for name, value in action.arguments.items())
        )


def _load(workspace_id: UUID) -> tuple[Allowed, ...]:
    rows = Grant.objects.filter(workspace_id=workspace_id, revoked_at=None, expires_at__gt=timezone.now())
    return tuple(Allowed(row.id, row.agent_id, row.action, row.bounds, row.expires_at) for row in rows)


GRANTS = Snapshots("grants", _load)


def is_within(value: Any, bound: Mapping[str, Any]) -> bool:
    """May an argument be `value`?"""
    if "any" in bound:
        return True
    if "equals" in bound:
        return _is_same(value, bound["equals"])
    if "one_of" in bound:
        return any(_is_same(value, one) for one in bound["one_of"])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(bound.get("min", value) <= value <= bound.get("max", value))


def _is_same(one: Any, other: Any) -> bool:
    # In Python True equals 1, in JSON it does not.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def applied(ruling: Ruling, action: Action) -> Ruling:
    """The ruling, or a yes when it asks one person and a grant covers the action."""
    if ruling.decision != Decision.ASK or ruling.quorum > 1 or ruling.four_eyes:
        return ruling
    now = timezone.now()
    found = next((one for one in GRANTS.get(action.workspace_id) if one.covers(action, now)), None)
    if found is None:
        return ruling
    Grant.objects.filter(pk=found.id).update(uses=F("uses") + 1, last_used_at=now)
    reason = f"Allowed until {found.expires_at:%Y-%m-%d %H:%M} UTC by a standing grant for exactly this."
    return replace(ruling, decision=Decision.ALLOW, rule=f"grant:{found.id}", reason=reason)


def grants_of(principal: Principal) -> QuerySet[Grant]:
    return Grant.objects.filter(workspace_id=principal.workspace_id).select_related("agent", "granted_by")


def get_grant(principal: Principal, grant_id: UUID) -> Grant:
    found = grants_of(principal).filter(pk=grant_id).first()
    if found is None:
        raise NotFound("There is no such grant.")
    return found


@transaction.atomic
def grant(
    *,
    principal: Principal,
    agent: Agent,
    action: str,
    bounds: dict[str, Any],
    expires_at: datetime,
    note: str = "",
    approval: Approval | None = None,
) -> Grant:
    """Allow it from now on, 90 days at most. Raises Forbidden, BadRequest."""
    principal.require(Scope.APPROVE)
    now = timezone.now()
    if not now < expires_at <= now + LONGEST:
        raise BadRequest(f"expires_at must lie in the future, {LONGEST.days} days at most.", param="expires_at")
    _check_bounds(bounds)
    GRANTS.changing(principal.workspace_id)
    made = Grant.objects.create(
        workspace_id=principal.workspace_id,
        agent=agent,
        action=normal_action(action),
        bounds=bounds,
        expires_at=expires_at,
        note=note,
        approval=approval,
        granted_by_id=principal.user_id,
    )
    _record(made, "grant.created", principal)
    return made


@transaction.atomic
def revoke(*, grant: Grant, principal: Principal) -> Grant:
    """Ask people again from now on, in every process within a second."""
    principal.require(Scope.APPROVE)
    GRANTS.changing(grant.workspace_id)
    if Grant.objects.filter(pk=grant.pk, revoked_at=None).update(revoked_at=timezone.now()):
        _record(grant, "grant.revoked", principal)
    grant.refresh_from_db()
    return grant


def exactly(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds that allow these arguments and no others."""
    return {name: {"equals": value} for name, value in arguments.items()}


def _check_bounds(bounds: Mapping[str, Any]) -> None:
    if len(bounds) > MOST_BOUNDS:
        raise BadRequest(f"A grant has {MOST_BOUNDS} bounds at most.", param="bounds")
    for name, bound in bounds.items():
        if not isinstance(bound, dict) or set(bound) not in _KINDS:
            raise BadRequest(f"The bound of '{name}' is one of equals, one_of, min, max, any.", param="bounds")
        numbers = [bound[word] for word in ("min", "max") if word in bound]
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
            raise BadRequest(f"min and max of '{name}' are numbers.", param="bounds")
        if "one_of" in bound and not isinstance(bound["one_of"], list):
            raise BadRequest(f"one_of of '{name}' is a list.", param="bounds")


def _record(grant: Grant, event: str, principal: Principal) -> None:
    details = {
        "grant": grant.pk,
        "agent": grant.agent.slug,
        "action": grant.action,
        "bounds_digest": digest(grant.bounds),
        "expires_at": grant.expires_at,
        "approval": grant.approval_id,
    }
    audit.append(workspace_id=grant.workspace_id, actor=principal.username, event=event, details=details)

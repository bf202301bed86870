"""Reads of policies, for somebody; a foreign one is NotFound."""

from uuid import UUID

from django.db.models import QuerySet

from atom.ground.errors import Forbidden, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Policy, PolicyInForce, PolicyReplay, PolicyVersion

# Whoever decides must know the rules; others see what a rule said in the verdict.
MAY_READ = frozenset({Scope.APPROVE, Scope.ADMIN})


def policies_of(principal: Principal) -> QuerySet[Policy]:
    if not MAY_READ & principal.scopes:
        raise Forbidden("This needs the scope 'approve' or 'admin'.")
    return Policy.objects.filter(workspace_id=principal.workspace_id)


def get_policy(principal: Principal, policy_id: UUID) -> Policy:
    found = policies_of(principal).filter(pk=policy_id).first()
    if found is None:
        raise NotFound("There is no such policy.")
    return found


def in_force(workspace_id: UUID) -> PolicyInForce:
    """What is in force; an unsaved empty row where nothing ever was."""
    rows = PolicyInForce.objects.select_related("active__policy", "shadow__policy")
    return rows.filter(pk=workspace_id).first() or PolicyInForce(workspace_id=workspace_id)


def latest_replay(policy: Policy, version: PolicyVersion | None = None) -> PolicyReplay | None:
    rows = PolicyReplay.objects.filter(version__policy=policy).select_related("version__policy")
    return (rows.filter(version=version) if version else rows).first()


def status_of(policy: Policy) -> str:
    """active, shadow, or draft."""
    row = in_force(policy.workspace_id)
    if row.active is not None and row.active.policy_id == policy.pk:
        return "active"
    return "shadow" if row.shadow is not None and row.shadow.policy_id == policy.pk else "draft"

"""Saving policies, putting them into force, taking them back, and trying them on what happened."""

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from agents.models import Agent
from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Policy, PolicyInForce, PolicyReplay, PolicyVersion, ReplayStatus
from governance.policies.active import POLICIES
from governance.policies.reading import check_policy
from governance.policies.source import text_of
from governance.tasks import replay_policy
from governance.telling import AWAY

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[\w .-]{1,40}")
REPLAY_DAYS, MOST_REPLAY_DAYS = 30, 366


def slugs_of(workspace_id: UUID) -> Collection[str]:
    """The names that rules of this workspace may use."""
    return set(Agent.objects.filter(workspace_id=workspace_id).values_list("slug", flat=True))


def _locked(workspace_id: UUID) -> PolicyInForce:
    PolicyInForce.objects.get_or_create(workspace_id=workspace_id)
    return PolicyInForce.objects.select_for_update(of=("self",)).select_related("active", "shadow").get(pk=workspace_id)


def _record(principal: Principal, event: str, **details: Any) -> None:
    audit.append(workspace_id=principal.workspace_id, actor=principal.username, event=event, details=details)


@transaction.atomic
def save_policy(*, principal: Principal, name: str, document: str | dict[str, Any]) -> PolicyVersion:
    """A new policy, or a new version of the one with this name. It is not in force yet.

    Raises Forbidden, BadRequest for the name, or PolicyRefused with every mistake and its place.
    """
    principal.require(Scope.ADMIN)
    if not _NAME.fullmatch(name) or name != name.strip():
        raise BadRequest("A name has 1 to 40 letters, digits, spaces, dots, dashes.", param="name")
    text = text_of(document)
    policy = check_policy(text, slugs=slugs_of(principal.workspace_id))
    _locked(principal.workspace_id)
    row, _ = Policy.objects.get_or_create(workspace_id=principal.workspace_id, name=name)
    last = row.versions.order_by("-number").first()
    version = PolicyVersion.objects.create(
        policy=row,
        number=last.number + 1 if last else 1,
        source=text,
        language=policy.document.language,
        created_by_id=principal.user_id,
    )
    _record(principal, "policy.saved", policy=row.id, version=str(version), language=version.language)
    return version


@transaction.atomic
def activate(*, policy: Policy, principal: Principal, number: int | None = None) -> PolicyVersion:
    """Put a version (the latest) into force in place of whatever was; its examples must hold today.

    Raises Forbidden, NotFound without such a version, or PolicyRefused.
    """
    principal.require(Scope.ADMIN)
    return _put_into_force(principal, get_version(policy, number), "policy.activated")


@transaction.atomic
def roll_back(*, policy: Policy, principal: Principal) -> PolicyVersion:
    """Back to the version before the one in force that was in force itself; Conflict when there is none."""
    principal.require(Scope.ADMIN)
    active = _locked(principal.workspace_id).active
    if active is None or active.policy_id != policy.pk:
        raise Conflict(f"{policy.name} is not in force, so there is nothing to roll back.")
    before = policy.versions.filter(number__lt=active.number).exclude(activated_at=None).order_by("-number").first()
    if before is None:
        raise Conflict(f"No version of {policy.name} before {active.number} was ever in force.")
    return _put_into_force(principal, before, "policy.rolled_back")


def _put_into_force(principal: Principal, version: PolicyVersion, event: str) -> PolicyVersion:
    check_policy(version.source, slugs=slugs_of(principal.workspace_id))
    POLICIES.changing(principal.workspace_id)
    in_force = _locked(principal.workspace_id)
    before = in_force.active
    in_force.active = version
    if in_force.shadow == version:
        in_force.shadow = None
    in_force.save()
    version.activated_at = timezone.now()
    version.save(update_fields=["activated_at"])
    _record(principal, event, version=str(version), before=str(before) if before else None)
    return version


@transaction.atomic
def deactivate(*, policy: Policy, principal: Principal) -> None:
    """Take the policy out of force: the matrix alone decides. Conflict when it is not in force."""
    principal.require(Scope.ADMIN)
    POLICIES.changing(principal.workspace_id)
    in_force = _locked(principal.workspace_id)
    if in_force.active is None or in_force.active.policy_id != policy.pk:
        raise Conflict(f"{policy.name} is not in force.")
    _record(principal, "policy.deactivated", version=str(in_force.active))
    in_force.active = None
    in_force.save()


@transaction.atomic
def shadow(*, policy: Policy, principal: Principal, on: bool, number: int | None = None) -> PolicyVersion | None:
    """Let a version (the latest) judge beside the policy in force, without effect; or no more."""
    principal.require(Scope.ADMIN)
    version = get_version(policy, number) if on else None
    if version is not None:
        check_policy(version.source, slugs=slugs_of(principal.workspace_id))
    POLICIES.changing(principal.workspace_id)
    in_force = _locked(principal.workspace_id)
    if version is None and (in_force.shadow is None or in_force.shadow.policy_id != policy.pk):
        raise Conflict(f"{policy.name} does not judge in the shadow.")
    if version is not None and in_force.active == version:
        raise Conflict(f"{version} is in force already.")
    _record(principal, "policy.shadowed" if on else "policy.unshadowed", version=str(version or in_force.shadow))
    in_force.shadow = version
    in_force.save()
    return version


def get_version(policy: Policy, number: int | None) -> PolicyVersion:
    """A version of the policy, the latest without a number; NotFound when there is no such version."""
    found = policy.versions.select_related("policy").order_by("-number")
    version = found.first() if number is None else found.filter(number=number).first()
    if version is None:
        raise NotFound(f"{policy.name} has no version {number}.")
    return version


@transaction.atomic
def start_replay(
    *, policy: Policy, principal: Principal, number: int | None = None, days: int = REPLAY_DAYS
) -> PolicyReplay:
    """Try a version (the latest) on the decisions of the last `days`, in a worker. Raises Forbidden, NotFound."""
    principal.require(Scope.ADMIN)
    if not 1 <= days <= MOST_REPLAY_DAYS:
        raise BadRequest(f"days is from 1 to {MOST_REPLAY_DAYS}.", param="days")
    now = timezone.now()
    replay = PolicyReplay.objects.create(
        version=get_version(policy, number), since=now - timedelta(days=days), until=now
    )
    transaction.on_commit(lambda: _queue(replay.pk))
    return replay


def _queue(replay_id: UUID) -> None:
    try:
        replay_policy.apply_async((str(replay_id),), retry=False)
    except AWAY:
        log.warning("replay_not_queued", replay=str(replay_id))
        PolicyReplay.objects.filter(pk=replay_id, status=ReplayStatus.QUEUED).update(
            status=ReplayStatus.FAILED, error="The queue is away; try again."
        )

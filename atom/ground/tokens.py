"""Access tokens: making, recognising, revoking."""

import hashlib
import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from atom.ground import audit
from atom.ground.errors import BadRequest, NotAuthenticated, NotFound
from atom.ground.models import LONGEST_HOLD_S, ROLE_SCOPES, AccessToken, Membership, Scope
from atom.ground.principal import Principal

PREFIX = "sk-atom-"
# A recognised token is remembered this long, so a revocation is in force everywhere within it.
REMEMBER_S = 1.0
REMEMBER_MOST = 10_000

_remembered: dict[str, tuple[float, Principal]] = {}


def digest_of(secret: str) -> str:
    """SHA-256 in hex. A token has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@transaction.atomic
def create_token(
    *,
    membership: Membership,
    name: str,
    by: str,
    scopes: Iterable[str] | None = None,
    models: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    approval_hold_seconds: int | None = None,
) -> tuple[AccessToken, str]:
    """A new token of this member and its secret, which nobody can read again.

    Without `scopes`: all that the member's role may. A scope beyond the role is a BadRequest. `models` are the only
    ones that it may use, as `provider/model`; without them it may use all. `approval_hold_seconds`: how long its
    requests wait for an approval, LONGEST_HOLD_S at most; without it as long as the installation says.
    """
    allowed = ROLE_SCOPES[membership.role]
    wanted = allowed if scopes is None else frozenset(scopes)
    if unknown := wanted - set(Scope.values):
        raise BadRequest(f"Unknown scope: {', '.join(sorted(unknown))}.", param="scopes")
    if beyond := wanted - allowed:
        raise BadRequest(f"The role {membership.role} does not have: {', '.join(sorted(beyond))}.", param="scopes")
    if approval_hold_seconds is not None and not 0 <= approval_hold_seconds <= LONGEST_HOLD_S:
        raise BadRequest(f"approval_hold_seconds is from 0 to {LONGEST_HOLD_S}.", param="approval_hold_seconds")
    secret = PREFIX + secrets.token_hex(32)
    token = AccessToken.objects.create(
        workspace_id=membership.workspace_id,
        user_id=membership.user_id,
        name=name,
        prefix=secret[:12],
        digest=digest_of(secret),
        scopes=sorted(wanted),
        models=None if models is None else sorted(set(models)),
        expires_at=expires_at,
        approval_hold_seconds=approval_hold_seconds,
    )
    audit.append(
        workspace_id=membership.workspace_id,
        actor=by,
        event="token.created",
        details={
            "token": token.id,
            "name": name,
            "scopes": token.scopes,
            "models": token.models,
            "approval_hold_seconds": approval_hold_seconds,
            "member": membership.user_id,
        },
    )
    return token, secret


@transaction.atomic
def revoke_token(*, token: AccessToken, by: str) -> None:
    """Take the token back; raise NotFound when it was already."""
    if not AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        raise NotFound("This token is already revoked.")
    audit.append(workspace_id=token.workspace_id, actor=by, event="token.revoked", details={"token": token.id})
    forget(token.digest)


def forget(digest: str) -> None:
    """Drop what this process remembers of a token: at once here, within REMEMBER_S elsewhere."""
    _remembered.pop(digest, None)


def recalled(secret: str) -> Principal | None:
    """The principal of a token seen within the last second, without a query; else None."""
    found = _remembered.get(digest_of(secret))
    return found[1] if found and found[0] > time.monotonic() else None


def authenticate(secret: str) -> Principal:
    """The principal that a token stands for, or NotAuthenticated."""
    if not secret.startswith(PREFIX):
        raise NotAuthenticated
    digest = digest_of(secret)
    token = AccessToken.objects.select_related("user").filter(digest=digest).first()
    principal = _principal_of(token)
    if len(_remembered) >= REMEMBER_MOST:
        _remembered.clear()
    _remembered[digest] = (time.monotonic() + REMEMBER_S, principal)
    return principal


def principal_of_token(token_id: UUID) -> Principal:
    """Who asked with this token, for work that waited; NotAuthenticated when it is not usable any more."""
    return _principal_of(AccessToken.objects.select_related("user").filter(pk=token_id).first())


def _principal_of(token: AccessToken | None) -> Principal:
    if token is None or not token.is_usable or not token.user.is_active:
        raise NotAuthenticated
    membership = Membership.objects.filter(workspace_id=token.workspace_id, user_id=token.user_id).first()
    if membership is None:
        raise NotAuthenticated
    return Principal(
        user_id=token.user_id,
        username=token.user.username,
        workspace_id=token.workspace_id,
        role=membership.role,
        # Somebody whose role shrank keeps no more than the role has now.
        scopes=frozenset(token.scopes) & ROLE_SCOPES[membership.role],
        token_id=token.id,
        models=None if token.models is None else frozenset(token.models),
        approval_hold_s=token.approval_hold_seconds,
    )


def principal_of_user(user_id: UUID) -> Principal:
    """The principal of somebody signed in by cookie, in their first workspace; NotAuthenticated without one."""
    membership = (
        Membership.objects.select_related("user")
        .filter(user_id=user_id, user__is_active=True)
        .order_by("created_at")
        .first()
    )
    if membership is None:
        raise NotAuthenticated
    return Principal(
        user_id=membership.user_id,
        username=membership.user.username,
        workspace_id=membership.workspace_id,
        role=membership.role,
        scopes=ROLE_SCOPES[membership.role],
    )

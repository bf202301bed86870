"""Reads of people, tokens and the audit trail, always for somebody."""

from uuid import UUID

from django.db.models import Q, QuerySet

from atom.ground.errors import Forbidden, NotFound
from atom.ground.models import ROLE_SCOPES, AccessToken, AuditEntry, Membership, Scope, User, Workspace
from atom.ground.principal import Principal


def require_installation_admin(principal: Principal) -> None:
    """Raise Forbidden for everybody but the person who runs the installation."""
    if not User.objects.filter(pk=principal.user_id, is_superuser=True, is_active=True).exists():
        raise Forbidden("Only the installation's admin may do this.")


def members_of(principal: Principal) -> QuerySet[Membership]:
    return Membership.objects.filter(workspace_id=principal.workspace_id).select_related("user")


def get_member(principal: Principal, username: str) -> Membership:
    found = members_of(principal).filter(user__username=username).first()
    if found is None:
        raise NotFound("There is no such member.")
    return found


def tokens_of(principal: Principal) -> QuerySet[AccessToken]:
    """An owner sees the workspace's tokens, anybody else their own."""
    tokens = AccessToken.objects.filter(workspace_id=principal.workspace_id).select_related("user")
    return tokens if "admin" in principal.scopes else tokens.filter(user_id=principal.user_id)


def get_token(principal: Principal, token_id: UUID) -> AccessToken:
    found = tokens_of(principal).filter(pk=token_id).first()
    if found is None:
        raise NotFound("There is no such token.")
    return found


def scopes_to_give(principal: Principal, membership: Membership) -> frozenset[str]:
    """What a token that this principal makes may hold: with `admin` all that the member's role has, else one's own."""
    of_role = ROLE_SCOPES[membership.role]
    return of_role if Scope.ADMIN in principal.scopes else of_role & principal.scopes


def audit_of(principal: Principal) -> QuerySet[AuditEntry]:
    """The workspace's trail; Forbidden without the scope `admin`."""
    principal.require(Scope.ADMIN)
    return AuditEntry.objects.filter(workspace_id=principal.workspace_id)


def workspace_of(principal: Principal) -> Workspace:
    return Workspace.objects.get(pk=principal.workspace_id)


def member_for_token(principal: Principal, member_id: UUID | None) -> Membership:
    """Whose token may be made: one's own, or (for an owner) that of the named member or user."""
    members = members_of(principal)
    if member_id is None:
        return members.get(user_id=principal.user_id)
    principal.require("admin")
    found = members.filter(Q(pk=member_id) | Q(user_id=member_id)).first()
    if found is None:
        raise NotFound("There is no such member.")
    return found

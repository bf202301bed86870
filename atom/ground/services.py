"""Workspaces and their members."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict
from atom.ground.models import Membership, Role, User, Workspace
from atom.ground.tokens import create_token


@transaction.atomic
def create_workspace(*, name: str, owner: User, by: str) -> Workspace:
    """A new tenant with its owner."""
    workspace = Workspace.objects.create(name=name)
    Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
    audit.append(
        workspace_id=workspace.id,
        actor=by,
        event="workspace.created",
        details={"name": name, "owner": owner.id},
    )
    return workspace


@transaction.atomic
def open_workspace(*, name: str, username: str, password: str, by: str) -> tuple[Workspace, str]:
    """A new tenant with a new person as its owner, and a token of theirs."""
    workspace = create_workspace(name=name, owner=create_user(username=username, password=password), by=by)
    _, secret = create_token(membership=workspace.memberships.get(), name="first token", by=by)
    return workspace, secret


@transaction.atomic
def create_user(*, username: str, password: str) -> User:
    """Somebody who can sign in to the admin. A taken name is a Conflict, a weak password a BadRequest."""
    if User.objects.filter(username__iexact=username).exists():
        raise Conflict("This username is taken.", param="username")
    try:
        validate_password(password)
    except ValidationError as exc:
        raise BadRequest(" ".join(exc.messages), param="password") from exc
    return User.objects.create_user(username=username, password=password, is_staff=True)


@transaction.atomic
def add_member(*, workspace: Workspace, username: str, password: str, role: str, by: str) -> Membership:
    """A new person in a workspace."""
    user = create_user(username=username, password=password)
    membership = Membership.objects.create(workspace=workspace, user=user, role=role)
    audit.append(workspace_id=workspace.id, actor=by, event="member.added", details={"member": user.id, "role": role})
    return membership

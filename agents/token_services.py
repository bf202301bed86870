"""Writes of access tokens, which may be bound to an agent."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents import queries
from agents.bindings import agent_bound_to
from agents.models import TokenBinding
from atom.ground import audit
from atom.ground.errors import BadRequest, Forbidden
from atom.ground.models import ROLE_SCOPES, AccessToken
from atom.ground.principal import Principal
from atom.ground.queries import member_for_token, scopes_to_give
from atom.ground.tokens import create_token
from llm.prices import MAX_MODEL_CHARS
from llm.registry import PROVIDERS


@transaction.atomic
def issue_token(
    *,
    principal: Principal,
    name: str,
    member: UUID | None = None,
    agent: str | None = None,
    scopes: Iterable[str] | None = None,
    models: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    approval_hold_seconds: int | None = None,
) -> tuple[AccessToken, str]:
    """A new token and its secret: one's own, or (for an owner) that of `member`.

    `agent` is the slug of the only agent that it acts as, `models` are the only models that it may use. Nobody gives
    more than they have: Forbidden. A foreign member or agent is NotFound, an unknown provider a BadRequest.
    """
    if principal.models is not None or agent_bound_to(principal) is not None:
        # Whoever holds it would else make one without its limits.
        raise Forbidden("A token that is limited to models or to an agent makes no other tokens.")
    membership = member_for_token(principal, member)
    most = scopes_to_give(principal, membership)
    wanted = most if scopes is None else frozenset(scopes)
    if wanted & ROLE_SCOPES[membership.role] - most:
        raise Forbidden("A token gives no more than it may itself.")
    acting = queries.get_agent(principal, agent) if agent else None
    token, secret = create_token(
        membership=membership,
        name=name,
        by=principal.username,
        scopes=wanted,
        models=checked_models(models),
        expires_at=expires_at,
        approval_hold_seconds=approval_hold_seconds,
    )
    if acting is not None:
        TokenBinding.objects.create(token=token, agent=acting)
        audit.append(
            workspace_id=token.workspace_id,
            actor=principal.username,
            event="token.bound",
            details={"token": token.id, "agent": acting.id, "slug": acting.slug},
        )
    return token, secret


def checked_models(models: Iterable[str] | None) -> list[str] | None:
    """The models that a token is limited to; BadRequest for one that is not `provider/model` of a known provider."""
    if models is None:
        return None
    found = list(models)
    for name in found:
        provider, _, model = name.partition("/")
        if provider not in PROVIDERS or not model or len(model) > MAX_MODEL_CHARS:
            raise BadRequest(f"'{name}' is not provider/model of a known provider.", param="models")
    return found

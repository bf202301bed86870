"""Tokens that act as one agent: which agent, and that it is no other."""

from uuid import UUID

from agents.models import Agent, TokenBinding
from atom.ground.errors import AgentNotAllowed
from atom.ground.principal import Principal

# A binding comes with its token and never changes, so what was read once stays true.
REMEMBER_MOST = 10_000
_remembered: dict[UUID, UUID | None] = {}


def is_recalled(principal: Principal) -> bool:
    """Whether `agent_bound_to` answers without a query."""
    return principal.token_id is None or principal.token_id in _remembered


def agent_bound_to(principal: Principal) -> UUID | None:
    """The id of the only agent that this principal's token may act as; None for any. May query."""
    token_id = principal.token_id
    if token_id is None:
        return None
    if token_id not in _remembered:
        found = TokenBinding.objects.filter(token_id=token_id).values_list("agent_id", flat=True).first()
        if len(_remembered) >= REMEMBER_MOST:
            _remembered.clear()
        _remembered[token_id] = found
    return _remembered[token_id]


def require_agent(principal: Principal, agent: Agent) -> None:
    """Raise AgentNotAllowed when the token is bound to another agent. May query."""
    bound_to = agent_bound_to(principal)
    if bound_to is not None and bound_to != agent.id:
        raise AgentNotAllowed("This token is bound to another agent.")

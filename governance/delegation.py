"""Agents that act for agents: `context.delegation` names the chain, the first one first."""

from dataclasses import dataclass
from typing import Any

from agents.models import Agent, AgentStatus, Maturity
from atom.ground.errors import BadRequest
from governance.known_agents import known_by_slug

DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """As what an agent is judged: the lowest level in its chain. `refusal` says why it may do nothing at all."""

    maturity: Maturity
    rule: str = ""
    refusal: str = ""


def standing_of(agent: Agent, context: dict[str, Any]) -> Standing:
    """The agent's own level, or a lower one of those who delegated to it. BadRequest for a chain that is no list."""
    slugs = context.get("delegation", [])
    if not isinstance(slugs, list) or not all(isinstance(slug, str) for slug in slugs):
        raise BadRequest("delegation is a list of agents' slugs.", param="context.delegation")
    own = Maturity(agent.maturity)
    if not slugs:
        return Standing(own)
    if len(slugs) > DEEPEST:
        return Standing(
            own, "delegation:depth", f"This was delegated {len(slugs)} times; at most {DEEPEST} are allowed."
        )
    chain = known_by_slug(agent.workspace_id, slugs)
    for slug in slugs:
        one = chain.get(slug)
        if one is None:
            return Standing(own, "delegation:unknown", f"The agent {slug}, which delegated this, does not exist.")
        if one.status != AgentStatus.ACTIVE:
            return Standing(own, "delegation:status", f"The agent {slug}, which delegated this, is {one.status}.")
    levels = list(Maturity)
    return Standing(min(own, *(Maturity(one.maturity) for one in chain.values()), key=levels.index))

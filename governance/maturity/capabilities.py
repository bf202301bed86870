"""What an agent may do just now, and why: the answer that the gate would give, action by action."""

from collections.abc import Iterator
from dataclasses import dataclass

from agents.models import Agent
from agents.tools.declared import tools_of
from governance.catalogue import KNOWN
from governance.judging import capability
from governance.oversight import oversight_of


@dataclass(frozen=True, slots=True)
class Capability:
    """One action. `needs` is the lowest level that may do it without asking."""

    action: str
    complexity: int
    decision: str
    reason: str
    rule: str
    needs: str
    is_tool: bool


def capabilities_of(agent: Agent) -> list[Capability]:
    """The catalogue's actions and those of the agent's own tools, simple ones first; arguments may still ask."""
    rules = oversight_of(agent.workspace_id)
    own = own_actions(agent)

    def rows() -> Iterator[Capability]:
        for action in sorted(own.keys() | KNOWN.keys()):
            assessment, ruling = capability(agent, action, rules, own.get(action))
            yield Capability(
                action=action,
                complexity=assessment.complexity,
                decision=ruling.decision,
                reason=ruling.reason,
                rule=ruling.rule,
                needs=ruling.required_maturity,
                is_tool=action in own,
            )

    return sorted(rows(), key=lambda row: (row.complexity, row.action))


def own_actions(agent: Agent) -> dict[str, int | None]:
    """The actions of its own tools; where a person has said how complex a tool is, the most that was said."""
    found: dict[str, int | None] = {}
    for tool in tools_of(agent).values():
        found[tool.action] = max(filter(None, [found.get(tool.action), tool.complexity]), default=None)
    return found

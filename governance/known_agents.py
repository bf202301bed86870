"""Agents as the gate knows them, level and status, from the roster of their workspace: in force within a second."""

from collections.abc import Iterable
from uuid import UUID

from agents.models import Agent
from agents.roster import ROSTER

_FIELDS = ("id", "workspace_id", "slug", "name", "maturity", "status")


def known_agent(workspace_id: UUID, agent_id: UUID) -> Agent | None:
    """The agent with its level and status; anything else of it is read when it is asked for.

    One that was registered a moment ago by another process is looked for in the database.
    """
    row = ROSTER.get(workspace_id).by_id.get(agent_id)
    return _agent(row) if row else Agent.objects.filter(pk=agent_id, workspace_id=workspace_id).first()


def known_by_slug(workspace_id: UUID, slugs: Iterable[str]) -> dict[str, Agent]:
    """Those of the workspace's agents that are called so."""
    rows = ROSTER.get(workspace_id).by_slug
    return {slug: _agent(rows[slug]) for slug in set(slugs) & rows.keys()}


def _agent(row: Agent) -> Agent:
    """One of the caller's own, to do with as it likes."""
    return Agent.from_db(None, _FIELDS, [getattr(row, name) for name in _FIELDS])

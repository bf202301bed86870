"""Agents as the gate knows them, level and status, as a snapshot of their workspace: in force within a second."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver

from agents.models import Agent
from agents.signals import agent_changing
from governance.snapshots import Snapshots

_FIELDS = ("id", "workspace_id", "slug", "name", "maturity", "status")
_Row = tuple[Any, ...]


def _load(workspace_id: UUID) -> Mapping[UUID, _Row]:
    return {row[0]: row for row in Agent.objects.filter(workspace_id=workspace_id).values_list(*_FIELDS)}


AGENTS: Snapshots[Mapping[UUID, _Row]] = Snapshots("agents", _load)


def known_agent(workspace_id: UUID, agent_id: UUID) -> Agent | None:
    """The agent with its level and status; anything else of it is read when it is asked for.

    One that was registered a moment ago by another process is looked for in the database.
    """
    row = AGENTS.get(workspace_id).get(agent_id)
    return _agent(row) if row else Agent.objects.filter(pk=agent_id, workspace_id=workspace_id).first()


def known_by_slug(workspace_id: UUID, slugs: Iterable[str]) -> dict[str, Agent]:
    """Those of the workspace's agents that are called so."""
    wanted = set(slugs)
    rows = [row for row in AGENTS.get(workspace_id).values() if row[2] in wanted]
    return {agent.slug: agent for agent in map(_agent, rows)}


def _agent(row: _Row) -> Agent:
    return Agent.from_db(None, _FIELDS, row)


@receiver(agent_changing)
def on_agent_changing(workspace_id: UUID, **_: Any) -> None:
    AGENTS.changing(workspace_id)


@receiver([pre_save, pre_delete], sender=Agent)
def on_agent_saved(instance: Agent, update_fields: Iterable[str] | None = None, **_: Any) -> None:
    if update_fields is None or not set(update_fields).isdisjoint(_FIELDS):
        AGENTS.changing(instance.workspace_id)

"""Writes of agents and sessions."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from redis.exceptions import RedisError

from agents.models import Agent, AgentStatus, Maturity, Session
from agents.prompts import Prompt
from agents.roster import ROSTER
from agents.runs.live import clear_stopped
from agents.tools.declared import check_tools, keep_secrets
from agents.variants import prompt_version
from atom.ground import audit
from atom.ground.errors import Conflict, Unavailable
from atom.ground.principal import Principal

log = structlog.get_logger(__name__)

# The agent that a token without one acts as: every call is some agent's call.
DIRECT = "direct"
EDITABLE = frozenset({"name", "system_prompt", "models", "tools", "temperature"})


@transaction.atomic
def create_agent(
    *,
    workspace_id: UUID,
    name: str,
    slug: str,
    by: str,
    system_prompt: str = "",
    maturity: str = Maturity.STUDENT,
    models: Sequence[str] = (),
    tools: Sequence[Mapping[str, Any]] = (),
    owner_id: UUID | None = None,
) -> Agent:
    """A new agent. A taken slug is a Conflict, a tool that could not work a BadRequest with its place."""
    check_tools(workspace_id=workspace_id, tools=tools)
    try:
        with transaction.atomic():
            agent = Agent.objects.create(
                workspace_id=workspace_id,
                name=name,
                slug=slug,
                system_prompt=system_prompt,
                maturity=maturity,
                models=list(models),
                owner_id=owner_id,
            )
            if tools:
                agent.tools = keep_secrets(agent, tools)
                agent.save(update_fields=["tools"])
    except IntegrityError as exc:
        raise Conflict(f"There is already an agent with the slug '{slug}'.", param="slug") from exc
    _keep_prompt(agent)
    audit.append(
        workspace_id=workspace_id,
        actor=by,
        event="agent.created",
        details={"agent": agent.id, "slug": slug, "maturity": maturity},
    )
    return agent


@transaction.atomic
def update_agent(*, agent: Agent, by: str, **changes: Any) -> Agent:
    """Change what is EDITABLE; never maturity or confidence, which move by evidence."""
    if "tools" in changes:
        check_tools(workspace_id=agent.workspace_id, tools=changes["tools"])
        changes["tools"] = keep_secrets(agent, changes["tools"])
    for name in EDITABLE & changes.keys():
        setattr(agent, name, changes[name])
    agent.save(update_fields=sorted(EDITABLE & changes.keys()))
    _keep_prompt(agent)
    audit.append(
        workspace_id=agent.workspace_id,
        actor=by,
        event="agent.updated",
        details={"agent": agent.id, "slug": agent.slug, "fields": sorted(EDITABLE & changes.keys())},
    )
    return agent


def _keep_prompt(agent: Agent) -> None:
    """What runs are begun with stays readable by its version when the agent gets another prompt."""
    if agent.system_prompt:
        version = prompt_version(agent.system_prompt)
        Prompt.objects.get_or_create(agent=agent, version=version, defaults={"text": agent.system_prompt})


@transaction.atomic
def set_status(*, agent: Agent, status: str, reason: str, by: str) -> Agent:
    """Pause, resume or retire. A retired agent stays retired."""
    ROSTER.changing(agent.workspace_id)
    changed = Agent.objects.filter(pk=agent.pk).exclude(status=AgentStatus.RETIRED).update(status=status)
    if not changed:
        raise Conflict("This agent is retired.")
    audit.append(
        workspace_id=agent.workspace_id,
        actor=by,
        event=f"agent.{status}",
        details={"agent": agent.id, "slug": agent.slug, "reason": reason},
    )
    agent.status = status
    if status == AgentStatus.ACTIVE:
        transaction.on_commit(lambda: _forget_stop(agent.pk))
    return agent


def _forget_stop(agent_id: UUID) -> None:
    try:
        clear_stopped(agent_id)
    except (RedisError, Unavailable):
        # It falls away by itself within seconds.
        log.warning("stop_not_forgotten", agent=str(agent_id))


def ensure_direct_agent(*, workspace_id: UUID) -> Agent:
    """The workspace's agent `direct`: autonomous, no tools of its own, any model."""
    found = Agent.objects.filter(workspace_id=workspace_id, slug=DIRECT).first()
    if found is not None:
        return found
    try:
        return create_agent(
            workspace_id=workspace_id, name="Direct", slug=DIRECT, maturity=Maturity.AUTONOMOUS, by="atom"
        )
    except Conflict:
        return Agent.objects.get(workspace_id=workspace_id, slug=DIRECT)


def create_session(*, agent: Agent, principal: Principal, title: str = "", model: str = "") -> Session:
    return Session.objects.create(
        workspace_id=agent.workspace_id, agent=agent, user_id=principal.user_id, title=title[:120], model=model
    )

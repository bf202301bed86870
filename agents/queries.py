"""Reads of agents, sessions, messages and runs, always for somebody; a foreign row is NotFound."""

from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from agents.bindings import agent_bound_to, is_recalled, require_agent
from agents.models import Agent, Message, Run, RunEvent, Session
from agents.roster import ROSTER, Roster
from agents.services import DIRECT, ensure_direct_agent
from atom.ground.errors import ModelNotFound, NotFound
from atom.ground.principal import Principal


def agents_of(principal: Principal) -> QuerySet[Agent]:
    return Agent.objects.filter(workspace_id=principal.workspace_id)


def agents_to_act_as(principal: Principal) -> QuerySet[Agent]:
    """All of the workspace, or the one that the token is bound to."""
    bound_to = agent_bound_to(principal)
    return agents_of(principal) if bound_to is None else agents_of(principal).filter(pk=bound_to)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def get_agent(principal: Principal, reference: str | UUID) -> Agent:
    """The agent with this id or slug."""
    found_id = _uuid(str(reference))
    wanted = Q(pk=found_id) if found_id else Q(slug=str(reference))
    found = agents_of(principal).filter(wanted).first()
    if found is None:
        raise NotFound("There is no such agent.")
    return found


def get_acting_agent(principal: Principal, reference: str | UUID) -> Agent:
    """The agent with this id or slug, to act as; AgentNotAllowed when the token is bound to another."""
    agent = get_agent(principal, reference)
    require_agent(principal, agent)
    return agent


def agent_for_model(principal: Principal, model: str) -> Agent:
    """Who acts when a call on `/v1` names `model`: the agent in `agent/<slug>`, else the one that the token is bound
    to, else the workspace's `direct`. Whether the token may act as it, `start_run` asks.
    """
    found = _of_roster(ROSTER.get(principal.workspace_id), principal, model)
    # What another process made a moment ago is in the database only.
    return found or _stored_agent(principal, model)


def _stored_agent(principal: Principal, model: str) -> Agent:
    kind, _, slug = model.partition("/")
    if kind != "agent":
        bound_to = agent_bound_to(principal)
        return get_agent(principal, bound_to) if bound_to else ensure_direct_agent(workspace_id=principal.workspace_id)
    found = agents_of(principal).filter(slug=slug).first()
    if found is None:
        raise ModelNotFound(f"There is no model '{model}'.", param="model")
    return found


def _of_roster(roster: Roster, principal: Principal, model: str) -> Agent | None:
    kind, _, slug = model.partition("/")
    if kind == "agent":
        return roster.by_slug.get(slug)
    bound_to = agent_bound_to(principal)
    return roster.by_slug.get(DIRECT) if bound_to is None else roster.by_id.get(bound_to)


def recalled_agent(principal: Principal, model: str) -> Agent | None:
    """`agent_for_model` from memory; None where the database has to be asked."""
    roster = ROSTER.recalled(principal.workspace_id)
    if roster is None or not is_recalled(principal):
        return None
    return _of_roster(roster, principal, model)


def sessions_of(principal: Principal) -> QuerySet[Session]:
    """With `message_count` and `preview` (the newest message's parts)."""
    newest = Message.objects.filter(session=OuterRef("pk")).order_by("-created_at")
    return (
        Session.objects.filter(workspace_id=principal.workspace_id)
        .select_related("agent")
        .annotate(message_count=Count("messages"), preview=Subquery(newest.values("parts")[:1]))
    )


def get_session(principal: Principal, session_id: UUID) -> Session:
    found = sessions_of(principal).filter(pk=session_id).first()
    if found is None:
        raise NotFound("There is no such session.")
    return found


def messages_of(session: Session) -> QuerySet[Message]:
    return Message.objects.filter(session=session).order_by("created_at")


def runs_of(principal: Principal) -> QuerySet[Run]:
    return Run.objects.filter(workspace_id=principal.workspace_id).select_related("agent")


def get_run(principal: Principal, run_id: UUID) -> Run:
    found = runs_of(principal).filter(pk=run_id).first()
    if found is None:
        raise NotFound("There is no such run.")
    return found


def get_message(principal: Principal, message_id: UUID) -> Message:
    found = (
        Message.objects.select_related("run", "run__agent")
        .filter(workspace_id=principal.workspace_id, pk=message_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such message.")
    return found


def answer_of(run: Run) -> Message | None:
    """The run's last assistant message."""
    return run.messages.filter(role=Message.Role.ASSISTANT).order_by("-created_at").first()


def events_of(run: Run) -> QuerySet[RunEvent]:
    return RunEvent.objects.filter(run=run).order_by("seq")

"""The playground: a page to talk to an agent. Its tokens come over `/ws/chat/`."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from agents import queries
from agents.models import OPEN_STATUSES, Agent, AgentStatus, Session
from agents.services import DIRECT
from agents.threads import thread_of
from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from atom.ground.workspace_admin import principal_of

RECENT = 15
LOCAL_PREFIX = "local/"
# Where a page puts an id that only the browser will know.
PLACEHOLDER_ID = UUID(int=0)


def _session(principal: Principal, given: str) -> Session | None:
    if not given:
        return None
    try:
        return queries.get_session(principal, UUID(given))
    except (ValueError, NotFound) as exc:
        raise Http404 from exc


def _agents(principal: Principal) -> list[Agent]:
    """Those one can talk to; the nameless one behind plain API calls last."""
    agents = queries.agents_of(principal).exclude(status=AgentStatus.RETIRED)
    return sorted(agents, key=lambda agent: (agent.slug == DIRECT, agent.name.lower()))


def _chosen(agents: list[Agent], slug: str) -> str:
    """The asked-for agent, else the helper, else the first that is awake."""
    awake = [agent.slug for agent in agents if agent.status == AgentStatus.ACTIVE]
    for wanted in (slug, "helper"):
        if wanted in awake:
            return wanted
    return awake[0] if awake else ""


def _is_demo(agent: Agent) -> bool:
    return bool(agent.models) and str(agent.models[0]).startswith(LOCAL_PREFIX)


@require_GET
def playground(request: HttpRequest) -> HttpResponse:
    """`?session=` goes on with a conversation, `?agent=` begins one with that agent."""
    principal = principal_of(request)
    session = _session(principal, request.GET.get("session", ""))
    agents = _agents(principal)
    slug = session.agent.slug if session else request.GET.get("agent", "")
    own = queries.sessions_of(principal).filter(user_id=principal.user_id)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Playground",
        "agents": [(agent, _is_demo(agent)) for agent in agents],
        "chosen": _chosen(agents, slug),
        "session": session,
        "recent": own.order_by("-updated_at")[:RECENT],
        "thread": [],
        "open_run": None,
        "placeholder_id": PLACEHOLDER_ID,
        "may_add_agents": "admin" in principal.scopes,
    }
    if session is not None:
        runs = list(session.runs.order_by("created_at"))
        open_run = next((run for run in runs if run.status in OPEN_STATUSES), None)
        # The open run's answer is replayed from its stream.
        closed = [
            turn
            for turn in thread_of(queries.messages_of(session), runs)
            if turn.message.role == "user" or open_run is None or turn.message.run_id != open_run.id
        ]
        context |= {"thread": closed, "open_run": open_run}
    return TemplateResponse(request, "atom/playground.html", context)

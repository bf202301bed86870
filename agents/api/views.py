"""`/api/agents/`, `/api/sessions/`, `/api/runs/`: everything but chat and streams."""

from uuid import UUID

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries, services
from agents.api.serializers import (
    AgentChange,
    AgentOut,
    MessageOut,
    NewAgent,
    NewSession,
    OneRunOut,
    Reason,
    RunOut,
    SessionOut,
)
from agents.models import Agent, AgentStatus, Message, Run, Session
from agents.runs.closing import cancel_run
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.paging import Pages
from atom.ground.api.schema import AGENT
from atom.ground.models import Scope


class Agents(ListAPIView[Agent]):
    serializer_class = AgentOut

    def get_queryset(self) -> QuerySet[Agent]:
        return queries.agents_of(who(self.request))

    @extend_schema(request=NewAgent, responses={201: AgentOut})
    def post(self, request: Request) -> Response:
        who(request).require(Scope.ADMIN)
        data = NewAgent(data=request.data)
        data.is_valid(raise_exception=True)
        agent = services.create_agent(
            workspace_id=who(request).workspace_id,
            owner_id=who(request).user_id,
            by=who(request).username,
            **data.validated_data,
        )
        return Response(AgentOut(agent).data, status=201)


class OneAgent(APIView):
    @extend_schema(responses=AgentOut)
    def get(self, request: Request, agent: str) -> Response:
        return Response(AgentOut(queries.get_agent(who(request), agent)).data)

    @extend_schema(request=AgentChange, responses=AgentOut)
    def patch(self, request: Request, agent: str) -> Response:
        who(request).require(Scope.ADMIN)
        found = queries.get_agent(who(request), agent)
        data = AgentChange(data=request.data)
        data.is_valid(raise_exception=True)
        changed = services.update_agent(agent=found, by=who(request).username, **data.validated_data)
        return Response(AgentOut(changed).data)


class AgentStatusChange(APIView):
    """`pause/`, `resume/`, `retire/`."""

    scope = Scope.ADMIN
    status = AgentStatus.PAUSED

    @extend_schema(request=Reason, responses=AgentOut)
    def post(self, request: Request, agent: str) -> Response:
        found = queries.get_agent(who(request), agent)
        data = Reason(data=request.data)
        data.is_valid(raise_exception=True)
        changed = services.set_status(agent=found, status=self.status, by=who(request).username, **data.validated_data)
        return Response(AgentOut(changed).data)


class SessionPages(Pages):
    ordering = "-updated_at"


@extend_schema_view(get=extend_schema(parameters=[AGENT]))
class Sessions(ListAPIView[Session]):
    scope = Scope.CHAT
    serializer_class = SessionOut
    pagination_class = SessionPages

    def get_queryset(self) -> QuerySet[Session]:
        sessions = queries.sessions_of(who(self.request))
        slug = self.request.query_params.get("agent")
        return sessions.filter(agent=queries.get_agent(who(self.request), slug)) if slug else sessions

    @extend_schema(request=NewSession, responses={201: SessionOut})
    def post(self, request: Request) -> Response:
        data = NewSession(data=request.data)
        data.is_valid(raise_exception=True)
        agent = queries.get_agent(who(request), data.validated_data["agent"])
        session = services.create_session(agent=agent, principal=who(request), title=data.validated_data["title"])
        return Response(SessionOut(session).data, status=201)


class OneSession(APIView):
    scope = Scope.CHAT

    @extend_schema(responses=SessionOut)
    def get(self, request: Request, session_id: UUID) -> Response:
        return Response(SessionOut(queries.get_session(who(request), session_id)).data)


class MessagePages(Pages):
    # A conversation is read from its beginning.
    ordering = "created_at"


class SessionMessages(ListAPIView[Message]):
    scope = Scope.CHAT
    serializer_class = MessageOut
    pagination_class = MessagePages

    def get_queryset(self) -> QuerySet[Message]:
        return queries.messages_of(queries.get_session(who(self.request), self.kwargs["session_id"]))


@extend_schema_view(get=extend_schema(parameters=[AGENT]))
class Runs(ListAPIView[Run]):
    scope = Scope.CHAT
    serializer_class = RunOut

    def get_queryset(self) -> QuerySet[Run]:
        runs = queries.runs_of(who(self.request))
        slug = self.request.query_params.get("agent")
        return runs.filter(agent=queries.get_agent(who(self.request), slug)) if slug else runs


class OneRun(APIView):
    scope = Scope.CHAT

    @extend_schema(responses=OneRunOut)
    def get(self, request: Request, run_id: UUID) -> Response:
        return Response(OneRunOut(queries.get_run(who(request), run_id)).data)


class CancelRun(APIView):
    """Ask the run's process to stop it; the run's events tell when it has."""

    scope = Scope.CHAT
    is_one_transaction = False

    @extend_schema(request=None, responses={202: OneRunOut})
    def post(self, request: Request, run_id: UUID) -> Response:
        run = queries.get_run(who(request), run_id)
        async_to_sync(cancel_run)(run)
        return Response(OneRunOut(queries.get_run(who(request), run_id)).data, status=202)

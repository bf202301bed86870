"""`/api/supervision/`, and stepping into a run: `/api/runs/{id}/pause|resume|correct|terminate/`."""

from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from agents.api.serializers import RunOut, check_text
from agents.models import Run
from atom.ground.api.authentication import who
from atom.ground.api.doors import validated
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.paging import Pages
from atom.ground.models import Scope
from governance import presence
from governance.models import Intervention
from governance.supervision import queries, services

LONGEST_REASON = 1_000


class NewCorrection(serializers.Serializer[Any]):
    text = serializers.CharField(trim_whitespace=False, allow_blank=True)

    def validate_text(self, text: str) -> str:
        return check_text(text, "text")


class Termination(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=LONGEST_REASON)


class LiveRunOut(RunOut):
    """A run as an operator needs it: also how far its agent is trusted, what it was asked, and by whom."""

    agent_name = serializers.CharField(source="agent.name")
    maturity = serializers.CharField(source="agent.maturity")
    question = serializers.SerializerMethodField()
    user = serializers.CharField(source="user.username", default=None, allow_null=True)

    class Meta(RunOut.Meta):
        fields = [*RunOut.Meta.fields, "is_paused", "agent_name", "maturity", "question", "user"]

    def get_question(self, run: Run) -> str:
        return queries.question_of(run)[:300]


class SupervisionOut(serializers.Serializer[Any]):
    """The runs of just now, and who is there to see them."""

    runs = LiveRunOut(many=True)
    present = serializers.ListField(child=serializers.CharField())
    is_watched = serializers.BooleanField()


class InterventionOut(serializers.ModelSerializer[Intervention]):
    operator = serializers.CharField(source="operator.username", default=None, allow_null=True)

    class Meta:
        model = Intervention
        fields = ["id", "run_id", "kind", "text", "operator", "at"]


class Supervision(APIView):
    """What goes on just now, and who is there to see it."""

    scope = Scope.SUPERVISE

    @extend_schema(responses=SupervisionOut)
    def get(self, request: Request) -> Response:
        principal = who(request)
        rows = queries.live_runs(principal, queries.Watch())[: queries.SHOWN_MOST]
        return Response(
            {
                "runs": LiveRunOut(rows, many=True).data,
                "present": queries.operators_present(principal),
                "is_watched": presence.is_watched(principal.workspace_id),
            }
        )


class InterventionPages(Pages):
    ordering = "at"


class Interventions(ListAPIView[Intervention]):
    """What people did to a run."""

    scope = Scope.SUPERVISE
    serializer_class = InterventionOut
    pagination_class = InterventionPages

    def get_queryset(self) -> QuerySet[Intervention]:
        return queries.interventions_of(agents.get_run(who(self.request), self.kwargs["run_id"]))


class _Step(APIView):
    """One step into a run; the answer is the run as it is then."""

    scope = Scope.SUPERVISE

    @extend_schema(request=None, responses=RunOut)
    def post(self, request: Request, run_id: UUID) -> Response:
        self.step(request, agents.get_run(who(request), run_id))
        return Response(RunOut(agents.get_run(who(request), run_id)).data, status=self.answered_with)

    answered_with = 200

    def step(self, request: Request, run: Run) -> None:
        raise NotImplementedError


class Pause(_Step):
    def step(self, request: Request, run: Run) -> None:
        services.pause(run=run, principal=who(request))


class Resume(_Step):
    def step(self, request: Request, run: Run) -> None:
        services.resume(run=run, principal=who(request))


@extend_schema_view(post=extend_schema(request=NewCorrection, responses={202: RunOut}))
class Correct(_Step):
    """The run's events tell when the model hears it."""

    answered_with = 202

    def step(self, request: Request, run: Run) -> None:
        services.correct(run=run, principal=who(request), **validated(NewCorrection(data=request.data)))


@extend_schema_view(post=extend_schema(request=Termination, responses={202: RunOut}))
class Terminate(_Step):
    """The run's events tell when it has ended."""

    answered_with = 202

    def step(self, request: Request, run: Run) -> None:
        wanted = validated(Termination(data=request.data))
        async_to_sync(services.terminate)(run=run, principal=who(request), **wanted)

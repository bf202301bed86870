"""`/api/experiments/`: drafts, running, results, the winner."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agent_queries
from agents.api.serializers import AgentOut, Reason
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.schema import shape_of
from atom.ground.models import Scope
from feedback.api.views import checked
from feedback.experiments import services
from feedback.experiments.advice import Advice as Advised
from feedback.experiments.advice import advise
from feedback.experiments.results import LEAST_PER_ARM, Results, results_of
from feedback.models import Experiment, ExperimentStatus, Metric, Unit, Variant
from feedback.queries.experiments import experiments_of, get_experiment


class VariantIn(serializers.Serializer[Any]):
    """What is left out stays as the agent has it."""

    name = serializers.CharField(max_length=60)
    weight = serializers.IntegerField(min_value=1, max_value=100, default=1)
    system_prompt = serializers.CharField(max_length=100_000, allow_blank=True, allow_null=True, default=None)
    models = serializers.ListField(
        child=serializers.CharField(max_length=200), allow_null=True, allow_empty=False, max_length=20, default=None
    )
    temperature = serializers.FloatField(min_value=0, max_value=2, allow_null=True, default=None)


class Question(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=60)
    metric = serializers.ChoiceField(choices=Metric.choices, default=Metric.POSITIVE)
    min_effect = serializers.FloatField(min_value=1e-9, max_value=1e6, default=0.1)


class AdviceIn(Question):
    arms = serializers.IntegerField(min_value=2, max_value=services.MOST_ARMS, default=2)


class NewExperiment(Question):
    name = serializers.CharField(max_length=100)
    unit = serializers.ChoiceField(choices=Unit.choices, default=Unit.SESSION)
    planned_per_arm = serializers.IntegerField(min_value=LEAST_PER_ARM, max_value=100_000, required=False)
    variants = serializers.ListField(child=VariantIn(), max_length=50)


class ExperimentFilter(serializers.Serializer[Any]):
    agent = serializers.CharField(required=False, max_length=60)
    status = serializers.ChoiceField(choices=ExperimentStatus.choices, required=False)


class VariantOut(serializers.ModelSerializer[Variant]):
    class Meta:
        model = Variant
        fields = ["id", "name", "weight", "system_prompt", "models", "temperature"]


class ExperimentOut(serializers.ModelSerializer[Experiment]):
    agent = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    variants = VariantOut(many=True)

    class Meta:
        model = Experiment
        fields = [
            "id",
            "name",
            "agent",
            "metric",
            "unit",
            "min_effect",
            "planned_per_arm",
            "status",
            "variants",
            "promoted_id",
            "created_at",
            "started_at",
            "ended_at",
        ]


class ExperimentWithResults(ExperimentOut):
    results = shape_of(Results)()

    class Meta(ExperimentOut.Meta):
        fields = [*ExperimentOut.Meta.fields, "results"]


@extend_schema_view(get=extend_schema(parameters=[ExperimentFilter]))
class Experiments(ListAPIView[Experiment]):
    scope = Scope.FEEDBACK
    serializer_class = ExperimentOut

    def get_queryset(self) -> QuerySet[Experiment]:
        return experiments_of(who(self.request), **checked(ExperimentFilter(data=self.request.query_params)))

    @extend_schema(request=NewExperiment, responses={201: ExperimentOut})
    def post(self, request: Request) -> Response:
        who(request).require(Scope.ADMIN)
        wanted = checked(NewExperiment(data=request.data))
        agent = agent_queries.get_agent(who(request), wanted.pop("agent"))
        made = services.create_experiment(principal=who(request), agent=agent, **wanted)
        return Response(ExperimentOut(made).data, status=201)


class Advice(APIView):
    """How many values per arm a question needs, and how long that takes at the last month's pace."""

    scope = Scope.FEEDBACK

    @extend_schema(parameters=[AdviceIn], responses=shape_of(Advised))
    def get(self, request: Request) -> Response:
        wanted = checked(AdviceIn(data=request.query_params))
        agent = agent_queries.get_agent(who(request), wanted.pop("agent"))
        return Response(asdict(advise(agent, **wanted)))


class OneExperiment(APIView):
    scope = Scope.FEEDBACK

    @extend_schema(responses=ExperimentWithResults)
    def get(self, request: Request, experiment_id: UUID) -> Response:
        found = get_experiment(who(request), experiment_id)
        return Response({**ExperimentOut(found).data, "results": asdict(results_of(found))})

    @extend_schema(responses={204: None})
    def delete(self, request: Request, experiment_id: UUID) -> Response:
        found = get_experiment(who(request), experiment_id)
        services.delete_draft(experiment=found, principal=who(request))
        return Response(status=204)


class StartExperiment(APIView):
    scope = Scope.ADMIN

    @extend_schema(request=None, responses=ExperimentOut)
    def post(self, request: Request, experiment_id: UUID) -> Response:
        found = get_experiment(who(request), experiment_id)
        return Response(ExperimentOut(services.start_experiment(experiment=found, principal=who(request))).data)


class StopExperiment(APIView):
    scope = Scope.ADMIN

    @extend_schema(request=Reason, responses=ExperimentWithResults)
    def post(self, request: Request, experiment_id: UUID) -> Response:
        found = get_experiment(who(request), experiment_id)
        given = checked(Reason(data=request.data))
        stopped = services.stop_experiment(experiment=found, principal=who(request), **given)
        return Response({**ExperimentOut(stopped).data, "results": asdict(results_of(stopped))})


class PromoteWinner(APIView):
    scope = Scope.ADMIN

    @extend_schema(request=None, responses=AgentOut)
    def post(self, request: Request, experiment_id: UUID) -> Response:
        found = get_experiment(who(request), experiment_id)
        return Response(AgentOut(services.promote_winner(experiment=found, principal=who(request))).data)

"""`/api/agents/{id}/evidence/` and its kin: what an agent has shown, may do, learns, and to which level it moves."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from agents.api.serializers import AgentOut
from agents.models import Maturity
from atom.ground.api.authentication import who
from atom.ground.api.doors import validated
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.schema import AGENT, whole_list
from atom.ground.errors import BadRequest
from atom.ground.models import Scope
from governance.api.oversight import Why
from governance.maturity import levels, proposals, queries, reviews, runs, training, triggers
from governance.maturity.capabilities import capabilities_of
from governance.maturity.readiness import Criterion, Evidence, Part, evidence_of
from governance.models import (
    ConfidenceChange,
    Proposal,
    ProposalStatus,
    Review,
    ReviewStatus,
    TrainingStatus,
    TrainingTask,
    TriggeredRun,
    TriggerKind,
)

MOST_TEXT = 10_000


class NewLevel(serializers.Serializer[Any]):
    to = serializers.ChoiceField(choices=Maturity.choices)
    reason = serializers.CharField(max_length=2000)


class NewReview(serializers.Serializer[Any]):
    is_right = serializers.BooleanField()
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=MOST_TEXT)


class Completed(serializers.Serializer[Any]):
    """How well it went: `rating` 1 to 5, or `performance` 0 to 1."""

    rating = serializers.IntegerField(required=False, min_value=1, max_value=5)
    performance = serializers.FloatField(required=False, min_value=0, max_value=1)
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=MOST_TEXT)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("rating" in attrs) == ("performance" in attrs):
            raise BadRequest("Give either a rating (1 to 5) or a performance (0 to 1).", param="rating")
        if "rating" in attrs:
            attrs["performance"] = (attrs.pop("rating") - 1) / 4
        return attrs


class NewRating(serializers.Serializer[Any]):
    rating = serializers.IntegerField(min_value=1, max_value=5)


class NewTrigger(serializers.Serializer[Any]):
    trigger = serializers.ChoiceField(choices=TriggerKind.choices)
    message = serializers.CharField(max_length=MOST_TEXT)


class ConfidenceOut(serializers.ModelSerializer[ConfidenceChange]):
    delta = serializers.FloatField()
    applied = serializers.FloatField()
    confidence = serializers.FloatField()
    reverses = serializers.UUIDField(source="reverses_id", allow_null=True)

    class Meta:
        model = ConfidenceChange
        fields = [
            "id", "event", "delta", "applied", "confidence", "reason", "source", "source_id", "reverses", "created_at",
        ]  # fmt: skip


class ProposalOut(serializers.ModelSerializer[Proposal]):
    agent = serializers.CharField(source="agent.slug")
    decided_by = serializers.CharField(source="decided_by.username", default=None, allow_null=True)

    class Meta:
        model = Proposal
        fields = [
            "id", "agent", "before", "to", "status", "evidence", "reason", "decided_by", "decided_at", "created_at",
        ]  # fmt: skip


class ReviewOut(serializers.ModelSerializer[Review]):
    agent = serializers.CharField(source="agent.slug")
    action = serializers.CharField(source="decision.action")
    arguments = serializers.JSONField(source="decision.arguments")
    complexity = serializers.IntegerField(source="decision.complexity")
    reviewed_by = serializers.CharField(source="reviewed_by.username", default=None, allow_null=True)

    class Meta:
        model = Review
        fields = [
            "id", "agent", "decision_id", "action", "arguments", "complexity", "status", "note", "reviewed_by",
            "reviewed_at", "created_at",
        ]  # fmt: skip


class TrainingOut(serializers.ModelSerializer[TrainingTask]):
    agent = serializers.CharField(source="agent.slug")
    completed_by = serializers.CharField(source="completed_by.username", default=None, allow_null=True)

    class Meta:
        model = TrainingTask
        fields = [
            "id", "agent", "action", "arguments", "reason", "times", "status", "performance", "note", "completed_by",
            "completed_at", "created_at",
        ]  # fmt: skip


class TriggeredRunOut(serializers.ModelSerializer[TriggeredRun]):
    agent = serializers.CharField(source="agent.slug")

    class Meta:
        model = TriggeredRun
        fields = [
            "id", "agent", "trigger", "message", "status", "reason", "training_id", "approval_id", "run_id", "tries",
            "expires_at", "created_at",
        ]  # fmt: skip


class CriterionOut(serializers.Serializer[Criterion]):
    name = serializers.CharField()
    value = serializers.FloatField()
    count = serializers.IntegerField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    needed = serializers.FloatField()
    direction = serializers.CharField()
    holds = serializers.BooleanField()
    sentence = serializers.CharField()


class PartOut(serializers.Serializer[Part]):
    name = serializers.CharField()
    weight = serializers.FloatField()
    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    count = serializers.IntegerField()


class EvidenceOut(serializers.Serializer[Evidence]):
    agent = serializers.CharField()
    maturity = serializers.CharField()
    to = serializers.CharField(allow_null=True)
    since = serializers.DateTimeField()
    runs = serializers.IntegerField()
    holds = serializers.BooleanField()
    criteria = CriterionOut(many=True)
    parts = PartOut(many=True)


class CapabilityOut(serializers.Serializer[Any]):
    action = serializers.CharField()
    complexity = serializers.IntegerField()
    decision = serializers.CharField()
    reason = serializers.CharField()
    rule = serializers.CharField()
    needs = serializers.CharField()
    is_tool = serializers.BooleanField()


class RatingOut(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
    rating = serializers.IntegerField()
    interventions = serializers.IntegerField()


def _one_of(value: str, allowed: list[str], param: str) -> str:
    if value not in allowed:
        raise BadRequest(f"{param} is one of: {', '.join(allowed)}.", param=param)
    return value


class AgentEvidence(APIView):
    """What speaks for the next level, criterion by criterion."""

    scope = Scope.CHAT

    @extend_schema(responses=EvidenceOut)
    def get(self, request: Request, agent: str) -> Response:
        return Response(EvidenceOut(evidence_of(agents.get_agent(who(request), agent))).data)


class AgentConfidence(ListAPIView[ConfidenceChange]):
    scope = Scope.CHAT
    serializer_class = ConfidenceOut

    def get_queryset(self) -> QuerySet[ConfidenceChange]:
        return queries.confidence_of(who(self.request), self.kwargs["agent"])


class Capabilities(APIView):
    """What the agent may do just now, and why. A catalogue, so one page."""

    scope = Scope.CHAT

    @extend_schema(responses=whole_list(CapabilityOut))
    def get(self, request: Request, agent: str) -> Response:
        rows = capabilities_of(agents.get_agent(who(request), agent))
        return Response({"results": CapabilityOut(rows, many=True).data, "next": None, "previous": None})


class Promote(APIView):
    scope = Scope.APPROVE

    @extend_schema(request=NewLevel, responses=AgentOut)
    def post(self, request: Request, agent: str) -> Response:
        found = agents.get_agent(who(request), agent)
        moved = proposals.promote(agent=found, principal=who(request), **validated(NewLevel(data=request.data)))
        return Response(AgentOut(moved).data)


class Demote(APIView):
    scope = Scope.APPROVE

    @extend_schema(request=NewLevel, responses=AgentOut)
    def post(self, request: Request, agent: str) -> Response:
        found = agents.get_agent(who(request), agent)
        moved = levels.demote(agent=found, principal=who(request), **validated(NewLevel(data=request.data)))
        return Response(AgentOut(moved).data)


@extend_schema_view(get=extend_schema(parameters=[AGENT, OpenApiParameter("status", str, enum=ProposalStatus.values)]))
class Proposals(ListAPIView[Proposal]):
    """Levels that the evidence speaks for; `?agent=<slug>` and `?status=`."""

    scope = Scope.CHAT
    serializer_class = ProposalOut

    def get_queryset(self) -> QuerySet[Proposal]:
        wanted = self.request.query_params
        rows = queries.proposals_of(who(self.request), agent=wanted.get("agent"))
        if "status" in wanted:
            rows = rows.filter(status=_one_of(wanted["status"], ProposalStatus.values, "status"))
        return rows


class OneProposal(APIView):
    scope = Scope.CHAT

    @extend_schema(responses=ProposalOut)
    def get(self, request: Request, proposal_id: UUID) -> Response:
        return Response(ProposalOut(queries.get_proposal(who(request), proposal_id)).data)


class _Decide(APIView):
    scope = Scope.APPROVE
    decide: Callable[..., Proposal]

    @extend_schema(request=Why, responses=ProposalOut)
    def post(self, request: Request, proposal_id: UUID) -> Response:
        proposal = queries.get_proposal(who(request), proposal_id)
        decided = self.decide(proposal=proposal, principal=who(request), **validated(Why(data=request.data)))
        return Response(ProposalOut(decided).data)


class Confirm(_Decide):
    decide = staticmethod(proposals.confirm)


class Decline(_Decide):
    decide = staticmethod(proposals.decline)


@extend_schema_view(get=extend_schema(parameters=[AGENT, OpenApiParameter("status", str, enum=ReviewStatus.values)]))
class Reviews(ListAPIView[Review]):
    """Spot checks; `?agent=<slug>` and `?status=pending|right|wrong`."""

    scope = Scope.APPROVE
    serializer_class = ReviewOut

    def get_queryset(self) -> QuerySet[Review]:
        wanted = self.request.query_params
        rows = queries.reviews_of(who(self.request), agent=wanted.get("agent"))
        if "status" in wanted:
            rows = rows.filter(status=_one_of(wanted["status"], ReviewStatus.values, "status"))
        return rows


class OneReview(APIView):
    """Read one; POST says whether the action was right."""

    scope = Scope.APPROVE

    @extend_schema(responses=ReviewOut)
    def get(self, request: Request, review_id: UUID) -> Response:
        return Response(ReviewOut(queries.get_review(who(request), review_id)).data)

    @extend_schema(request=NewReview, responses=ReviewOut)
    def post(self, request: Request, review_id: UUID) -> Response:
        review = queries.get_review(who(request), review_id)
        judged = reviews.judge_review(review=review, principal=who(request), **validated(NewReview(data=request.data)))
        return Response(ReviewOut(judged).data)


@extend_schema_view(get=extend_schema(parameters=[AGENT, OpenApiParameter("status", str, enum=TrainingStatus.values)]))
class Training(ListAPIView[TrainingTask]):
    """What students wanted to do and may not yet; `?agent=<slug>` and `?status=open|completed`."""

    scope = Scope.CHAT
    serializer_class = TrainingOut

    def get_queryset(self) -> QuerySet[TrainingTask]:
        wanted = self.request.query_params
        rows = queries.training_of(who(self.request), agent=wanted.get("agent"))
        if "status" in wanted:
            rows = rows.filter(status=_one_of(wanted["status"], TrainingStatus.values, "status"))
        return rows


class OneTraining(APIView):
    scope = Scope.CHAT

    @extend_schema(responses=TrainingOut)
    def get(self, request: Request, task_id: UUID) -> Response:
        return Response(TrainingOut(queries.get_training(who(request), task_id)).data)


class CompleteTraining(APIView):
    scope = Scope.SUPERVISE

    @extend_schema(request=Completed, responses=TrainingOut)
    def post(self, request: Request, task_id: UUID) -> Response:
        task = queries.get_training(who(request), task_id)
        done = training.complete(task=task, principal=who(request), **validated(Completed(data=request.data)))
        return Response(TrainingOut(done).data)


class RateRun(APIView):
    """How well a supervised run went."""

    scope = Scope.SUPERVISE

    @extend_schema(request=NewRating, responses=RatingOut)
    def post(self, request: Request, run_id: UUID) -> Response:
        run = agents.get_run(who(request), run_id)
        rated = runs.rate_run(run=run, principal=who(request), **validated(NewRating(data=request.data)))
        return Response({"run_id": run.pk, "rating": rated.rating, "interventions": rated.interventions})


class Trigger(APIView):
    """A run that nobody chats for; what becomes of it depends on the agent's level."""

    scope = Scope.CHAT

    @extend_schema(request=NewTrigger, responses={202: TriggeredRunOut})
    def post(self, request: Request, agent: str) -> Response:
        found = agents.get_agent(who(request), agent)
        wish = triggers.request_run(agent=found, principal=who(request), **validated(NewTrigger(data=request.data)))
        return Response(TriggeredRunOut(wish).data, status=202)


class Triggers(ListAPIView[TriggeredRun]):
    scope = Scope.CHAT
    serializer_class = TriggeredRunOut

    def get_queryset(self) -> QuerySet[TriggeredRun]:
        return queries.triggered_runs_of(who(self.request), self.kwargs["agent"])

"""`/api/feedback/`: giving, reading, judging, and the figures."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.models import Scope
from feedback import queries, services
from feedback.api.serializers import Adjudication, AnalyticsFilter, FeedbackFilter, FeedbackOut, NewFeedback
from feedback.models import Feedback


def checked(data: serializers.Serializer[Any]) -> dict[str, Any]:
    data.is_valid(raise_exception=True)
    found: dict[str, Any] = data.validated_data
    return found


class FeedbackList(ListAPIView[Feedback]):
    scope = Scope.FEEDBACK
    serializer_class = FeedbackOut

    def get_queryset(self) -> QuerySet[Feedback]:
        wanted = checked(FeedbackFilter(data=self.request.query_params))
        return queries.feedback_of(who(self.request), **wanted)

    def post(self, request: Request) -> Response:
        given = services.give_feedback(principal=who(request), **checked(NewFeedback(data=request.data)))
        return Response(FeedbackOut(given).data, status=201)


class OneFeedback(APIView):
    scope = Scope.FEEDBACK

    def get(self, request: Request, feedback_id: UUID) -> Response:
        return Response(FeedbackOut(queries.get_feedback(who(request), feedback_id)).data)


class Adjudicate(APIView):
    """Owner and approver only."""

    scope = Scope.APPROVE

    def post(self, request: Request, feedback_id: UUID) -> Response:
        found = queries.get_feedback(who(request), feedback_id)
        wanted = checked(Adjudication(data=request.data))
        judged = services.adjudicate(feedback=found, principal=who(request), **wanted)
        return Response(FeedbackOut(judged).data)


class Analytics(APIView):
    scope = Scope.FEEDBACK

    def get(self, request: Request) -> Response:
        wanted = checked(AnalyticsFilter(data=request.query_params))
        return Response(asdict(queries.analytics(who(request), agent=wanted.get("agent"))))


class Trends(APIView):
    scope = Scope.FEEDBACK

    def get(self, request: Request) -> Response:
        return Response(list(queries.trends(who(request), **checked(AnalyticsFilter(data=request.query_params)))))

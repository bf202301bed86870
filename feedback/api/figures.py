"""`/api/feedback/analytics/` and `trends/`: figures over a period."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.once import APIView
from atom.ground.api.schema import shape_of, whole_list
from atom.ground.models import Scope
from feedback import queries
from feedback.api.views import checked
from feedback.queries import relations
from feedback.queries.relations import Relation
from feedback.queries.sums import BY, Compared, Summary, Trend, Wanted, last_days

DEFAULT_DAYS = 30


class FiguresFilter(serializers.Serializer[Any]):
    """Everything ever said, the last `days`, or from `since` until `until` (both included)."""

    agent = serializers.CharField(required=False, max_length=60)
    provider = serializers.CharField(required=False, max_length=40)
    model = serializers.CharField(required=False, max_length=200)
    prompt_version = serializers.CharField(required=False, max_length=12)
    category = serializers.CharField(required=False, max_length=60)
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)
    days = serializers.IntegerField(min_value=1, max_value=366, required=False)


class CohortsFilter(FiguresFilter):
    by = serializers.ChoiceField(choices=list(BY), default="category")
    most_corrected = serializers.BooleanField(default=False)


class AnalyticsOut(shape_of(Summary)):  # type: ignore[misc]  # made while it is read
    """The summary, the trend of the period, and the moment up to which it is complete."""

    trend = shape_of(Trend)()
    as_of = serializers.DateTimeField(allow_null=True)


class TrendPoint(serializers.Serializer[Any]):
    """One day."""

    date = serializers.DateField()
    total = serializers.IntegerField()
    positive = serializers.IntegerField()
    negative = serializers.IntegerField()
    neutral = serializers.IntegerField()
    corrections = serializers.IntegerField()


class CohortOut(shape_of(Summary)):  # type: ignore[misc]  # as above
    """Under the name that `by` gave, what the row is about."""

    agent = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    prompt_version = serializers.CharField(required=False)
    category = serializers.CharField(required=False)


class RelationsOut(serializers.Serializer[Any]):
    cost = shape_of(Relation)()
    latency = shape_of(Relation)()
    model = shape_of(Relation)()


def wanted_of(found: dict[str, Any]) -> Wanted:
    days = found.pop("days", None)
    if days and not found.get("since"):
        found["since"], _ = last_days(days)
    return Wanted(**found)


class Figures(APIView):
    scope = Scope.FEEDBACK

    def wanted(self, request: Request) -> tuple[Wanted, int]:
        """What is asked for, and the length of the period for what always has one."""
        found = checked(FiguresFilter(data=request.query_params))
        days = found.get("days", DEFAULT_DAYS)
        return wanted_of(found), days


class Analytics(Figures):
    """The summary with its interval, the trend of the period, and the moment up to which it is complete."""

    @extend_schema(parameters=[FiguresFilter], responses=AnalyticsOut)
    def get(self, request: Request) -> Response:
        wanted, days = self.wanted(request)
        principal = who(request)
        summary = asdict(queries.analytics(principal, wanted))
        trend = asdict(queries.trend(principal, wanted, days=days))
        return Response({**summary, "trend": trend, "as_of": queries.as_of(principal)})


class Trends(Figures):
    @extend_schema(parameters=[FiguresFilter], responses=TrendPoint(many=True))
    def get(self, request: Request) -> Response:
        wanted, days = self.wanted(request)
        return Response(list(queries.trends(who(request), wanted, days=days)))


class Cohorts(Figures):
    """`?by=agent|provider|model|prompt_version|category`; with `most_corrected` the most corrected first."""

    @extend_schema(parameters=[CohortsFilter], responses=whole_list(CohortOut))
    def get(self, request: Request) -> Response:
        found = checked(CohortsFilter(data=request.query_params))
        by, most_corrected = found.pop("by"), found.pop("most_corrected")
        rows = queries.cohorts(who(request), wanted_of(found), by, most_corrected=most_corrected)
        results = [{by: row.name, **asdict(row.summary)} for row in rows]
        return Response({"results": results, "next": None, "previous": None})


class Compare(Figures):
    """The last `days` beside as many before them."""

    @extend_schema(parameters=[FiguresFilter], responses=shape_of(Compared))
    def get(self, request: Request) -> Response:
        wanted, days = self.wanted(request)
        return Response(asdict(queries.compare(who(request), wanted, days=days)))


class Correlation(Figures):
    """How opinion goes with cost and latency (Pearson's r) and model (Cramér's V), and how many feedbacks say so."""

    @extend_schema(parameters=[FiguresFilter], responses=RelationsOut)
    def get(self, request: Request) -> Response:
        wanted, _ = self.wanted(request)
        found = relations.relations(who(request), wanted)
        return Response({name: asdict(relation) for name, relation in found.items()})
